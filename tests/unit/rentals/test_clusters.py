"""A cluster: all nodes at once on one fabric, or none; one place in line; a member ends alone."""

import pytest

from chalicelib.billing.service import read_wallet
from chalicelib.core.errors import Conflict
from chalicelib.rentals.life import terminate_rental
from tests.factories import PRICE, add_host, rent, seed_cloud


def seed(*fabrics):
    """One host of two GPUs for each fabric that is named."""
    seeded = seed_cloud(hosts=0)
    for number, fabric_id in enumerate(fabrics):
        host = add_host(seeded, f"node-{number}", 2, fabric_id=fabric_id)
        seeded.beat(host.host_id)
    return seeded


def ask(seeded, nodes, key="cluster", **wishes):
    rent(seeded, 2, key=key, node_count=nodes, **wishes)
    return sorted(seeded.cloud.db.table("rentals").values(), key=lambda each: each.rental_id)


def test_all_nodes_start_at_once_on_one_fabric():
    seeded = seed("a", "b", "b", None)
    members = ask(seeded, 2)
    assert {member.state for member in members} == {"provisioning"}
    assert len({member.cluster_id for member in members}) == 1
    fabrics = {seeded.cloud.fleet_store.get_host(member.host_id).fabric_id for member in members}
    assert fabrics == {"b"}
    assert len({member.host_id for member in members}) == 2
    held = read_wallet(seeded.cloud.billing, seeded.renter.account_id).held_micros
    assert held == 2 * (PRICE * 2 * 180 // 3600)
    assert seeded.cloud.rentals.scheduling.get_quota(seeded.renter.account_id).used_gpus == 4


def test_without_room_for_all_none_starts():
    seeded = seed("a", "b", None, None)
    with pytest.raises(Conflict) as refused:
        ask(seeded, 2)
    assert refused.value.code == "no_capacity"
    assert seeded.cloud.db.table("rentals") == {}
    assert read_wallet(seeded.cloud.billing, seeded.renter.account_id).held_micros == 0


def test_a_cluster_waits_as_one_and_starts_as_one():
    seeded = seed("a")
    members = ask(seeded, 3, waits=True)
    assert {member.state for member in members} == {"queued"}
    assert len(seeded.cloud.db.table("tickets")) == 1
    seeded.beat(add_host(seeded, "second", 2, fabric_id="a").host_id)
    seeded.dispatch()
    assert {seeded.rental(member.rental_id).state for member in members} == {"queued"}
    seeded.beat(add_host(seeded, "third", 2, fabric_id="a").host_id)
    seeded.dispatch()
    assert {seeded.rental(member.rental_id).state for member in members} == {"provisioning"}
    assert seeded.cloud.db.table("tickets") == {}


def test_a_cluster_leaves_the_line_as_one():
    seeded = seed("a")
    members = ask(seeded, 2, waits=True)
    terminate_rental(seeded.cloud.rentals, seeded.renter, members[1].rental_id)
    assert {seeded.rental(member.rental_id).state for member in members} == {"terminated"}
    assert seeded.cloud.db.table("tickets") == {}


def test_a_member_that_runs_ends_alone():
    seeded = seed("a", "a")
    first, second = ask(seeded, 2)
    terminate_rental(seeded.cloud.rentals, seeded.renter, first.rental_id)
    assert seeded.rental(second.rental_id).state == "provisioning"


def seed_heard(*hosts):
    """Hosts of (fabric, whether it still says that it is there)."""
    seeded = seed_cloud(hosts=0)
    ids = []
    for number, (fabric_id, _) in enumerate(hosts):
        ids.append(add_host(seeded, f"node-{number}", 2, fabric_id=fabric_id).host_id)
        seeded.beat(ids[-1])
    seeded.cloud.clock.advance_seconds(31)
    for host_id, (_, heard) in zip(ids, hosts, strict=True):
        if heard:
            seeded.beat(host_id)
    return seeded


def list_fabrics(seeded, members):
    return {seeded.cloud.fleet_store.get_host(member.host_id).fabric_id for member in members}


def test_a_silent_host_of_the_tightest_fabric_leaves_the_others():
    seeded = seed_heard(("a", False), ("a", True), ("b", True), ("b", True), ("b", True))
    members = ask(seeded, 2)
    assert list_fabrics(seeded, members) == {"b"}


@pytest.mark.parametrize("silent", range(4))
def test_any_silent_host_of_a_fabric_is_replaced_by_the_one_to_spare(silent):
    seeded = seed_heard(*(("a", number != silent) for number in range(4)))
    members = ask(seeded, 3)
    assert {member.state for member in members} == {"provisioning"}
    assert len({member.host_id for member in members}) == 3


def test_a_cluster_starts_nowhere_when_silence_leaves_too_few():
    seeded = seed_heard(("a", False), ("a", True), ("a", True), ("b", True), ("b", False))
    with pytest.raises(Conflict) as refused:
        ask(seeded, 3)
    assert refused.value.code == "no_capacity"
    assert seeded.cloud.db.table("rentals") == {}
