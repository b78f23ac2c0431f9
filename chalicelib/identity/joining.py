"""A person's organisations, as their own pages show them: theirs, a new one, an invitation taken."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.core.errors import InvalidInput
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal, Role
from chalicelib.identity.model import Session, User
from chalicelib.organisations import inviting, service
from chalicelib.organisations.ports import Once, OrganisationPorts

MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Joined:
    account_id: str
    name: str
    role: Role


def list_joined(ports: OrganisationPorts, user: User) -> Sequence[Joined]:
    """Return the organisations that the person belongs to, by name."""
    found = []
    for each in service.list_memberships_of(ports, user.user_id):
        account = ports.accounts.store.get_account(each.account_id)
        if account is not None:
            found.append(Joined(each.account_id, account.name, each.role))
    return sorted(found, key=lambda each: (each.name, each.account_id))


def create_organisation(
    ports: OrganisationPorts, user: User, session: Session, name: str, currency: str, form_id: str
) -> None:
    """Make an organisation of which the person is the owner; the same form sent twice makes one.

    Raises:
        InvalidInput: ``invalid_name``.
    """
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"A name has 1 to {MAX_NAME} characters.", code="invalid_name")
    once = _build_once("POST /account/organisations", name, form_id)
    service.create_organisation(ports, _act_for(user, session), once, name=name, currency=currency)


def accept_invitation(ports: OrganisationPorts, user: User, session: Session, token: str) -> None:
    """Take an invitation that was sent to the person's verified address.

    Raises:
        NotFound, Conflict, Forbidden: as `organisations.inviting.accept_invitation`.
    """
    once = _build_once("POST /invitations", token, compute_fingerprint("invitation", token.encode()))
    inviting.accept_invitation(ports, _act_for(user, session), token, once)


def _act_for(user: User, session: Session) -> Principal:
    # Of no organisation: what is asked here needs a person and no role.
    return Principal(
        account_id=user.user_id,
        role="viewer",
        actor_id=user.user_id,
        permissions=frozenset(),
        user_id=user.user_id,
        session_id=session.session_id,
        authenticated_at_ms=session.authenticated_at_ms,
    )


def _build_once(operation: str, given: str, key: str) -> Once:
    # The page reads what was made from where it stands; a replay needs no more than that it is one.
    # Whatever a form says of itself, its digest fits into a key.
    digest = compute_fingerprint("page", key.encode())
    return Once(f"page:{digest}", compute_fingerprint(operation, given.encode()), lambda _made: "")
