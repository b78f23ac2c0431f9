"""Rolls up a host's day: what its meters told by the hour becomes a record of each stay and one of the site.

A record is always made from all that is stored, never by adding: rolled up twice, or late and in another
order, it is the same, and what is the same is not written again. Each change asks for the reports it is in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.capacity import PLATFORM
from chalicelib.core.errors import Unavailable
from chalicelib.metering.model import DAY_MARGIN_MS, LateSite, Meter, SiteUse
from chalicelib.removals.ports import insist
from chalicelib.reporting.model import (
    DAY_MS,
    HOUR_MS,
    Due,
    HourUse,
    Owner,
    Period,
    SiteDay,
    StayDay,
    name_day,
)
from chalicelib.reporting.ports import ReportPorts

#: From the end of a day to its first report: figures of its last hours have come by then.
REPORT_MARGIN_MS = 6 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Rolled:
    """``failed``: (day, host) of what somebody else changed all the time. ``left``: time ran out."""

    hosts: int
    changed: int
    failed: tuple[tuple[str, str], ...]
    left: bool


def roll_up(ports: ReportPorts, deadline_ms: int) -> Rolled:
    """Roll up what came late, and the days that are over, host by host, until ``deadline_ms``."""
    hosts = changed = 0
    failed: list[tuple[str, str]] = []

    def roll(host_id: str, day: str) -> bool:
        nonlocal hosts, changed
        if ports.clock.now_ms() >= deadline_ms:
            return False
        try:
            changed += roll_up_host(ports, host_id, day)
        except Unavailable:
            failed.append((day, host_id))
            # For another run: this one goes on with the others.
            tx = ports.transactions()
            ports.energy.mark_late(tx, LateSite(host_id, day, ports.clock.now_ms()))
            tx.commit()
        else:
            hosts += 1
        return True

    for late in ports.energy.list_late():
        if not roll(late.host_id, late.day):
            return Rolled(hosts, changed, tuple(failed), left=True)
        if (late.day, late.host_id) not in failed:
            ports.energy.clear_late(late)
    finished = _roll_up_days(ports, roll)
    return Rolled(hosts, changed, tuple(failed), left=not finished)


def _roll_up_days(ports: ReportPorts, roll: Callable[[str, str], bool]) -> bool:
    """Say whether all days that are over are done."""
    last_day = name_day(ports.clock.now_ms() - DAY_MARGIN_MS - DAY_MS)
    day, done = ports.store.get_progress() or (last_day, None)
    while day <= last_day:
        for host_id in ports.energy.list_sites(day, done):
            if not roll(host_id, day):
                ports.store.put_progress(day, done)
                return False
            done = host_id
        day, done = name_day(Period(day).until_ms), None
        ports.store.put_progress(day, done)
    return True


def roll_up_host(ports: ReportPorts, host_id: str, day: str) -> int:
    """Make a host's records of a day; return how many are new or say something else than before.

    Raises:
        Unavailable: it changes all the time; try again.
    """
    by_hour = ports.energy.list_site_uses(host_id, f"{day}T00", f"{day}T23")
    users: dict[tuple[str, str, int], dict[int, SiteUse]] = {}
    for hour, uses in by_hour.items():
        for use in uses:
            users.setdefault((use.account_id, use.rental_id, use.segment), {})[int(hour[11:])] = use
    changed = 0
    expected: dict[tuple[str, str, int], dict[int, int]] = {}
    for key, hours in sorted(users.items()):
        account_id, rental_id, segment = key
        if account_id == PLATFORM:
            continue
        meter = ports.energy.get_meter(rental_id, segment)
        expected[key] = expect(meter, Period(day), hours)
        changed += insist(
            lambda key=key, hours=hours, meter=meter: _keep_stay(  # type: ignore[misc]
                ports, host_id, day, key, list_hours(hours, expected[key]), meter
            )
        )
    host = ports.hosts.get_host(host_id)
    if host is None:
        return changed
    idle = users.get((PLATFORM, "", 0), {})
    site = SiteDay(
        host.region,
        day,
        host_id,
        host.gpu_type,
        host.gpu_count,
        rented=merge([list_hours(hours, expected[key]) for key, hours in users.items() if key in expected]),
        platform=list_hours(idle, {hour: use.covered_ms for hour, use in idle.items()}),
    )
    return changed + insist(lambda: _keep_site(ports, site))


def expect(meter: Meter | None, day: Period, hours: Mapping[int, SiteUse]) -> dict[int, int]:
    """Return the GPU-milliseconds of a stay in each hour of a day, by its proofs of life.

    The energy of a stay begins before its first proof: where more is covered, that much was expected.
    """
    found = {hour: use.covered_ms for hour, use in hours.items()}
    if meter is None:
        return found
    for hour in range(24):
        from_ms = max(meter.started_at_ms, day.from_ms + hour * HOUR_MS)
        until_ms = min(meter.alive_through_ms, day.from_ms + (hour + 1) * HOUR_MS)
        proven_ms = max(0, until_ms - from_ms) * meter.gpu_count
        if proven_ms or hour in found:
            found[hour] = max(proven_ms, found.get(hour, 0))
    return found


def list_hours(hours: Mapping[int, SiteUse], expected: Mapping[int, int]) -> tuple[HourUse, ...]:
    """Return an hour for each that has energy, or should have."""
    nothing = SiteUse("", "", 0, 0, 0, 0)
    return tuple(
        HourUse(
            hour,
            (use := hours.get(hour, nothing)).energy_millijoules,
            use.estimated_millijoules,
            use.covered_ms,
            expected[hour],
        )
        for hour in sorted(expected)
    )


def merge(parts: Sequence[Sequence[HourUse]]) -> tuple[HourUse, ...]:
    """Return the sums by hour."""
    sums: dict[int, HourUse] = {}
    for use in (each for part in parts for each in part):
        before = sums.get(use.hour, HourUse(use.hour, 0, 0, 0, 0))
        sums[use.hour] = HourUse(
            use.hour,
            before.energy_millijoules + use.energy_millijoules,
            before.estimated_millijoules + use.estimated_millijoules,
            before.covered_ms + use.covered_ms,
            before.expected_ms + use.expected_ms,
        )
    return tuple(sums[hour] for hour in sorted(sums))


def _keep_stay(
    ports: ReportPorts,
    host_id: str,
    day: str,
    key: tuple[str, str, int],
    hours: tuple[HourUse, ...],
    meter: Meter | None,
) -> bool:
    account_id, rental_id, segment = key
    rental = ports.rentals.get_rental(rental_id)
    assert rental is not None, "its energy was counted"
    stay = StayDay(
        account_id,
        day,
        host_id,
        rental_id,
        segment,
        next(each.region for each in rental.placements if each.segment == segment),
        rental.gpu_type,
        meter.gpu_count if meter is not None else rental.gpu_count,
        rental.label or "",
        hours,
    )
    before = ports.store.get_stay_day(account_id, day, host_id, rental_id, segment)
    if before is not None:
        stay = replace(stay, version=before.version)
        if stay == before:
            return False
        stay = replace(stay, version=before.version + 1)
    tx = ports.transactions()
    ports.store.put_stay_day(tx, stay)
    ports.store.mark_due(tx, ask_for(Owner("account", account_id), Period(day), ports.clock.now_ms()))
    tx.commit()
    return True


def _keep_site(ports: ReportPorts, site: SiteDay) -> bool:
    before = ports.store.get_site_day(site.region, site.day, site.host_id)
    if before is not None:
        site = replace(site, version=before.version)
        if site == before:
            return False
        site = replace(site, version=before.version + 1)
    tx = ports.transactions()
    ports.store.put_site_day(tx, site)
    ports.store.mark_due(tx, ask_for(Owner("site", site.region), Period(site.day), ports.clock.now_ms()))
    tx.commit()
    return True


def ask_for(owner: Owner, period: Period, now_ms: int) -> Due:
    """Return when a report is to be made: at first a while after its period, then by the next hour."""
    first_ms = period.until_ms + (REPORT_MARGIN_MS if period.kind == "day" else 2 * REPORT_MARGIN_MS)
    due_at_ms = first_ms if now_ms < first_ms else (now_ms // HOUR_MS + 1) * HOUR_MS
    return Due(due_at_ms, owner, period, now_ms)
