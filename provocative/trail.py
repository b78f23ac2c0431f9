"""The API's operations for the audit trail."""

from collections.abc import Iterator
from typing import cast

from provocative import operations as op
from provocative.fleet_models import AuditEntry, AuditExport, AuditProof
from provocative.models import Page
from provocative.transport import Transport


class Audit:
    """Who did what in the account; operators may name another."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        target: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        account_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        """Newest first; ``action`` is how actions begin. Operators name a target, an actor or an account."""
        query = {
            "target": target,
            "actor": actor,
            "action": action,
            "from": from_,
            "to": to,
            "account_id": account_id,
            "limit": limit,
            "cursor": cursor,
        }
        return cast("Page[AuditEntry]", self._transport.send(op.LIST_AUDIT, query=query))

    def prove(self, *, account_id: str | None = None, from_sequence: int | None = None) -> AuditProof:
        """Have some thousands of entries verified from one on."""
        query = {"account_id": account_id, "from_sequence": from_sequence}
        return cast("AuditProof", self._transport.send(op.PROVE_AUDIT, query=query))

    def verify(self, *, account_id: str | None = None) -> AuditProof:
        """Have the whole trail verified, call by call; return what all of them found."""
        whole = self.prove(account_id=account_id)
        following = whole["next_sequence"]
        while following is not None:
            part = self.prove(account_id=account_id, from_sequence=following)
            following = part["next_sequence"]
            whole = {
                **part,
                "result": whole["result"] if part["result"] == "verified" else part["result"],
                "first_sequence": whole["first_sequence"],
                "links": whole["links"] + part["links"],
                "problem_count": whole["problem_count"] + part["problem_count"],
                "problems": whole["problems"] + part["problems"],
            }
        return whole

    def export(self, *, from_: str, to: str, account_id: str | None = None) -> AuditExport:
        """Link a period as a document, for five minutes, without a key."""
        query = {"from": from_, "to": to, "account_id": account_id}
        return cast("AuditExport", self._transport.send(op.EXPORT_AUDIT, query=query))

    def download(self, export: AuditExport) -> Iterator[bytes]:
        """Yield an export piece by piece.

        Raises:
            ApiError: one of its kinds.
        """
        return self._transport.download(export["url"])
