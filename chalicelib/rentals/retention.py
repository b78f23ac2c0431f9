"""How long the volume of a rental is kept that was stopped because the wallet was empty. Pure.

Nothing is lost at zero: the volume costs nothing for `DATA_HOLD_MS`, and is destroyed then only if there is
still no money and its renter was told `DATA_HOLD_NOTICE_MS` before.
"""

from dataclasses import replace

from chalicelib.rentals.model import DataHold, Rental

DAY_MS = 86_400_000
DATA_HOLD_MS = 14 * DAY_MS
DATA_HOLD_NOTICE_MS = 3 * DAY_MS


def begin_hold(rental: Rental, at_ms: int) -> Rental:
    """Return a rental that has just stopped, with the hold of its data if that is why."""
    if rental.state != "stopped" or rental.volume_host_id is None or rental.reason != "balance_exhausted":
        return rental
    return replace(rental, data_hold=DataHold(at_ms + DATA_HOLD_MS))


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
