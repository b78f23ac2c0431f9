"""What a recorded history of the control plane consists of.

An operation took effect at one instant between its invocation and its end; one whose answer was lost
(``info``) may have taken effect or not: what it left behind is read from the records at the end. A lease was
held for certain from the first operation that had seen it to the last one that was still to see it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "fail", "info"]
FINAL_STATES = frozenset({"terminated", "failed"})
SLOT_MS = 15 * 60_000


@dataclass(frozen=True, slots=True)
class Held:
    """A rental has a GPU under this epoch."""

    rental_id: str
    gpu_uuid: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Promised:
    """A reservation has these GPUs on this host, in the slots of its window."""

    reservation_id: str
    host_id: str
    gpu_count: int
    starts_at_ms: int
    ends_at_ms: int

    @property
    def slots(self) -> range:
        return range(self.starts_at_ms // SLOT_MS, self.ends_at_ms // SLOT_MS)


@dataclass(frozen=True, slots=True)
class Operation:
    """Instants in microseconds of one clock. ``fail``: certainly without effect; ``info``: nobody knows.

    ``made_id``: the rental or reservation that it made or was about; ``promised``: open bookings it saw;
    ``held``: leases that it took or saw; ``epochs``: epochs of GPUs that it saw, held or not;
    ``wiped``: GPUs whose wipe it acknowledged, with the epoch that the wipe had.
    """

    process: int
    kind: str
    subject: str
    invoked_us: int
    ended_us: int
    outcome: Outcome
    detail: str = ""
    made_id: str | None = None
    held: tuple[Held, ...] = ()
    epochs: tuple[tuple[str, int], ...] = ()
    wiped: tuple[tuple[str, int], ...] = ()
    promised: tuple[Promised, ...] = ()

    def __str__(self) -> str:
        found = (
            f"{self.invoked_us}-{self.ended_us} #{self.process} {self.kind} {self.subject}: {self.outcome}"
        )
        held = "".join(f" {each.gpu_uuid[-6:]}@{each.epoch}" for each in self.held)
        return f"{found} {self.detail} {self.made_id or ''}{held}"


@dataclass(frozen=True, slots=True)
class Bill:
    """The meter of a stay and what was posted for it. ``postings``: journals by their number."""

    segment: int
    state: str
    charged_micros: int
    posted_micros: int
    postings: tuple[int, ...]
    hold_state: str


@dataclass(frozen=True, slots=True)
class EndedRental:
    """A rental as it is stored when all is quiet. ``key``: the idempotency key that made it."""

    rental_id: str
    key: str
    state: str
    billing_state: str
    segments: tuple[int, ...]
    leases: tuple[Held, ...]
    charge_micros: int
    bills: tuple[Bill, ...]
    reservation_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeptReservation:
    """A reservation as it is stored when all is quiet. ``promised``: what its hosts still keep for it."""

    reservation_id: str
    key: str
    state: str
    promised: tuple[Promised, ...]
    used_gpus: int


@dataclass(frozen=True, slots=True)
class Rest:
    """What is stored when all is quiet; by account, by GPU, and by host.

    ``calendars``: promised GPUs by host and slot, of the slots that begin at ``at_ms`` or later.
    """

    rentals: tuple[EndedRental, ...] = ()
    reservations: tuple[KeptReservation, ...] = ()
    host_gpus: Mapping[str, frozenset[str]] = field(default_factory=dict)
    calendars: Mapping[tuple[str, int], int] = field(default_factory=dict)
    at_ms: int = 0
    ledger_sum_micros: int = 0
    held_micros: Mapping[str, int] = field(default_factory=dict)
    used_gpus: Mapping[str, int] = field(default_factory=dict)
    tickets: tuple[str, ...] = ()
    gpus: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objection:
    """What is wrong, and the operations that show it."""

    rule: str
    text: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.rule}: {self.text}", *map(str, self.operations[:12])])


def group_by_lease(operations: Iterable[Operation]) -> dict[Held, list[Operation]]:
    """Return the operations that saw each lease."""
    found: dict[Held, list[Operation]] = defaultdict(list)
    for operation in operations:
        for held in operation.held:
            found[held].append(operation)
    return found


def find_certain(operations: Iterable[Operation]) -> dict[Held, tuple[int, int]]:
    """Return from when until when each lease was held for certain; one sighting alone shows no instant."""
    found = {}
    for held, shown in group_by_lease(operations).items():
        since_us = min(each.ended_us for each in shown)
        until_us = max(each.invoked_us for each in shown)
        if since_us <= until_us:
            found[held] = (since_us, until_us)
    return found
