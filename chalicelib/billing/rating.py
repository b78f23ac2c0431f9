"""How much is due, who bears it, and in which hours it fell. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from chalicelib.billing.model import GPU_REVENUE, OVERRUN, Leg, name_shard
from chalicelib.core.money import compute_charge_micros

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Purchaser:
    """What may pay for a stay: the wallet, or a budget. ``free_micros`` is what nothing holds."""

    free_micros: int
    held_micros: int


@dataclass(frozen=True, slots=True)
class Split:
    """Who bears a charge. ``from_hold_micros`` is the part of ``paid_micros`` that the stay's hold gives."""

    paid_micros: int
    from_hold_micros: int
    overrun_micros: int


def split_charge(amount_micros: int, purchasers: Sequence[Purchaser]) -> Split:
    """Return who bears ``amount_micros``: nothing goes beyond what any of ``purchasers`` has.

    Free money goes first. The hold is the same amount in all of them, so it gives what the poorest lacks.
    """
    free = min(max(0, each.free_micros) for each in purchasers)
    most = min(max(0, each.free_micros) + max(0, each.held_micros) for each in purchasers)
    paid = min(amount_micros, most)
    return Split(paid, max(0, paid - free), amount_micros - paid)


def build_usage_legs(account_id: str, amount_micros: int, overrun_micros: int) -> tuple[Leg, ...]:
    """Return the platform's legs of a usage charge; with what the customer pays they sum to zero."""
    legs = (
        Leg(name_shard(OVERRUN, account_id), -overrun_micros),
        Leg(name_shard(GPU_REVENUE, account_id), amount_micros),
    )
    return tuple(leg for leg in legs if leg.amount_micros)


@dataclass(frozen=True, slots=True)
class Slice:
    """Billed seconds ``from_seconds`` to ``to_seconds`` of a stay, counted from its start.

    ``proven_through_ms`` is the instant of the last of them.
    """

    price_micros_per_gpu_hour: int
    gpu_count: int
    from_seconds: int
    to_seconds: int
    proven_through_ms: int

    def compute_micros(self, from_seconds: int, to_seconds: int) -> int:
        return self._cumulate(to_seconds) - self._cumulate(from_seconds)

    def _cumulate(self, seconds: int) -> int:
        return compute_charge_micros(
            price_micros_per_gpu_hour=self.price_micros_per_gpu_hour,
            gpu_count=self.gpu_count,
            seconds=seconds,
        )


@dataclass(frozen=True, slots=True)
class UsageHour:
    """The part of a slice in one UTC hour: ``day`` is ``yyyy-mm-dd``, ``hour`` 0 to 23."""

    day: str
    hour: int
    seconds: int
    micros: int


def split_by_hour(billed: Slice) -> Iterator[UsageHour]:
    """Yield the slice's seconds and micros by UTC hour; the parts sum to the whole to the unit.

    Seconds are counted back from the last one that was proven: a gap that is not billed lies before.
    """
    end_ms, to_seconds = billed.proven_through_ms, billed.to_seconds
    while to_seconds > billed.from_seconds:
        hour_start_ms = (end_ms - 1) // HOUR_MS * HOUR_MS
        seconds = min(to_seconds - billed.from_seconds, -(-(end_ms - hour_start_ms) // 1000))
        micros = billed.compute_micros(to_seconds - seconds, to_seconds)
        moment = datetime.fromtimestamp(hour_start_ms / 1000, UTC)
        yield UsageHour(moment.strftime("%Y-%m-%d"), moment.hour, seconds, micros)
        end_ms, to_seconds = hour_start_ms, to_seconds - seconds


@dataclass(frozen=True, slots=True)
class UsageDay:
    """The part of a charge for one UTC day, and what of it was promotional credit or the platform's."""

    day: str
    hours: tuple[UsageHour, ...]
    promo_micros: int
    overrun_micros: int


def share_out(hours: Sequence[UsageHour], promo_micros: int, paid_micros: int) -> Iterator[UsageDay]:
    """Yield the days of ``hours``, which are in their order, and who pays for each.

    The first of them take promotional credit, the next what was paid in; the rest is the platform's.
    """
    for day, of_day in groupby(hours, key=lambda each: each.day):
        parts = tuple(of_day)
        micros = sum(each.micros for each in parts)
        promo = min(micros, promo_micros)
        paid = min(micros - promo, paid_micros)
        promo_micros, paid_micros = promo_micros - promo, paid_micros - paid
        yield UsageDay(day, parts, promo, micros - promo - paid)
