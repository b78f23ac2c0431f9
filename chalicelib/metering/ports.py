"""What the use cases of metering need, and what they share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chalicelib.core.errors import Conflict
from chalicelib.core.ports import ChargeRequest, Transaction
from chalicelib.metering.model import (
    Activity,
    CaptureDatapoint,
    EnergyShare,
    HourlyEnergy,
    KeptDatapoint,
    LateSite,
    Meter,
    SiteUse,
)
from chalicelib.rentals.ports import RentalPorts


@dataclass(frozen=True, slots=True)
class TelemetryRecord:
    """One telemetry message as it came; (host_id, boot_id, seq) is its identity for ever."""

    host_id: str
    boot_id: str
    seq: int
    text: str
    sent_at_ms: int
    #: What the drivers of its boards answer, when the record tells.
    capabilities: dict[str, dict[str, Any]] = field(default_factory=dict)
    capture: tuple[CaptureDatapoint, ...] = ()
    #: The highest utilisation of each GPU that was read since the record before.
    utilization_percent: dict[str, int] = field(default_factory=dict)


class AlreadyStored(Conflict):
    code = "already_stored"


class MeterStore(Protocol):
    def get_meter(self, rental_id: str, segment: int) -> Meter | None: ...
    def list_meters(self, rental_id: str) -> list[Meter]:
        """Of every stay, in their order."""
        ...

    def list_energy(self, rental_id: str) -> list[HourlyEnergy]: ...
    def list_hour_energy(self, rental_id: str, hour: str) -> list[HourlyEnergy]: ...
    def list_day_energy(self, rental_id: str, day: str) -> list[HourlyEnergy]: ...
    def count_duplicates(self, rental_id: str) -> int: ...
    def list_open(self, shard: str) -> Iterator[tuple[str, str]]:
        """Yield (account, rental) of each meter that is not settled. An index: a hint."""
        ...

    def open_meter(self, tx: Transaction, meter: Meter) -> None:
        """Fails with AlreadyStored when the stay has one."""

    def replace_meter(self, tx: Transaction | None, old: Meter, new: Meter) -> None:
        """Write the proofs of life. Fails with Unavailable when ``old``'s are no longer the stored ones."""

    def record_charge(self, tx: Transaction, old: Meter, new: Meter) -> None:
        """Advance the cursor. Fails with Unavailable when ``old.charge_seq`` is no longer the cursor."""

    def keep_activity(self, meter: Meter, after: Activity) -> bool:
        """Return False, and change nothing, when more was shown since ``meter`` was read."""
        ...

    def add_record(self, tx: Transaction, record: TelemetryRecord) -> None:
        """Fails with AlreadyStored when (host, boot, seq) is there."""

    def add_part(self, tx: Transaction, record: TelemetryRecord, number: int) -> None:
        """Mark a part of a record that comes last. Fails with AlreadyStored when either is there."""

    def add_energy(self, tx: Transaction, share: EnergyShare) -> None: ...
    def mark_slowed(self, tx: Transaction, meter: Meter, hours: frozenset[str], at_ms: int) -> None:
        """Note hours to be looked at. ``meter`` is there."""

    def forget_slowed(self, meter: Meter, hours: frozenset[str]) -> None:
        """Fails with Unavailable when more was told since ``meter`` was read."""

    def record_slowdown(self, tx: Transaction, meter: Meter, hour: HourlyEnergy, micros: int) -> None:
        """Add ``micros`` to what was credited for ``hour`` and for the stay.

        Fails with Unavailable when either is no longer as it was read.
        """

    def add_duplicate(self, rental_id: str) -> None: ...
    def add_site_energy(self, tx: Transaction, host_id: str, hour: str, uses: Sequence[SiteUse]) -> None:
        """Add to what is stored of the host's hour, user by user."""

    def list_site_uses(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, list[SiteUse]]:
        """Return by hour what was added."""
        ...

    def list_sites(self, day: str, after: str | None = None) -> Iterator[str]:
        """Yield each host that used energy on the UTC day, those behind ``after`` in an order of the store's.

        An index: what has just come may lack.
        """
        ...

    def mark_late(self, tx: Transaction, late: LateSite) -> None: ...
    def list_late(self) -> list[LateSite]: ...
    def clear_late(self, late: LateSite) -> None:
        """Forget it, unless more came since it was marked so."""

    def list_site_energy(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, int]:
        """Return millijoules by tenant, of both hours and those between."""
        ...

    def list_datapoints(self, host_id: str, unit_id: str, from_ms: int, until_ms: int) -> list[KeptDatapoint]:
        """Of a capture unit, from ``from_ms`` to before ``until_ms`` by its own clock."""
        ...

    def list_datapoints_before(self, host_id: str, unit_id: str, before_ms: int) -> Iterator[KeptDatapoint]:
        """Yield those of a capture unit from before ``before_ms``, the newest first, as they are read."""
        ...

    def keep_datapoint(self, host_id: str, datapoint: CaptureDatapoint, received_at_ms: int) -> bool:
        """Keep it unless it is there; return False when another value stands in its place."""


class ChargeQueue(Protocol):
    def request_charges(self, requests: Iterable[ChargeRequest]) -> int:
        """Return how many were asked for.

        Raises:
            Unavailable: the queue did not take all; those that it took are not lost.
        """
        ...


@dataclass(frozen=True, slots=True)
class MeterPorts:
    store: MeterStore
    rentals: RentalPorts
    charges: ChargeQueue
