"""Who a person is, over the slices that keep it: `identity`, `organisations`, `oauth`.

What a person is shown has the inventory's names without ``sealed_``, opened; secrets and digests stay out.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

from chalicelib.core.errors import NotFound
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.identity import service as identity_service
from chalicelib.identity.ports import IdentityPorts
from chalicelib.oauth.model import Grant
from chalicelib.organisations import leaving
from chalicelib.organisations.ports import OrganisationPorts
from chalicelib.privacy.requests import ACTOR, Reason, Record

GRANTS_PER_PAGE = 100
#: Of what an export shows, by item: what is no secret, of what has one.
_SESSION = (
    *("session_id", "label", "methods", "created_at_ms", "authenticated_at_ms", "seen_at_ms"),
    *("expires_at_ms", "ended_at_ms", "epoch"),
)
_KEY = (
    *("key_id", "account_id", "role", "label", "created_at_ms", "last_used_at_ms", "revoked_at_ms"),
    *("predecessor_id", "successor_id"),
)
_GRANT = ("grant_id", "client_id", "consent", "created_at_ms", "expires_at_ms", "ended_at_ms", "end_reason")


class Grants(Protocol):
    """What people granted to programs."""

    def list_grants(self, user_id: str, limit: int, start: str | None) -> Page[Grant]: ...


@dataclass(frozen=True, slots=True)
class KnownPeople:
    """`privacy.service.People`. Ports are connected at the first use: most requests are of accounts."""

    identity: Callable[[], IdentityPorts]
    organisations: Callable[[], OrganisationPorts]
    grants: Callable[[], Grants]

    def list_records(self, user_id: str) -> Iterator[Record]:
        yield from self._list_identity(user_id)
        organisations = self.organisations()
        for member in organisations.store.list_memberships_of(user_id):
            yield Record("Membership", user_id, member.account_id, asdict(member))
            for key in organisations.accounts.store.list_issued_keys(member.account_id, user_id):
                yield Record("ApiKey", user_id, key.key_id, _select(key, _KEY))
        for grant in self._list_grants(user_id):
            values = _select(grant, _GRANT) | {"consent": asdict(grant.consent)}
            yield Record("Grant", user_id, grant.grant_id, values)

    def list_account_users(self, account_id: str) -> Iterator[str]:
        return leaving.list_sole_members(self.organisations(), account_id)

    def list_reasons(self, user_id: str) -> tuple[Reason, ...]:
        kept = leaving.list_kept_from_leaving(self.organisations(), user_id)
        return ("owns_organisation",) if kept else ()

    def prepare(self, user_id: str) -> None:
        leaving.prepare_departure(self.organisations(), user_id, ACTOR)

    def mark_erased(self, tx: Transaction, user_id: str) -> None:
        leaving.add_ownerships(self.organisations(), tx, user_id, ACTOR)
        try:
            identity_service.add_status(self.identity(), tx, ACTOR, user_id, "erased")
        except NotFound:
            # Known by a membership alone: there is nothing else to end.
            return

    def forget(self, user_id: str, deadline_ms: int) -> bool:
        identity = self.identity()
        return (
            leaving.depart(self.organisations(), user_id, ACTOR, deadline_ms)
            and identity_service.forget_sign_ins(identity, user_id, deadline_ms)
            and identity_service.forget_sessions(identity, user_id, deadline_ms)
        )

    def end_memberships(self, account_id: str, deadline_ms: int) -> bool:
        organisations = self.organisations()
        for member in leaving.list_all_members(organisations, account_id):
            leaving.end_membership(organisations, member, ACTOR)
            if organisations.accounts.clock.now_ms() >= deadline_ms:
                return False
        return True

    def _list_identity(self, user_id: str) -> Iterator[Record]:
        identity = self.identity()
        store, person = identity.store, identity.store.get_person(user_id)
        if person is not None:
            user, factors = identity_service.open_user(identity, person), store.get_factors(user_id)
            about = _select(person, ("status", "epoch", "created_at_ms", "email_verified_at_ms", "version"))
            about |= {"user_id": user_id, "email": user.email, "name": user.name}
            about |= {"has_password": person.password_digest is not None}
            yield Record("Person", user_id, "PERSON", about | _select(person, ("password_is_long",)))
            enrolled = {"is_enrolled": factors.is_enrolled, "recovery_codes_left": len(factors.recovery)}
            names = ("last_step", "pending_until_ms", "passkeys", "version")
            yield Record("Factors", user_id, "FACTORS", enrolled | _select(factors, names))
        for session in store.find_sessions(user_id):
            yield Record("Session", user_id, session.session_id, _select(session, _SESSION))
        for passkey in store.list_passkeys(user_id):
            yield Record("Passkey", user_id, passkey.credential_id, asdict(passkey))
        for link in store.list_links(user_id):
            yield Record("FederatedLink", user_id, link.provider, asdict(link))

    def _list_grants(self, user_id: str) -> Iterator[Grant]:
        grants, start = self.grants(), None
        while True:
            page = grants.list_grants(user_id, GRANTS_PER_PAGE, start)
            yield from page.items
            if page.next_key is None:
                return
            start = page.next_key


def _select(record: object, names: tuple[str, ...]) -> dict[str, object]:
    found = {name: getattr(record, name) for name in names}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in found.items()}
