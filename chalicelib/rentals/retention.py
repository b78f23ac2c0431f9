"""What becomes of the volume of a stopped rental: what it costs, and how long it is kept without money. Pure.

Nothing is lost at zero: the volume costs nothing for `DATA_HOLD_MS`, and is destroyed then only if there is
still no money and its renter was told `DATA_HOLD_NOTICE_MS` before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

DAY_MS = 86_400_000
DATA_HOLD_MS = 14 * DAY_MS
DATA_HOLD_NOTICE_MS = 3 * DAY_MS


@dataclass(frozen=True, slots=True)
class DataHold:
    """The volume is kept at least until ``until_ms``. ``told``: that this comes near."""

    until_ms: int
    told: bool = False


def find_next_step(hold: DataHold) -> int:
    """Return when the hold is looked at: for the notice, then for its end."""
    return hold.until_ms if hold.told else hold.until_ms - DATA_HOLD_NOTICE_MS


def choose_hold(hold: DataHold, kept_until_ms: int | None, now_ms: int) -> DataHold | None:
    """Return the hold as it goes on from `find_next_step`, the same when it is over.

    ``kept_until_ms``: what the wallet says now; ``None``: it has money again, and so has no hold.
    """
    if kept_until_ms is None:
        return None
    if kept_until_ms > hold.until_ms:
        # Filled and emptied in between: the grace begins anew.
        return DataHold(kept_until_ms)
    if hold.told:
        return hold
    # Told late is told in full.
    return DataHold(max(hold.until_ms, now_ms + DATA_HOLD_NOTICE_MS), told=True)


@dataclass(frozen=True, slots=True)
class Keeping:
    """A stretch for which a stopped rental keeps a volume of ``size_mib``, at the price of its last stay.

    ``until_ms``: ``None``, still. ``charged_seconds`` of it are posted.
    """

    since_ms: int
    size_mib: int
    price_micros_per_gib_hour: int
    until_ms: int | None = None
    charged_seconds: int = 0

    def count_seconds(self, now_ms: int) -> int:
        """Return how long it has been kept, never less than was charged."""
        end_ms = now_ms if self.until_ms is None else self.until_ms
        return max(0, (end_ms - self.since_ms) // 1000, self.charged_seconds)

    def compute_micros(self, seconds: int) -> int:
        """Return what the first ``seconds`` cost: whole micros, rounded down once."""
        return self.price_micros_per_gib_hour * self.size_mib * seconds // (1024 * 3600)


def end_keeping(kept: Sequence[Keeping], at_ms: int) -> tuple[Keeping, ...]:
    """Return the stretches without an open one."""
    return tuple(
        replace(each, until_ms=max(at_ms, each.since_ms)) if each.until_ms is None else each for each in kept
    )
