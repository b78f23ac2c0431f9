"""The API's operations of captured CO2: statements, shares, credits and certificates."""

from typing import cast

from provocative import operations as op
from provocative.models import Listing, Page
from provocative.removal_models import (
    Certificate,
    CreditBatch,
    DrawRequest,
    Proof,
    Removal,
    RemovalAction,
    RemovalShare,
)
from provocative.transport import Transport


class Removals:
    """What capture units took out of the air, whose it is, and what became of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_shares(self, *, limit: int | None = None, cursor: str | None = None) -> Page[RemovalShare]:
        """Of the caller's account, newest day first."""
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[RemovalShare]", self._transport.send(op.LIST_REMOVAL_SHARES, query=query))

    def prove(self, serial: str) -> Proof:
        """What stands behind a certificate or a batch; anybody may ask."""
        return cast("Proof", self._transport.send(op.VERIFY_CERTIFICATE, {"serial": serial}))

    def draw(self, host_id: str, unit_id: str, day: str, request: DrawRequest) -> Removal:
        """Draw a unit's day from its records; again, it changes nothing."""
        path = {"host_id": host_id, "unit_id": unit_id, "day": day}
        return cast("Removal", self._transport.send(op.DRAW_REMOVAL, path, body=request))

    def read(self, host_id: str, unit_id: str, day: str) -> Removal:
        path = {"host_id": host_id, "unit_id": unit_id, "day": day}
        return cast("Removal", self._transport.send(op.READ_REMOVAL, path))

    def list(
        self, host_id: str, unit_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Removal]:
        """Every revision of every day of a unit, newest first."""
        path, query = {"host_id": host_id, "unit_id": unit_id}, {"limit": limit, "cursor": cursor}
        return cast("Page[Removal]", self._transport.send(op.LIST_REMOVALS, path, query=query))

    def act(self, host_id: str, unit_id: str, day: str, action: RemovalAction) -> Removal:
        """Submit, verify, fail or issue a revision."""
        path = {"host_id": host_id, "unit_id": unit_id, "day": day}
        return cast("Removal", self._transport.send(op.ACT_ON_REMOVAL, path, body=action))

    def sell(
        self, batch_serial: str, buyer: str, mass_mg: int, *, idempotency_key: str | None = None
    ) -> Certificate:
        path, body = {"serial": batch_serial}, {"buyer": buyer, "mass_mg": mass_mg}
        answer = self._transport.send(op.SELL_CREDITS, path, body=body, idempotency_key=idempotency_key)
        return cast("Certificate", answer)

    def allocate(self, batch_serial: str) -> CreditBatch:
        """Share out what is left of a batch; again, it changes nothing."""
        return cast("CreditBatch", self._transport.send(op.ALLOCATE_CREDITS, {"serial": batch_serial}))

    def split(self, serial: str, first_mg: int) -> Listing[Certificate]:
        body = {"action": "split", "mass_mg": first_mg}
        answer = self._transport.send(op.ACT_ON_CERTIFICATE, {"serial": serial}, body=body)
        return cast("Listing[Certificate]", answer)

    def retire(self, serial: str, beneficiary: str) -> Listing[Certificate]:
        """For ever; everybody sees the beneficiary."""
        body = {"action": "retire", "beneficiary": beneficiary}
        answer = self._transport.send(op.ACT_ON_CERTIFICATE, {"serial": serial}, body=body)
        return cast("Listing[Certificate]", answer)
