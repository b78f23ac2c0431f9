"""Reservations: GPUs on named hosts for a window on a grid of 15 minutes, in UTC.

A reservation books ``gpu_count`` GPUs on each of its hosts. Its states: ``confirmed`` until its window
begins, ``active`` in it, ``ended`` after it; ``cancelled`` by its renter, ``broken`` by us. No transition
reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.core.clock import format_hour
from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.core.money import compute_charge_micros

State = Literal["confirmed", "active", "ended", "cancelled", "broken"]
#: ``moved``: another host has it now, and this one's calendar is still to be given its slots back.
BookingState = Literal["open", "moved", "closed"]

SLOT_MS = 15 * 60_000
DAY_MS = 24 * 3_600_000
SLOTS_PER_DAY = DAY_MS // SLOT_MS
MIN_WINDOW_MS = SLOT_MS
MAX_WINDOW_MS = 60 * DAY_MS
MAX_AHEAD_MS = 180 * DAY_MS
#: Spot work on a reserved host is told this long before the window begins: notice of 120 s, a minute until
#: the sweep comes by, 30 s to stop and wipe.
PREEMPTION_LEAD_MS = 210_000
#: So long after it has begun, the GPUs of a window that nobody has redeemed yet are not lent to spot.
KEPT_FREE_MS = SLOT_MS

#: DynamoDB: 100 items a transaction.
MAX_WRITES = 100
#: What a reservation's largest transaction writes beside its hosts' items. Breaking it: reservation, quota,
#: audit entry, incident, hold, wallet, journal, two legs, entry, the turn of a month, two events. Booking it
#: has seven, cancelling it twelve.
WRITES_BESIDE = 14
#: As many as a cluster may have (`rentals.placing`).
MAX_NODES = 6

PPM = 1_000_000
#: Notice before the start (at least) -> part of the price that is kept. Longest notice first.
CANCEL_RULE: tuple[tuple[int, int], ...] = (
    (7 * DAY_MS, 0),
    (DAY_MS, 100_000),
    (3_600_000, 250_000),
    (0, 500_000),
)
#: Of a window that has begun: what has begun counts in full, and this part of the rest.
STARTED_KEPT_PPM = 500_000


@dataclass(frozen=True, slots=True)
class Span:
    """The slots ``first`` to ``end - 1`` of a UTC day, ``yyyy-mm-dd``."""

    day: str
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Booking:
    """GPUs promised on one host. ``uses``: GPUs by the rental that has them now."""

    host_id: str
    gpu_count: int
    state: BookingState = "open"
    uses: Mapping[str, int] = field(default_factory=dict)
    #: Milliseconds times GPUs: each redemption takes its instant off, and what is put back adds its own.
    served_gpu_ms: int = 0

    @property
    def used_gpus(self) -> int:
        return sum(self.uses.values())

    def measure_served(self, at_ms: int) -> int:
        """Return how long its GPUs were with rentals until then, in milliseconds of one GPU."""
        return self.served_gpu_ms + self.used_gpus * at_ms


@dataclass(frozen=True, slots=True)
class Reservation:
    """``bookings`` hold the hosts of now and those that it was moved away from."""

    reservation_id: str
    account_id: str
    gpu_type: str
    region: str
    #: On each host; all hosts have the same number.
    gpu_count: int
    node_count: int
    bookings: tuple[Booking, ...]
    starts_at_ms: int
    ends_at_ms: int
    #: Of the class ``reserved``, frozen when it was booked.
    price_micros_per_gpu_hour: int
    currency: str
    created_at_ms: int
    state: State = "confirmed"
    label: str | None = None
    cancelled_at_ms: int | None = None
    #: What was kept of the wallet: what the early-cancel rule says, as far as deposit and wallet covered it.
    cancel_fee_micros: int | None = None
    broken_at_ms: int | None = None
    #: The price of what we could not keep, credited when it was broken: nobody has to ask for it.
    credit_due_micros: int | None = None
    #: What it takes of the account's quota until it is over; nothing, if it was booked before there was one.
    quota_gpus: int = 0
    #: Held in the wallet until it is over; nothing, if it was booked before there were deposits.
    deposit_micros: int = 0
    #: Rises with every change, redemptions apart.
    version: int = 0

    @property
    def open_bookings(self) -> tuple[Booking, ...]:
        return tuple(booking for booking in self.bookings if booking.state == "open")

    @property
    def total_gpus(self) -> int:
        return self.gpu_count * self.node_count


@dataclass(frozen=True, slots=True)
class CancelFee:
    """What a cancelled reservation costs.

    ``begun_micros``: the price of the slots that had begun, less that of the time its rentals had the GPUs,
    which they pay themselves. ``kept_micros``: the part of the other slots' price that the rule keeps.
    """

    begun_micros: int
    kept_micros: int

    @property
    def total_micros(self) -> int:
        return self.begun_micros + self.kept_micros


def floor_slot(at_ms: int) -> int:
    """Return where the slot of an instant begins."""
    return at_ms - at_ms % SLOT_MS


def ceil_slot(at_ms: int) -> int:
    """Return where the first slot begins that has not begun before ``at_ms``."""
    return floor_slot(at_ms + SLOT_MS - 1)


def check_window(starts_at_ms: int, ends_at_ms: int, now_ms: int) -> None:
    """Raises InvalidInput: ``off_grid``, ``window_length``, ``window_passed`` or ``window_too_far``.

    The slot that has begun may still be booked, so that a reservation can start at once.
    """
    if starts_at_ms % SLOT_MS or ends_at_ms % SLOT_MS:
        raise InvalidInput("A window begins and ends at a full quarter of an hour, UTC.", code="off_grid")
    if not MIN_WINDOW_MS <= ends_at_ms - starts_at_ms <= MAX_WINDOW_MS:
        raise InvalidInput("A window has 15 minutes to 60 days.", code="window_length")
    if starts_at_ms < floor_slot(now_ms):
        raise InvalidInput("The window begins in the past.", code="window_passed")
    if starts_at_ms > now_ms + MAX_AHEAD_MS:
        raise InvalidInput("A window begins within the next 180 days.", code="window_too_far")


def list_spans(from_ms: int, to_ms: int) -> tuple[Span, ...]:
    """Return the slots of a window, day by day; both ends lie on the grid. Empty when it has no length."""
    spans = []
    day_ms = from_ms - from_ms % DAY_MS
    while from_ms < to_ms and day_ms < to_ms:
        first = (max(from_ms, day_ms) - day_ms) // SLOT_MS
        end = (min(to_ms, day_ms + DAY_MS) - day_ms) // SLOT_MS
        spans.append(Span(name_day(day_ms), first, end))
        day_ms += DAY_MS
    return tuple(spans)


def list_future_spans(reservation: Reservation, at_ms: int) -> tuple[Span, ...]:
    """Return the slots of the reservation's window that have not begun at ``at_ms``."""
    return list_spans(max(reservation.starts_at_ms, ceil_slot(at_ms)), reservation.ends_at_ms)


def name_day(at_ms: int) -> str:
    return format_hour(at_ms)[:10]


def check_size(node_count: int, starts_at_ms: int, ends_at_ms: int) -> None:
    """Raises InvalidInput (``too_many_slots``): the booking does not fit into one transaction.

    Each node writes its days, its count of bookings and its booking, and checks its host.
    """
    days = len(list_spans(starts_at_ms, ends_at_ms))
    if node_count * (days + 3) + WRITES_BESIDE > MAX_WRITES:
        longest = (MAX_WRITES - WRITES_BESIDE) // node_count - 3
        raise InvalidInput(
            f"{node_count} nodes are booked for {longest} days at most; book the rest apart.",
            code="too_many_slots",
        )


def see_state(reservation: Reservation, at_ms: int) -> State:
    """Return the state at an instant, whether or not the sweep has come by."""
    if reservation.state not in {"confirmed", "active"}:
        return reservation.state
    if at_ms >= reservation.ends_at_ms:
        return "ended"
    return "active" if at_ms >= reservation.starts_at_ms else "confirmed"


def find_boundary(reservation: Reservation) -> int | None:
    """Return when the sweep is to look at it next; ``None``: never again."""
    if reservation.state == "confirmed":
        return reservation.starts_at_ms
    return reservation.ends_at_ms if reservation.state == "active" else None


def pass_boundary(reservation: Reservation, at_ms: int) -> Reservation:
    """Return the reservation in the state of an instant; one that has ended holds no host any more."""
    state = see_state(reservation, at_ms)
    if state == reservation.state:
        return reservation
    return replace(_close(reservation) if state == "ended" else reservation, state=state)


def check_open(reservation: Reservation, at_ms: int) -> None:
    """Raises Conflict: ``reservation_over``."""
    state = see_state(reservation, at_ms)
    if state not in {"confirmed", "active"}:
        raise Conflict(f"The reservation is {state}.", code="reservation_over")


def cancel(reservation: Reservation, at_ms: int, fee_micros: int) -> Reservation:
    """Return the cancelled reservation, of which ``fee_micros`` are kept. Raises as `check_open`."""
    check_open(reservation, at_ms)
    return replace(
        _close(reservation), state="cancelled", cancelled_at_ms=at_ms, cancel_fee_micros=fee_micros
    )


def break_up(reservation: Reservation, at_ms: int) -> Reservation:
    """Return the reservation that we cannot keep, and what we owe for it: the price of what is left."""
    left_ms = reservation.ends_at_ms - max(reservation.starts_at_ms, floor_slot(at_ms))
    return replace(
        _close(reservation),
        state="broken",
        broken_at_ms=at_ms,
        credit_due_micros=compute_price_micros(reservation, left_ms),
    )


def move_booking(reservation: Reservation, from_host_id: str, to_host_id: str) -> Reservation:
    """Return the reservation with a host in place of another, on which nothing of it is redeemed yet."""
    bookings = tuple(
        replace(booking, state="moved") if booking.host_id == from_host_id else booking
        for booking in reservation.bookings
    )
    return replace(reservation, bookings=(*bookings, Booking(to_host_id, reservation.gpu_count)))


def close_booking(reservation: Reservation, host_id: str) -> Reservation:
    bookings = tuple(
        replace(booking, state="closed") if booking.host_id == host_id else booking
        for booking in reservation.bookings
    )
    return replace(reservation, bookings=bookings)


def is_over(reservation: Reservation) -> bool:
    return reservation.state not in {"confirmed", "active"}


def _close(reservation: Reservation) -> Reservation:
    bookings = tuple(replace(booking, state="closed") for booking in reservation.bookings)
    return replace(reservation, bookings=bookings)


def compute_price_micros(reservation: Reservation, duration_ms: int) -> int:
    """Return what all GPUs of the reservation cost for a time."""
    return compute_charge_micros(
        price_micros_per_gpu_hour=reservation.price_micros_per_gpu_hour,
        gpu_count=reservation.total_gpus,
        seconds=duration_ms // 1000,
    )


def compute_cancel_fee(reservation: Reservation, at_ms: int) -> CancelFee:
    """Return what the early-cancel rule keeps of a reservation that is cancelled at ``at_ms``."""
    notice_ms = reservation.starts_at_ms - at_ms
    kept_ppm = next((part for least, part in CANCEL_RULE if notice_ms >= least), STARTED_KEPT_PPM)
    rest_from_ms = min(max(reservation.starts_at_ms, ceil_slot(at_ms)), reservation.ends_at_ms)
    begun = compute_price_micros(reservation, rest_from_ms - reservation.starts_at_ms)
    served = compute_served_micros(reservation, at_ms)
    rest = compute_price_micros(reservation, reservation.ends_at_ms - rest_from_ms)
    return CancelFee(max(0, begun - served), rest * kept_ppm // PPM)


def compute_served_micros(reservation: Reservation, at_ms: int) -> int:
    """Return the price of the time that rentals had GPUs of the reservation, on any of its hosts."""
    gpu_ms = sum(booking.measure_served(at_ms) for booking in reservation.bookings)
    return compute_charge_micros(
        price_micros_per_gpu_hour=reservation.price_micros_per_gpu_hour,
        gpu_count=1,
        seconds=max(0, gpu_ms) // 1000,
    )


def compute_deposit_micros(reservation: Reservation) -> int:
    """Return what is held for a reservation: the most that the rule keeps of one that has not begun."""
    price = compute_price_micros(reservation, reservation.ends_at_ms - reservation.starts_at_ms)
    return price * max(part for _, part in CANCEL_RULE) // PPM
