"""Use cases of the audit trail: it is read by what was acted on, or by who acted."""

from typing import Protocol

from chalicelib.core.errors import InvalidInput
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry


class AuditReader(Protocol):
    """Both newest first, from indexes: an entry shows a moment after its act."""

    def list_by_target(self, target: str, limit: int, start: str | None) -> Page[AuditEntry]: ...
    def list_by_actor(self, actor: str, limit: int, start: str | None) -> Page[AuditEntry]:
        """What an API key, an enrolment or a host did; the platform's own acts are found by target."""
        ...


def list_entries(
    reader: AuditReader, *, target: str | None, actor: str | None, limit: int, start: str | None
) -> Page[AuditEntry]:
    """Raises InvalidInput (``target_or_actor``): not exactly one of the two is named."""
    if target and not actor:
        return reader.list_by_target(target, limit, start)
    if actor and not target:
        return reader.list_by_actor(actor, limit, start)
    raise InvalidInput("Name a target or an actor, and not both.", code="target_or_actor")
