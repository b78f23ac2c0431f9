"""What a pool has: free, closed and why, how reliable; and what the rule of spot prices makes of it."""

import pytest

from chalicelib.catalog.model import PriceKey
from chalicelib.catalog.service import move_spot_prices, put_price
from chalicelib.core.leases import Lease
from chalicelib.fleet.capacity import FleetCapacity
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.model import set_fault
from chalicelib.fleet.operations import cordon_host, retire_host, uncordon_host
from chalicelib.fleet.scores import refresh_pool_scores
from chalicelib.fleet.service import list_moved
from tests.factories import GPU_TYPE, REGION
from tests.unit.fleet.watching import Watched

POOL = (GPU_TYPE, REGION)


@pytest.fixture
def watched():
    watched = Watched()
    yield watched
    watched.check_totals()


def read(watched):
    return FleetCapacity(watched.cloud.fleet_store, watched.cloud.watch_store).read_capacity(*POOL)


def count_closed(watched):
    found = read(watched)
    return found.count_closed("maintenance"), found.count_closed("unhealthy")


def break_gpu(watched, host_id, error_class="F"):
    host, gpus = watched.host(host_id), watched.gpus(host_id)
    fault = GpuFault(79, error_class, watched.cloud.clock.now_ms(), "kernel", 1)
    changed, after = set_fault(host, gpus, gpus[0].gpu.gpu_uuid, fault)
    tx = watched.cloud.db.begin()
    watched.cloud.fleet_store.replace_health(tx, host, changed, list_moved(gpus, after))
    tx.commit()


def test_a_pool_counts_what_it_has_and_what_is_closed_by_cause(watched):
    first, second, third, _ = watched.hosts
    operator = watched.seeded.operator
    found = read(watched)
    assert (found.total_gpus, found.free_gpus, found.reliability_ppm) == (16, 16, None)
    cordon_host(watched.cloud.operations, operator, first, "smells of smoke")
    assert count_closed(watched) == (4, 0)
    break_gpu(watched, second)
    assert (count_closed(watched), read(watched).free_gpus) == ((4, 1), 11)
    # Gone silent with its broken GPU: all of it counts once.
    watched.up.discard(second)
    watched.run(60)
    assert (watched.host(second).state, count_closed(watched)) == ("lost", (4, 4))
    # A fault that closes the host is no maintenance.
    break_gpu(watched, third, "D")
    assert (watched.host(third).state, count_closed(watched)) == ("draining", (4, 8))
    uncordon_host(watched.cloud.operations, operator, first)
    assert count_closed(watched) == (0, 8)
    retire_host(watched.cloud.operations, operator, first, "sold")
    assert (read(watched).total_gpus, count_closed(watched)) == (12, (0, 8))
    refresh_pool_scores(
        watched.cloud.fleet_store, watched.cloud.watch_store, [POOL], watched.cloud.clock.now_ms()
    )
    assert 0 < read(watched).reliability_ppm <= 1_000_000


def test_the_spot_price_follows_the_gpus_that_are_in_use(watched):
    cloud, key = watched.cloud, PriceKey(*POOL, "spot")
    put_price(
        cloud.catalog,
        watched.seeded.operator,
        gpu_type=GPU_TYPE,
        region=REGION,
        price_micros_per_gpu_hour=1_200_000,
        known_regions=frozenset({REGION}),
        billing_class="spot",
    )

    def move():
        capacities = FleetCapacity(cloud.fleet_store, cloud.watch_store)
        assert move_spot_prices(cloud.catalog, capacities, "acc_1") == 1
        found = cloud.catalog.store.read_catalog().find_schedule(key).price_at(cloud.clock.now_ms())
        cloud.clock.advance_seconds(300)
        return found.price_micros_per_gpu_hour

    for number, host_id in enumerate(watched.hosts):
        watched.beat(host_id)
        watched.lease(host_id, f"rnt_{number}", 4)
    assert move() == 1_260_000
    # A host with nothing on it, kept for reservations: what spot work may have too is not in use.
    host = watched.host(watched.hosts[0])
    leased = [Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in watched.gpus(host.host_id)]
    tx = cloud.db.begin()
    cloud.fleet_store.begin_wipe(tx, host.host_id, "rnt_0", leased)
    tx.commit()
    watched.acknowledge(host.host_id)
    tx = cloud.db.begin()
    cloud.fleet_store.set_reservable(tx, watched.host(host.host_id), reservable=True)
    tx.commit()
    # 75 % are in use: 5 points of 80 below, of the 5 % that a price moves by at most.
    assert move() == 1_260_000 - 1_260_000 * 5 // 100 * 5 // 80
