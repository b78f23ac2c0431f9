"""People: who signs in, and how they are written to."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.core.principal import STRICT_ROLES
from chalicelib.wiring.system import (
    aws_client,
    bind_tables,
    clock,
    ids,
    public_url,
    read_pepper,
    settings,
    start_transaction,
)

if TYPE_CHECKING:
    from chalicelib.core.ports import Mail, Mailer
    from chalicelib.identity.federating import Provider, ProviderPorts
    from chalicelib.identity.ports import IdentityPorts
    from chalicelib.runtime.secrets import CachedSecret


@cache
def mailer() -> "Mailer":
    return LazyMailer()


class LazyMailer:
    """Mails through SES; its description is loaded with the first one, which most functions never send."""

    def send(self, mail: "Mail") -> None:
        from chalicelib.identity.mail_gateway import SesMailer

        SesMailer(aws_client("sesv2"), settings().mail_from).send(mail)


@dataclass(frozen=True, slots=True)
class OrganisationRoles:
    """`chalicelib.identity.ports.Memberships`. The index says where to look; roles are read consistently."""

    def needs_second_factor(self, user_id: str) -> bool:
        from chalicelib.organisations.service import list_memberships_of
        from chalicelib.wiring.organisations import organisation_ports

        ports = organisation_ports()
        hints = list_memberships_of(ports, user_id)
        found = (ports.store.get_membership(each.account_id, user_id) for each in hints)
        return any(each is not None and each.role in STRICT_ROLES for each in found)


@cache
def identity_ports() -> "IdentityPorts":
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.identity.common_gateway import is_common
    from chalicelib.identity.factor_store import DynamoPeopleStore
    from chalicelib.identity.passkey_gateway import WebAuthnPasskeys
    from chalicelib.identity.password_gateway import ArgonHasher
    from chalicelib.identity.ports import IdentityPorts
    from chalicelib.identity.totp_gateway import TotpCodes
    from chalicelib.wiring.privacy import person_vault

    bind_tables()
    return IdentityPorts(
        DynamoPeopleStore(),
        person_vault(),
        mailer(),
        ArgonHasher(),
        is_common,
        TotpCodes(),
        WebAuthnPasskeys(public_url),
        OrganisationRoles(),
        DynamoAuditTrail(),
        start_transaction,
        clock(),
        ids(),
        read_pepper,
        public_url,
        note_untold,
    )


def note_untold(user_id: str) -> None:
    """Say to those who run the cloud that a person was not told of a change to their account."""
    from chalicelib.runtime.observability import get_logger, put_metrics

    get_logger().warning("person not told of a change", extra={"user_id": user_id})
    put_metrics(settings().stage, notices_untold=1)


def find_verified_address(user_id: str) -> str | None:
    """The address that a person has shown to be theirs; ``None``: nobody, or no longer."""
    from chalicelib.identity.service import get_user

    user = get_user(identity_ports(), user_id)
    proper = user is not None and user.status == "active" and user.email_verified_at_ms is not None
    return user.email if user is not None and proper else None


@cache
def provider_ports() -> "ProviderPorts":
    from chalicelib.identity.federating import ProviderPorts
    from chalicelib.identity.oidc_gateway import JsonSender, OidcClient

    loopback = settings().stage == LAPTOP_STAGE
    client = OidcClient(JsonSender(loopback=loopback), clock(), loopback)
    return ProviderPorts(identity_ports(), read_providers, client)


#: The stage of the embedded cloud: its providers run on the same machine, without TLS.
LAPTOP_STAGE = "local"


@cache
def _providers_secret() -> "CachedSecret":
    from chalicelib.runtime.secrets import CachedSecret

    return CachedSecret(aws_client("secretsmanager"), settings().identity_providers_secret_id, clock())


def read_providers() -> "dict[str, Provider]":
    """The providers that an operator has set up: by name, ``issuer``, ``client_id`` and ``client_secret``."""
    import json

    from chalicelib.identity.federating import Provider

    if not settings().identity_providers_secret_id:
        return {}
    given = json.loads(_providers_secret().read())
    return {
        name: Provider(
            name,
            each["issuer"],
            each["client_id"],
            each["client_secret"],
            each.get("scopes", "openid email profile"),
        )
        for name, each in given.items()
    }
