"""A telemetry record in parts that a transaction holds. Pure.

Parts come from the record's intervals alone, never from what is stored: whoever comes again cuts the same.
The latest hours come first. An interval is counted in its first hour, so it is counted when all of it is
there, and never before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.capacity import PLATFORM
from chalicelib.core.leases import Lease
from chalicelib.metering.model import EnergyShare, Interval, SiteUse, split_by_hour
from chalicelib.rentals.model import Rental

#: A transaction of DynamoDB holds a hundred; the record, or the mark of a part, is one of them too. Whoever
#: changes this lets a record count twice that lies half stored meanwhile.
MAX_PART_ITEMS = 80


@dataclass(frozen=True, slots=True)
class Piece:
    """What of an interval falls into one UTC hour."""

    interval: Interval
    share: EnergyShare


def cut_parts(intervals: Iterable[Interval]) -> list[list[Piece]]:
    """Return the intervals in parts that touch at most `MAX_PART_ITEMS` items; at least one part."""
    pieces = [Piece(interval, share) for interval in intervals for share in split_by_hour(interval)]
    # Reversed, the sort still keeps pieces of an hour as they came.
    pieces.sort(key=lambda piece: piece.share.hour, reverse=True)
    parts: list[list[Piece]] = [[]]
    touched: set[tuple[object, ...]] = set()
    for piece in pieces:
        items = _list_items(piece.share)
        if len(touched | items) > MAX_PART_ITEMS:
            parts.append([])
            touched = set()
        touched |= items
        parts[-1].append(piece)
    return parts


def _list_items(share: EnergyShare) -> set[tuple[object, ...]]:
    """Return what storing it touches at most: energy, hour and day of the site, meter of the stay."""
    lease = (share.rental_id, share.gpu_uuid, share.epoch)
    items: set[tuple[object, ...]] = {
        ("energy", *lease, share.hour),
        ("site", share.hour),
        ("late", share.hour[:10]),
    }
    if share.thermal_slowdown_ms or share.power_brake_ms:
        items.add(("meter", *lease))
    return items


def merge_shares(shares: Sequence[EnergyShare]) -> list[EnergyShare]:
    """Return one share per (rental, GPU, epoch, hour): a transaction may touch an item once only."""
    merged: dict[tuple[str, str, int, str], EnergyShare] = {}
    for share in shares:
        key = (share.rental_id, share.gpu_uuid, share.epoch, share.hour)
        before = merged.get(key)
        if before is None:
            merged[key] = share
            continue
        merged[key] = EnergyShare(
            *key,
            before.energy_millijoules + share.energy_millijoules,
            before.estimated_millijoules + share.estimated_millijoules,
            before.intervals + share.intervals,
            share.intervals_expected if share.intervals_expected is not None else before.intervals_expected,
            _add(before.thermal_slowdown_ms, share.thermal_slowdown_ms),
            _add(before.power_brake_ms, share.power_brake_ms),
            share.slowdown_source or before.slowdown_source,
        )
    return list(merged.values())


def _add(one: int | None, other: int | None) -> int | None:
    """What is not known adds nothing to what is."""
    return one if other is None else (one or 0) + other


def list_site_uses(
    rentals: Mapping[str, Rental | None], pieces: Sequence[Piece], counted: Sequence[Piece]
) -> dict[str, list[SiteUse]]:
    """Return by hour who used the energy of ``pieces``; what is not ``counted`` is the platform's."""
    sums: dict[tuple[str, tuple[str, str, int]], tuple[int, int, int]] = {}
    entitled = {piece.interval for piece in counted}
    for piece in pieces:
        interval, share = piece.interval, piece.share
        user = (PLATFORM, "", 0)
        rental = rentals.get(interval.rental_id) if interval in entitled else None
        if rental is not None:
            used = Lease(interval.gpu_uuid, interval.epoch)
            (segment, *_) = (each.segment for each in rental.placements if used in each.leases)
            user = (rental.account_id, rental.rental_id, segment)
        energy, estimated, covered_ms = sums.get((share.hour, user), (0, 0, 0))
        sums[(share.hour, user)] = (
            energy + share.energy_millijoules,
            estimated + share.estimated_millijoules,
            covered_ms + share.covered_ms,
        )
    hours: dict[str, list[SiteUse]] = {}
    for (hour, user), figures in sums.items():
        hours.setdefault(hour, []).append(SiteUse(*user, *figures))
    return hours
