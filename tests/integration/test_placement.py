"""Candidates and clusters on the database that the platform runs on."""

import uuid
from collections.abc import Iterator

import pytest

from chalicelib import wiring
from chalicelib.core.principal import Principal
from chalicelib.fleet import candidate_store
from chalicelib.fleet.model import Gpu, Host
from chalicelib.fleet.placement import RANK_STEP, compute_rank, compute_spread
from chalicelib.fleet.service import create_enrolment, enrol_host
from chalicelib.metering.service import Report, apply_report
from chalicelib.rentals.life import end_rental
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import HostItem
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import (
    REGION,
    add_host,
    add_renter,
    beat,
    become_operator,
    offer,
    read_rental,
    rent,
)
from tests.integration.in_process import wire_to
from tests.performance.counting import count_calls


@pytest.fixture(scope="module")
def operator(cloud: EmbeddedCloud) -> Iterator[Principal]:
    with wire_to(cloud):
        yield become_operator()


def add_joined_host(operator: Principal, gpu_type: str, groups: str, fabric_id: str | None = None) -> Host:
    """A host with a GPU for each letter, joined to those of the same letter."""
    catalog = wiring.cached_catalog().get(fresh=True)
    _, token = create_enrolment(wiring.fleet_ports(), operator, catalog, gpu_type=gpu_type, region=REGION)
    install_id = uuid.uuid4().hex
    gpus = [
        Gpu(f"GPU-{install_id}-{n}", f"0:{n}", gpu_type, 81_559, link_group=group)
        for n, group in enumerate(groups)
    ]
    host = enrol_host(
        wiring.fleet_ports(),
        token,
        install_id=install_id,
        agent_version="0.1.0",
        gpus=gpus,
        fabric_id=fabric_id,
    ).host
    beat(host.host_id)
    return host


def has_free(host: Host, free: int) -> bool:
    """Say whether the host's count of free GPUs and its rank in the index are both of ``free``."""
    item = HostItem.get(keys.host(host.host_id), keys.HOST, consistent_read=True)
    return (item.free_gpus, item.free_rank) == (free, compute_rank(free, host.host_id))


def test_the_rank_follows_the_free_gpus(operator: Principal) -> None:
    offer(operator, "ranked")
    host, renter = add_host(operator, "ranked", 4), add_renter(operator)
    assert has_free(host, 4)
    rental = read_rental(rent(renter, "ranked", 3, "one").body)
    assert has_free(host, 1)
    now_ms = wiring.clock().now_ms()
    ended = end_rental(wiring.rental_ports(), rental, "renter_requested", now_ms, "test")
    assert has_free(host, 1)
    wiped = Report(rental.rental_id, ended.wipe_leases, "terminated", None, None, wiped=True)
    apply_report(wiring.meter_ports(), host.host_id, wiped, now_ms)
    assert has_free(host, 4)


def test_a_crowd_is_entered_where_the_rental_says_and_nothing_is_overlooked(operator: Principal) -> None:
    offer(operator, "crowded")
    hosts = {add_host(operator, "crowded", 2).host_id for _ in range(10)}
    store = wiring.fleet_ports().store

    def find(gpu_count: int, start: int, limit: int = 4) -> list[str]:
        found = store.find_candidates("crowded", REGION, gpu_count, limit, start=start)
        assert all(len(each.free_leases) >= gpu_count for each in found)
        return [each.host_id for each in found]

    ranked = sorted(hosts, key=lambda host_id: compute_rank(2, host_id))
    ranks = [compute_rank(2, host_id) - 2 * RANK_STEP for host_id in ranked]
    assert find(2, 0) == ranked[:4]
    with count_calls() as calls:
        assert find(2, ranks[5]) == ranked[5:9]
    assert calls == ["Query"]
    assert find(2, ranks[8]) == [*ranked[8:], *ranked[:2]]
    assert find(1, ranks[3]) == ranked[3:7]
    assert set(find(1, ranks[9], limit=20)) == hosts
    assert find(3, 0) == []


def test_spot_takes_reservable_hosts_last_and_on_demand_never(operator: Principal) -> None:
    offer(operator, "lent")
    host, kept = add_host(operator, "lent", 1), add_host(operator, "lent", 2)
    HostItem(keys.host(kept.host_id), keys.HOST).update(
        [HostItem.reservable.set(True), HostItem.pool.set(keys.reservable_pool("lent", REGION))]
    )
    store = wiring.fleet_ports().store

    def find(gpu_count: int, billing_class: str) -> list[str]:
        found = store.find_candidates(
            "lent",
            REGION,
            gpu_count,
            8,
            start=0,
            billing_class=billing_class,  # type: ignore[arg-type]
        )
        return [each.host_id for each in found]

    assert find(1, "on_demand") == find(1, "spot") == [host.host_id]
    assert (find(2, "on_demand"), find(2, "spot")) == ([], [kept.host_id])
    assert find(1, "reserved") == []
    assert {each.host_id for each in store.list_hosts("lent", REGION)} == {host.host_id, kept.host_id}
    assert store.list_free("lent", REGION) == [1]


def test_a_rental_gets_joined_gpus_and_leaves_the_larger_block(operator: Principal) -> None:
    offer(operator, "joined")
    host, renter = add_joined_host(operator, "joined", "aabbbcd"), add_renter(operator)
    rental = read_rental(rent(renter, "joined", 2, "pair").body)
    assert {lease.gpu_uuid[-1] for lease in rental.leases} == {"0", "1"}
    candidate = wiring.fleet_ports().store.get_candidate(host.host_id)
    assert candidate is not None
    assert sorted(candidate.link_groups.values()) == [1, 1, 1, 2, 3]


def test_a_cluster_stays_on_one_fabric_also_beyond_the_first_page(
    operator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(operator, "clustered")
    fabrics: dict[str, set[str]] = {}
    run = uuid.uuid4().hex
    for fabric, count in (("one", 3), ("two", 2)):
        for _ in range(count):
            host = add_joined_host(operator, "clustered", "aa", f"{fabric}-{run}")
            fabrics.setdefault(fabric, set()).add(host.host_id)
    add_host(operator, "clustered", 2)
    store = wiring.fleet_ports().store

    def find(node_count: int) -> set[str]:
        found = store.find_clusters("clustered", REGION, 2, node_count, 8, rental_id=f"rnt-{run}")
        return {each.host_id for each in found[0]} if found else set()

    assert find(2) == fabrics["two"]
    assert find(3) == fabrics["one"]
    assert find(4) == set()
    # A page that shows one of its hosts leads to the fabric's own list.
    shown = compute_spread(min(fabrics["one"]))
    monkeypatch.setattr(candidate_store, "CLUSTER_PAGE", 1)
    monkeypatch.setattr(candidate_store, "compute_spread", lambda _: shown)
    with count_calls() as calls:
        assert find(3) == fabrics["one"]
    assert calls == ["Query", "Query", "BatchGetItem"]
    assert find(4) == set()
