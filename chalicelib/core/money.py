"""Money: integers of micro-units (1 USD = 1_000_000), and the one formula that turns time into money.

Invariant: a charge is a pure function of cumulative seconds. What is posted is the difference of two
cumulative charges, so any pattern of ticks sums to the same total and rounding never drifts.
"""

from dataclasses import dataclass

MICROS_PER_UNIT = 1_000_000
SECONDS_PER_HOUR = 3600


def compute_charge_micros(*, price_micros_per_gpu_hour: int, gpu_count: int, seconds: int) -> int:
    """Return the cumulative charge in micro-units for ``seconds`` of ``gpu_count`` GPUs, rounded down.

    Raises:
        ValueError: an argument is negative.
    """
    if price_micros_per_gpu_hour < 0 or gpu_count < 0 or seconds < 0:
        raise ValueError("price, GPU count and seconds must not be negative")
    return price_micros_per_gpu_hour * gpu_count * seconds // SECONDS_PER_HOUR


def format_micros(micros: int, currency: str) -> str:
    """Return ``micros`` for people, exact to the micro-unit: ``"-0.004800 USD"``."""
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS_PER_UNIT)
    return f"{sign}{whole}.{fraction:06d} {currency}"


@dataclass(frozen=True, slots=True)
class StayHold:
    """Money that a stay sets aside before it starts, and what the stay is for those who keep budgets."""

    hold_id: str
    amount_micros: int
    #: Of all its GPUs.
    rate_micros_per_hour: int
    rental_id: str
    gpu_type: str
    label: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A wallet at the turn of a month: how far its chain goes, and what each purse holds."""

    leg_version: int
    chain_hash: str
    paid_micros: int
    promo_micros: int
