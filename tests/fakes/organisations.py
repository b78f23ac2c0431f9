"""Organisations in memory, and the mail that was sent."""

from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.core.errors import Conflict, DomainError, Forbidden, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Mail
from chalicelib.organisations.model import Invitation, Membership, Project, ServiceAccount
from chalicelib.privacy.requests import Reason
from chalicelib.rentals.rules import FINAL_STATES
from tests.fakes.database import MemoryDatabase, MemoryStore


class FakeOrganisationStore(MemoryStore):
    """Rows by (account, id); service accounts by id."""

    def get_membership(self, account_id: str, user_id: str) -> Membership | None:
        return self.db.table("members").get((account_id, user_id))

    def list_members(self, account_id: str, limit: int, start: str | None) -> Page[Membership]:
        return self._page("members", account_id, limit, start)

    def list_memberships_of(self, user_id: str) -> list[Membership]:
        return [row for key, row in sorted(self.db.table("members").items()) if key[1] == user_id]

    def add_membership(self, tx: Any, membership: Membership) -> None:
        key = (membership.account_id, membership.user_id)
        tx.put_new("members", key, membership, Conflict("member", code="already_member"))

    def replace_membership(self, tx: Any, old: Membership, new: Membership) -> None:
        self._replace(tx, "members", (old.account_id, old.user_id), old, new)

    def remove_membership(self, tx: Any, old: Membership) -> None:
        self._replace(tx, "members", (old.account_id, old.user_id), old, None)

    def require_membership(self, tx: Any, account_id: str, user_id: str, role: str) -> None:
        def check() -> DomainError | None:
            found = self.get_membership(account_id, user_id)
            same = found is not None and found.role == role
            return None if same else Forbidden("changed", code="membership_changed")

        tx.add(check, lambda: None)

    def count_owner(self, tx: Any, account_id: str, change: int, *, may_be_none: bool = False) -> None:
        rows = self.db.table("owners")

        def check() -> DomainError | None:
            left = change > 0 or may_be_none or rows.get(account_id, 0) > 1
            return None if left else Conflict("last", code="last_owner")

        tx.add(check, lambda: rows.__setitem__(account_id, rows.get(account_id, 0) + change))

    def read_issued_count(self, account_id: str, issuer_id: str) -> int:
        rows, key = self._find_issuer(account_id, issuer_id)
        return rows[key].issued_keys if key in rows else 0

    def count_issued_key(self, tx: Any, account_id: str, issuer_id: str, issued: int) -> None:
        rows, key = self._find_issuer(account_id, issuer_id)

        def check() -> DomainError | None:
            row = rows.get(key)
            if row is None or row.account_id != account_id or getattr(row, "disabled_at_ms", None):
                return Forbidden("gone", code="issuer_gone")
            return None if row.issued_keys == issued else Unavailable("another key was issued")

        def effect() -> None:
            rows[key] = replace(rows[key], issued_keys=rows[key].issued_keys + 1)

        tx.add(check, effect)

    def _find_issuer(self, account_id: str, issuer_id: str) -> tuple[dict[Any, Any], Any]:
        if issuer_id.startswith("sva_"):
            return self.db.table("service_accounts"), issuer_id
        return self.db.table("members"), (account_id, issuer_id)

    def get_invitation(self, account_id: str, invitation_id: str) -> Invitation | None:
        return self.db.table("invitations").get((account_id, invitation_id))

    def list_invitations(self, account_id: str, limit: int, start: str | None) -> Page[Invitation]:
        return self._page("invitations", account_id, limit, start)

    def put_invitation(self, tx: Any, invitation: Invitation) -> None:
        key = (invitation.account_id, invitation.invitation_id)
        tx.add(lambda: None, lambda: self.db.table("invitations").__setitem__(key, invitation))

    def remove_invitation(self, tx: Any, invitation: Invitation) -> None:
        rows, key = self.db.table("invitations"), (invitation.account_id, invitation.invitation_id)

        def check() -> DomainError | None:
            same = key in rows and rows[key].token_digest == invitation.token_digest
            return None if same else NotFound("gone")

        tx.add(check, lambda: rows.__delitem__(key))

    def note_mailed(self, invitation: Invitation, at_ms: int) -> None:
        rows, key = self.db.table("invitations"), (invitation.account_id, invitation.invitation_id)
        if key in rows and rows[key].token_digest == invitation.token_digest:
            rows[key] = replace(rows[key], mailed_at_ms=at_ms)

    def get_project(self, account_id: str, project_id: str) -> Project | None:
        return self.db.table("projects").get((account_id, project_id))

    def list_projects(self, account_id: str, limit: int, start: str | None) -> Page[Project]:
        return self._page("projects", account_id, limit, start)

    def add_project(self, tx: Any, project: Project) -> None:
        key = (project.account_id, project.project_id)
        tx.put_new("projects", key, project, Unavailable("project"))

    def replace_project(self, tx: Any, old: Project, new: Project) -> None:
        self._replace(tx, "projects", (old.account_id, old.project_id), old, new)

    def get_service_account(self, service_account_id: str) -> ServiceAccount | None:
        return self.db.table("service_accounts").get(service_account_id)

    def list_service_accounts(self, account_id: str, limit: int, start: str | None) -> Page[ServiceAccount]:
        rows = [row for _, row in sorted(self.db.table("service_accounts").items())]
        own = [row for row in rows if row.account_id == account_id]
        return _cut([(row.service_account_id, row) for row in own], limit, start)

    def add_service_account(self, tx: Any, account: ServiceAccount) -> None:
        tx.put_new("service_accounts", account.service_account_id, account, Unavailable("program"))

    def replace_service_account(self, tx: Any, old: ServiceAccount, new: ServiceAccount) -> None:
        self._replace(tx, "service_accounts", old.service_account_id, old, new)

    def _page(self, table: str, account_id: str, limit: int, start: str | None) -> Page[Any]:
        rows = [(key[1], row) for key, row in sorted(self.db.table(table).items()) if key[0] == account_id]
        return _cut(rows, limit, start)

    def _replace(self, tx: Any, table: str, key: Any, old: Any, new: Any) -> None:
        rows = self.db.table(table)

        def effect() -> None:
            if new is None:
                del rows[key]
            else:
                rows[key] = new

        tx.add(lambda: None if rows.get(key) == old else Unavailable("changed"), effect)


@dataclass
class FakeMailer:
    sent: list[Mail] = field(default_factory=list)
    #: Takes nothing while it is down.
    is_down: bool = False

    def send(self, mail: Mail) -> None:
        if self.is_down:
            raise Unavailable("mail")
        self.sent.append(mail)


def list_reasons(db: MemoryDatabase, account_id: str) -> tuple[Reason, ...]:
    """As `chalicelib.privacy.record_store.DynamoRecords.list_reasons`, of what closing waits for."""
    reasons: set[Reason] = set()
    for rental in db.table("rentals").values():
        if rental.account_id == account_id:
            over = rental.state in FINAL_STATES and rental.billing_state in {"not_started", "settled"}
            reasons |= set() if over else {"rental_open"}
            reasons |= {"volume_kept"} if rental.kept else set()
    for reservation in db.table("reservations").values():
        if reservation.account_id == account_id and reservation.state in {"confirmed", "active"}:
            reasons.add("reservation_open")
    balance = db.table("balances").get(account_id)
    if balance is not None and balance.held_micros > 0:
        reasons.add("money_held")
    if balance is not None and balance.posted_micros < 0:
        reasons.add("balance_negative")
    return tuple(sorted(reasons))


def _cut(rows: list[tuple[str, Any]], limit: int, start: str | None) -> Page[Any]:
    rest = [(key, row) for key, row in rows if start is None or key > start]
    return Page([row for _, row in rest[:limit]], rest[limit - 1][0] if len(rest) > limit else None)
