"""Use cases of idleness: telemetry says what a stay's GPUs did, and the minute's tick ends who did nothing.

What telemetry does not cover counts as active, so a loss never ends anybody's work.
"""

from collections.abc import Mapping, Sequence

from chalicelib.metering.model import Interval
from chalicelib.metering.ports import MeterPorts
from chalicelib.rentals.dispatch import announce_end
from chalicelib.rentals.model import PlannedEnd, Rental
from chalicelib.rentals.policies import GRACE_MS, Observation, is_idle, observe

MAX_ATTEMPTS = 4


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
            stay.segment,
            max(each.started_at_ms for each in own),
            min(each.ended_at_ms for each in own),
            max((utilization_percent[uuid] for uuid in gpus if uuid in utilization_percent), default=100),
            complete=gpus <= told and gpus <= set(utilization_percent),
        )
        for _ in range(MAX_ATTEMPTS):
            before = ports.rentals.store.get_activity(rental_id)
            after = observe(before, seen, policy)
            if after == before or ports.rentals.store.keep_activity(rental_id, before, after):
                break


def end_if_idle(ports: MeterPorts, rental_id: str, now_ms: int) -> bool:
    """Announce the end of a stay whose GPUs have done nothing for as long as its policy says.

    ``now_ms`` is the cloud's clock; telemetry's instants are the host's, so a host whose clock runs ahead or
    behind by more than a sample counts as active.
    """
    rental = ports.rentals.store.get_rental(rental_id)
    if rental is None or rental.state != "running" or rental.planned_end is not None:
        return False
    policy = rental.policies.idle
    if policy is None:
        return False
    if not is_idle(ports.rentals.store.get_activity(rental_id), policy, rental.segment, now_ms):
        return False
    return announce_end(ports.rentals, rental, PlannedEnd("idle", now_ms, now_ms + GRACE_MS))
