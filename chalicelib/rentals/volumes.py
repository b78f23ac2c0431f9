"""When a rental begins and ends to keep its volume (see `chalicelib.rentals.retention`). Pure."""

from dataclasses import replace

from chalicelib.rentals.model import Rental
from chalicelib.rentals.retention import DATA_HOLD_MS, DataHold, Keeping, end_keeping


def begin_keeping(rental: Rental, at_ms: int) -> Rental:
    """Return a rental that has just stopped, keeping its volume: for money, or for want of money held."""
    if rental.state != "stopped" or rental.volume_host_id is None:
        return rental
    hold = DataHold(at_ms + DATA_HOLD_MS) if rental.reason == "balance_exhausted" else None
    kept = rental.kept
    if rental.volume_price_micros_per_gib_hour and rental.volume_mib:
        stretch = Keeping(at_ms, rental.volume_mib, rental.volume_price_micros_per_gib_hour)
        kept = (*end_keeping(kept, at_ms), stretch)
    return replace(rental, data_hold=hold, kept=kept)


def list_kept(rental: Rental, at_ms: int) -> tuple[Keeping, ...]:
    """Return what is to be charged of a rental that keeps its volume no longer; what was held is free."""
    if rental.data_hold is None:
        return end_keeping(rental.kept, at_ms)
    return tuple(each for each in rental.kept if each.until_ms is not None)


def end_hold(rental: Rental, at_ms: int) -> Rental:
    """Return a rental whose wallet has money again: the volume costs again from here on."""
    kept = tuple(
        replace(each, since_ms=at_ms, charged_seconds=0) if each.until_ms is None else each
        for each in rental.kept
    )
    return replace(rental, data_hold=None, kept=kept)
