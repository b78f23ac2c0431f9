"""Use cases of the audit trail: an account reads its own, operators by target, by actor or an account's."""

from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry
from chalicelib.core.principal import Principal


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What is left of a trail: ``from_ms`` to before ``to_ms``; empty or ``None``: all.

    ``action`` is how actions begin: ``key.`` for all that was done to keys.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    action: str = ""
    actor: str | None = None
    target: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether every entry of the time fits."""
        return not self.action and self.actor is None and self.target is None

    def fits(self, actor: str, action: str, target: str) -> bool:
        return (
            action.startswith(self.action) and self.actor in {None, actor} and self.target in {None, target}
        )


EVERYTHING = AuditFilters()


class AuditReader(Protocol):
    """All newest first, and bounded: a page may have fewer than ``limit`` entries, and a next key.

    By target and by actor they read indexes: an entry shows a moment after its act.
    """

    def list_by_account(
        self, account_id: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]: ...
    def list_by_target(
        self, target: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]: ...
    def list_by_actor(
        self, actor: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        """What a key, a person, an enrolment or a host did; the platform's own acts are found by target."""
        ...


def choose_account(principal: Principal, account_id: str | None) -> str:
    """Return whose trail is read: an operator may name one, all others have their own.

    Raises:
        NotFound: somebody else's was named, whether there is one or not.
    """
    if account_id is None or account_id == principal.account_id or principal.is_operator:
        return account_id or principal.account_id
    raise NotFound("There is no such account.")


def list_entries(
    reader: AuditReader,
    principal: Principal,
    filters: AuditFilters,
    *,
    account_id: str | None,
    limit: int,
    start: str | None,
) -> Page[AuditEntry]:
    """List what was done, newest first.

    Raises:
        InvalidInput: an operator named neither an account nor exactly one of target and actor
            (``target_or_actor``).
        NotFound: of an account that is not theirs.
    """
    if account_id is not None or not principal.is_operator:
        # Its own partition: what was done to the same target in other accounts is not even read.
        return reader.list_by_account(choose_account(principal, account_id), limit, start, filters)
    if filters.target and not filters.actor:
        return reader.list_by_target(filters.target, limit, start, filters)
    if filters.actor and not filters.target:
        return reader.list_by_actor(filters.actor, limit, start, filters)
    raise InvalidInput("Name a target or an actor, and not both.", code="target_or_actor")
