"""A host that drains is found no more, on the database that the platform runs on."""

from collections.abc import Iterator

import pytest

from chalicelib import wiring
from chalicelib.core.errors import Conflict
from chalicelib.core.leases import Lease
from chalicelib.fleet.model import Host
from chalicelib.fleet.service import CapacityTaken
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import (
    REGION,
    add_host,
    add_renter,
    become_operator,
    offer,
    read_rental,
    rent,
)
from tests.integration.in_process import wire_to


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def beat_at(host: Host, at_ms: int, *, draining: bool) -> None:
    said = Beat(host.host_id, "boot", "0.1.0", 2, 0, 0, at_ms, (), draining=draining)
    record_heartbeat(wiring.meter_ports(), said)


def list_candidates() -> list[str]:
    found = wiring.fleet_ports().store.find_candidates("drained", REGION, 1, 8, start=0)
    return [candidate.host_id for candidate in found]


def test_a_draining_host_leaves_its_pool_keeps_its_rental_and_comes_back(wired: None) -> None:
    operator = become_operator()
    offer(operator, "drained")
    host, renter = add_host(operator, "drained", 2), add_renter(operator)
    rental = read_rental(rent(renter, "drained", 1, "first").body)
    store, now_ms = wiring.fleet_ports().store, wiring.clock().now_ms()

    for step in (1, 2):
        beat_at(host, now_ms + step, draining=True)
        liveness, stored = store.get_liveness(host.host_id), store.get_host(host.host_id)
        assert liveness is not None
        assert stored is not None
        assert (stored.draining, liveness.last_seen_at_ms) == (True, now_ms + step)
    assert list_candidates() == []
    assert store.list_free("drained", REGION) == []
    assert [each.host_id for each in store.list_hosts("drained", REGION)] == [host.host_id]
    with pytest.raises(Conflict):
        rent(renter, "drained", 1, "second")

    # Somebody who found the host before it left its pool does not get it either.
    (free,) = [row for row in store.list_gpus(host.host_id) if row.lease_state == "free"]
    tx = wiring.rental_ports().transactions()
    store.take_leases(tx, host.host_id, "rnt_x", [Lease(free.gpu.gpu_uuid, free.epoch)], now_ms - 1000)
    with pytest.raises(CapacityTaken):
        tx.commit()
    assert read_rental(rental.rental_id).state == rental.state

    # A heartbeat from before the drain that comes late does not bring it back; a new one does.
    beat_at(host, now_ms, draining=False)
    assert list_candidates() == []
    beat_at(host, now_ms + 3, draining=False)
    assert list_candidates() == [host.host_id]
    assert read_rental(rent(renter, "drained", 1, "third").body).host_id == host.host_id
