"""A GPU that its host calls unfit is not offered, on the database that the platform runs on."""

from collections.abc import Iterator

import pytest

from chalicelib import wiring
from chalicelib.core.errors import Conflict
from chalicelib.fleet.model import Host
from chalicelib.fleet.schemas import HostBody, render_host
from chalicelib.fleet.service import read_host, record_capabilities
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import add_host, add_renter, become_operator, offer, read_rental, rent
from tests.integration.in_process import wire_to
from tests.integration.test_leases import finish
from tests.performance.counting import count_calls


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def beat(host: Host, unfit: tuple[str, ...] = ()) -> None:
    conditions = {uuid: ["row_remap_pending"] for uuid in unfit}
    now_ms = wiring.clock().now_ms()
    record_heartbeat(
        wiring.meter_ports(),
        Beat(host.host_id, "boot", "0.1.0", 2, 0, 0, now_ms, (), frozenset(unfit), conditions),
    )


def look(host: Host) -> HostBody:
    return render_host(*read_host(wiring.fleet_ports(), host.host_id), now_ms=wiring.clock().now_ms())


def test_an_unfit_gpu_is_not_offered_until_it_is_well_whatever_happens_to_it_between(wired: None) -> None:
    operator = become_operator()
    offer(operator, "unfit")
    host = add_host(operator, "unfit", 2)
    bad, good = sorted(gpu.gpu_uuid for gpu in look(host).gpus or [])
    renter = add_renter(operator)
    beat(host, (bad,))
    beat(host, (bad,))
    shown = look(host)
    assert shown.free_gpus == 1
    assert {gpu.gpu_uuid: (gpu.lease_state, gpu.conditions) for gpu in shown.gpus or []} == {
        bad: ("withheld", ["row_remap_pending"]),
        good: ("free", []),
    }
    with pytest.raises(Conflict):
        rent(renter, "unfit", 2, "both")
    rental = read_rental(rent(renter, "unfit", 1, "one").body)
    assert [lease.gpu_uuid for lease in rental.leases] == [good]
    # The leased one goes bad: it stays leased, and is withheld once it is free.
    beat(host, (bad, good))
    assert {gpu.lease_state for gpu in look(host).gpus or []} == {"withheld", "leased"}
    finish(rental)
    beat(host, (bad, good))
    assert (look(host).free_gpus, {gpu.lease_state for gpu in look(host).gpus or []}) == (0, {"withheld"})
    beat(host)
    assert (look(host).free_gpus, {gpu.lease_state for gpu in look(host).gpus or []}) == (2, {"free"})
    assert len(read_rental(rent(renter, "unfit", 2, "again").body).leases) == 2


def test_a_heartbeat_of_a_healthy_host_costs_one_call(wired: None) -> None:
    operator = become_operator()
    offer(operator, "healthy")
    host = add_host(operator, "healthy", 2)
    # What a host says of itself for the first time is looked at.
    beat(host)
    with count_calls() as calls:
        beat(host)
    assert calls == ["UpdateItem"]


def test_the_newest_capabilities_are_kept_and_shown(wired: None) -> None:
    operator = become_operator()
    offer(operator, "capable")
    host = add_host(operator, "capable", 2)
    first, second = (gpu.gpu_uuid for gpu in look(host).gpus or [])
    store = wiring.fleet_ports().store
    newer = {
        "calls": {"energy_counter": "ok"},
        "power_source": "field_average",
        "driver_version": "580.65.06",
    }
    record_capabilities(store, host.host_id, {first: newer, "GPU-of-another-host": newer}, 2000)
    record_capabilities(store, host.host_id, {first: {"calls": {}}}, 1000)
    shown = {gpu.gpu_uuid: gpu.capabilities for gpu in look(host).gpus or []}
    assert shown == {first: newer, second: None}
