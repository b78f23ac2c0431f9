"""Use cases of idleness: telemetry says what a stay's GPUs did, and the minute's tick ends who did nothing.

Idleness needs evidence: a stretch that telemetry does not cover counts as active, so a loss never ends
anybody's work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.metering.model import Activity, Interval, Meter
from chalicelib.metering.ports import MeterPorts
from chalicelib.rentals.dispatch import announce_end
from chalicelib.rentals.model import PlannedEnd, Rental
from chalicelib.rentals.policies import GRACE_MS, IdlePolicy

MAX_ATTEMPTS = 4
#: Between two samples of a GPU; a longer hole counts as active. Telemetry comes once a minute.
MAX_SAMPLE_GAP_MS = 150_000


@dataclass(frozen=True, slots=True)
class Observation:
    """The highest utilisation of any of a stay's GPUs over a stretch; ``complete``: each GPU was sampled."""

    from_ms: int
    through_ms: int
    max_utilization_percent: int
    complete: bool


def observe(before: Activity | None, seen: Observation, policy: IdlePolicy) -> Activity:
    """Return what is known after ``seen``; an older or repeated observation changes nothing."""
    if before is None:
        before = Activity(seen.from_ms, None)
    if seen.through_ms <= before.observed_through_ms:
        return before
    idle = seen.complete and seen.max_utilization_percent <= policy.max_utilization_percent
    if not idle:
        return Activity(seen.through_ms, None)
    joined = seen.from_ms - before.observed_through_ms <= MAX_SAMPLE_GAP_MS
    since = before.idle_since_ms if joined else None
    return Activity(seen.through_ms, seen.from_ms if since is None else since)


def is_idle(activity: Activity | None, policy: IdlePolicy, now_ms: int) -> bool:
    """Say whether a stay has been idle for long enough, up to now, with nothing missing."""
    if activity is None or activity.idle_since_ms is None:
        return False
    if now_ms - activity.observed_through_ms > MAX_SAMPLE_GAP_MS:
        return False
    return activity.observed_through_ms - activity.idle_since_ms >= policy.idle_seconds * 1000


def observe_stays(
    ports: MeterPorts,
    rentals: Mapping[str, Rental],
    intervals: Sequence[Interval],
    utilization_percent: Mapping[str, int],
) -> None:
    """Keep what one telemetry record shows of the stays that have an idle policy.

    ``utilization_percent`` is the highest of each GPU over the record; one that is not there was not read.
    """
    for rental_id, rental in rentals.items():
        policy, stay = rental.policies.idle, rental.placement
        own = [each for each in intervals if each.rental_id == rental_id]
        if policy is None or stay is None or rental.state != "running" or not own:
            continue
        gpus = {lease.gpu_uuid for lease in stay.leases}
        told = {each.gpu_uuid for each in own if each.epoch in {lease.epoch for lease in stay.leases}}
        seen = Observation(
            max(each.started_at_ms for each in own),
            min(each.ended_at_ms for each in own),
            max((utilization_percent[uuid] for uuid in gpus if uuid in utilization_percent), default=100),
            complete=gpus <= told and gpus <= set(utilization_percent),
        )
        _keep(ports, rental_id, stay.segment, seen, policy)


def _keep(ports: MeterPorts, rental_id: str, segment: int, seen: Observation, policy: IdlePolicy) -> None:
    for _ in range(MAX_ATTEMPTS):
        meter = ports.store.get_meter(rental_id, segment)
        if meter is None:
            return
        after = observe(meter.activity, seen, policy)
        if after == meter.activity or ports.store.keep_activity(meter, after):
            return


def end_if_idle(ports: MeterPorts, meter: Meter, now_ms: int) -> bool:
    """Announce the end of a stay whose GPUs have done nothing for as long as its policy says.

    ``now_ms`` is the cloud's clock; telemetry's instants are the host's, so a host whose clock runs ahead or
    behind by more than a sample counts as active.
    """
    if meter.activity is None or meter.activity.idle_since_ms is None:
        return False
    rental = ports.rentals.store.get_rental(meter.rental_id)
    if rental is None or rental.state != "running" or rental.planned_end is not None:
        return False
    policy = rental.policies.idle
    if policy is None or rental.segment != meter.segment or not is_idle(meter.activity, policy, now_ms):
        return False
    return announce_end(ports.rentals, rental, PlannedEnd("idle", now_ms, now_ms + GRACE_MS))
