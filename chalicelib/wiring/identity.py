"""People: who signs in, and how they are written to."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

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
    from chalicelib.identity.ports import IdentityPorts


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
    """Whether a person has a role that asks for a second factor: owner, admin or billing of an organisation."""

    def needs_second_factor(self, user_id: str) -> bool:
        try:
            from chalicelib.wiring.organisations import needs_second_factor
        except ImportError:
            # No organisations yet: nobody has a role in one.
            return False
        return bool(needs_second_factor(user_id))


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
    )
