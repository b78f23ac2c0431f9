"""Clients and their secrets, as the people of an organisation deal with them."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from chalicelib.core.ids import is_id
from chalicelib.core.paging import Page
from chalicelib.core.principal import Principal
from chalicelib.oauth.granting import end_grant
from chalicelib.oauth.model import (
    ALL_SCOPE,
    CLI,
    CLI_CLIENT_ID,
    CLIENT_PREFIX,
    MAX_LIVE_SECRETS,
    MAX_REDIRECT_URIS,
    SERVICE_PREFIX,
    Client,
    ClientKind,
    Grant,
    Secret,
    Secrets,
    check_redirect_uri,
    compute_digest,
    is_client_id,
)
from chalicelib.oauth.ports import add_audit

if TYPE_CHECKING:
    from chalicelib.core.ports import Transaction
    from chalicelib.oauth.ports import OAuthPorts

MAX_KEPT_SECRETS = 20


@dataclass(frozen=True, slots=True)
class RegisterClient:
    name: str
    kind: ClientKind
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A secret at the only moment when its text exists."""

    secret: Secret
    text: str = field(repr=False)


def list_scopes(ports: "OAuthPorts") -> tuple[str, ...]:
    """Return every name that a scope may have: the permissions of all roles but a host's."""
    granted = (names for role, names in ports.permissions.items() if role != "host")
    return (ALL_SCOPE, *sorted(frozenset().union(*granted)))


def find_client(ports: "OAuthPorts", client_id: str) -> Client | None:
    """Return a client that may ask now: registered, built in, or a service account that is not disabled."""
    if client_id == CLI_CLIENT_ID:
        return CLI
    if not is_client_id(client_id):
        return None
    if is_id(client_id, SERVICE_PREFIX):
        service = ports.standing.get_service_account(client_id)
        if service is None or service.disabled_at_ms is not None:
            return None
        created_at_ms = service.created_at_ms
        return Client(client_id, service.account_id, service.name, "service", (), created_at_ms)
    client = ports.store.get(Client, client_id)
    return None if client is None or client.deleted_at_ms is not None else client


def is_secret(ports: "OAuthPorts", client: Client, text: str) -> bool:
    """Say whether ``text`` is one of the client's live secrets."""
    if client.kind == "public":
        return False
    secrets = ports.store.get(Secrets, client.client_id)
    return secrets is not None and secrets.match(compute_digest(text, ports.read_pepper(), "secret"))


def register_client(
    ports: "OAuthPorts", principal: Principal, command: RegisterClient
) -> tuple[Client, IssuedSecret | None]:
    """Register a client of the caller's organisation; a confidential one gets its first secret.

    Raises:
        InvalidInput: ``invalid_redirect_uri``, or none or too many of them.
    """
    if not 0 < len(command.redirect_uris) <= MAX_REDIRECT_URIS:
        raise InvalidInput(
            f"A client has 1 to {MAX_REDIRECT_URIS} redirect URIs.", code="invalid_redirect_uri"
        )
    client = Client(
        client_id=ports.ids.new_id(CLIENT_PREFIX),
        account_id=principal.account_id,
        name=command.name,
        kind=command.kind,
        redirect_uris=tuple(check_redirect_uri(each) for each in command.redirect_uris),
        created_at_ms=ports.clock.now_ms(),
        created_by=principal.actor_id,
    )
    tx = ports.transactions()
    ports.store.add(tx, client)
    issued = None
    if client.kind == "confidential":
        issued = _add_secret(ports, tx, Secrets(client.client_id))
    add_audit(ports, tx, principal.account_id, principal.actor_id, "oauth_client.created", client.client_id)
    tx.commit()
    return client, issued


def list_clients(ports: "OAuthPorts", principal: Principal, limit: int, start: str | None) -> Page[Client]:
    return ports.store.list_clients(principal.account_id, limit, start)


def delete_client(ports: "OAuthPorts", principal: Principal, client_id: str) -> None:
    """End a client: nothing is given to it any more. What it has ends with its access tokens' time.

    Raises:
        NotFound: no such client, or not the caller's.
    """
    client = _find_own(ports, principal, client_id)
    tx = ports.transactions()
    ports.store.replace(tx, replace(client, deleted_at_ms=ports.clock.now_ms()))
    add_audit(ports, tx, principal.account_id, principal.actor_id, "oauth_client.deleted", client_id)
    tx.commit()


def list_grants(ports: "OAuthPorts", principal: Principal, limit: int, start: str | None) -> Page[Grant]:
    """Return what the calling person granted, wherever. Raises Forbidden: no person is calling."""
    return ports.store.list_grants(_require_person(principal), limit, start)


def end_own_grant(ports: "OAuthPorts", principal: Principal, grant_id: str) -> None:
    """End what the calling person granted. Twice changes nothing.

    Raises:
        NotFound: no such grant, or not the caller's.
        Forbidden: no person is calling.
    """
    user_id, grant = _require_person(principal), ports.store.get(Grant, grant_id)
    if grant is None or grant.consent.user_id != user_id:
        raise NotFound("There is no such grant.")
    end_grant(ports, grant_id, principal.actor_id, "revoked")


def create_secret(ports: "OAuthPorts", principal: Principal, owner_id: str) -> IssuedSecret:
    """Give a confidential client or a service account another secret; two work at most, for a rotation.

    Raises:
        NotFound: no such owner, or not the caller's.
        Conflict: ``two_secrets_live``: revoke one first; ``public_client``: it could not keep one.
        Forbidden: the service account may do more than the caller.
    """
    _check_owner(ports, principal, owner_id)
    _check_fitting(ports, principal, owner_id)
    secrets = ports.store.get(Secrets, owner_id) or Secrets(owner_id)
    if len(secrets.live) >= MAX_LIVE_SECRETS:
        raise Conflict("Two secrets work already; revoke one first.", code="two_secrets_live")
    tx = ports.transactions()
    issued = _add_secret(ports, tx, secrets)
    subject = issued.secret.secret_id
    add_audit(ports, tx, principal.account_id, principal.actor_id, "oauth_secret.created", subject)
    tx.commit()
    return issued


def revoke_secret(ports: "OAuthPorts", principal: Principal, owner_id: str, secret_id: str) -> None:
    """End a secret at once. Twice changes nothing.

    Raises:
        NotFound: no such owner or secret, or not the caller's.
    """
    _check_owner(ports, principal, owner_id)
    secrets = ports.store.get(Secrets, owner_id)
    found = None if secrets is None else next((e for e in secrets.secrets if e.secret_id == secret_id), None)
    if secrets is None or found is None:
        raise NotFound("There is no such secret.")
    if found.revoked_at_ms is not None:
        return
    ended = replace(found, revoked_at_ms=ports.clock.now_ms())
    tx = ports.transactions()
    kept = tuple(ended if each is found else each for each in secrets.secrets)
    ports.store.replace(tx, replace(secrets, secrets=kept))
    add_audit(ports, tx, principal.account_id, principal.actor_id, "oauth_secret.revoked", secret_id)
    tx.commit()


def _add_secret(ports: "OAuthPorts", tx: "Transaction", secrets: Secrets) -> IssuedSecret:
    text = f"pcs_{ports.ids.new_secret()}"
    digest = compute_digest(text, ports.read_pepper(), "secret")
    secret = Secret(ports.ids.new_id("sec"), digest, ports.clock.now_ms())
    ended = [each for each in secrets.secrets if each.revoked_at_ms is not None]
    kept = (*ended[-MAX_KEPT_SECRETS:], *secrets.live, secret)
    changed = replace(secrets, secrets=kept)
    (ports.store.replace if secrets.version else ports.store.add)(tx, changed)
    return IssuedSecret(secret, text)


def _require_person(principal: Principal) -> str:
    if principal.user_id is None:
        raise Forbidden("Only a person grants anything; sign in.", code="not_a_person")
    return principal.user_id


def _find_own(ports: "OAuthPorts", principal: Principal, client_id: str) -> Client:
    client = ports.store.get(Client, client_id)
    if client is None or client.account_id != principal.account_id or client.deleted_at_ms is not None:
        raise NotFound("There is no such client.")
    return client


def _check_fitting(ports: "OAuthPorts", principal: Principal, owner_id: str) -> None:
    # Whoever has the secret is the service account: a strong one would be a way to its rights.
    service = ports.standing.get_service_account(owner_id) if owner_id.startswith("sva_") else None
    if service is not None and not ports.permissions[service.role] <= principal.permissions:
        raise Forbidden("The service account may do more than you.", code="secret_exceeds_issuer")


def _check_owner(ports: "OAuthPorts", principal: Principal, owner_id: str) -> None:
    if owner_id.startswith("sva_"):
        service = ports.standing.get_service_account(owner_id)
        if service is None or service.account_id != principal.account_id:
            raise NotFound("There is no such service account.")
        return
    if _find_own(ports, principal, owner_id).kind != "confidential":
        raise Conflict("A public client cannot keep a secret.", code="public_client")
