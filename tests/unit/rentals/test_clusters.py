"""A cluster: all nodes at once on one fabric, or none; one place in line; a member ends alone."""

from dataclasses import replace

import pytest

from chalicelib.billing.posting import find_balance
from chalicelib.core.errors import Conflict
from chalicelib.metering.failover import fail_over_host
from chalicelib.rentals.life import resume_rental, stop_rental, terminate_rental
from chalicelib.rentals.ports import NoCapacity
from chalicelib.rentals.queue import BLOCKS_AFTER_MS
from chalicelib.scaling.demands import is_served_by_a_host
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
    held = find_balance(seeded.cloud.billing, seeded.renter.account_id).held_micros
    assert held == 2 * (PRICE * 2 * 180 // 3600)
    assert seeded.cloud.rentals.scheduling.get_quota(seeded.renter.account_id).used_gpus == 4


def test_without_room_for_all_none_starts():
    seeded = seed("a", "b", None, None)
    with pytest.raises(Conflict) as refused:
        ask(seeded, 2)
    assert refused.value.code == "no_capacity"
    assert seeded.cloud.db.table("rentals") == {}
    assert find_balance(seeded.cloud.billing, seeded.renter.account_id).held_micros == 0


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


def join(seeded, name, fabric_id, gpus=2):
    """One more host, heard."""
    host_id = add_host(seeded, name, gpus, fabric_id=fabric_id).host_id
    seeded.beat(host_id)
    return host_id


def lose(seeded, member):
    """The member's host is gone: its stay ends, and it is placed again or stands in line."""
    rows = seeded.cloud.db.table("hosts")
    rows[member.host_id] = replace(rows[member.host_id], state="lost")
    fail_over_host(seeded.cloud.meters, member.host_id, "host_lost", seeded.cloud.clock.now_ms())
    return seeded.rental(member.rental_id)


def beat_all(seeded):
    for host_id, host in seeded.cloud.db.table("hosts").items():
        if host.state == "active":
            seeded.beat(host_id)


@pytest.mark.parametrize("others", [("b", "b", "b"), ("b", None, "c")])
def test_a_lost_node_comes_back_beside_the_others(others):
    seeded = seed("a", "a")
    members = ask(seeded, 2, recovery="replace")
    for number, fabric_id in enumerate(others):
        join(seeded, f"other-{number}", fabric_id)
    spare = join(seeded, "spare", "a", gpus=8)
    again = lose(seeded, members[0])
    # Elsewhere it would fit more tightly.
    assert (again.state, again.host_id) == ("provisioning", spare)
    assert list_fabrics(seeded, [again, seeded.rental(members[1].rental_id)]) == {"a"}


def test_a_lost_node_waits_for_its_fabric_and_for_nothing_else():
    seeded = seed("a", "a", "b", "b")
    members = ask(seeded, 2, recovery="replace")
    (fabric,) = list_fabrics(seeded, members)
    waiting = lose(seeded, members[0])
    assert (waiting.state, waiting.waiting.why) == ("queued", "no_capacity")
    (ticket,) = seeded.cloud.rentals.scheduling.list_tickets(waiting.waiting.pools[0], 9)
    assert ticket.fabric_id == fabric
    assert not is_served_by_a_host(ticket, ticket.pools[0], {"on_demand": PRICE}, ticket.since_ms), (
        "a machine that is bought joins no fabric"
    )
    # However long it waits, whoever fits elsewhere goes on.
    seeded.cloud.clock.advance_seconds(2 * BLOCKS_AFTER_MS // 1000)
    beat_all(seeded)
    other = seeded.rental(rent(seeded, 2, key="other", waits=True).body)
    seeded.dispatch()
    assert list_fabrics(seeded, [seeded.rental(other.rental_id)]) == {"ab".replace(fabric, "")}
    assert seeded.rental(waiting.rental_id).state == "queued"
    back = join(seeded, "back", fabric)
    seeded.dispatch()
    assert seeded.rental(waiting.rental_id).host_id == back


def test_a_lost_node_is_not_put_beside_another_on_one_host():
    seeded = seed_cloud(hosts=0)
    for name in ("a-1", "a-2"):
        join(seeded, name, "a", gpus=4)
    members = ask(seeded, 2, recovery="replace")
    assert lose(seeded, members[0]).state == "queued"
    spare = join(seeded, "spare", "a", gpus=8)
    seeded.dispatch()
    assert seeded.rental(members[0].rental_id).host_id == spare


def test_nodes_that_are_lost_together_come_back_to_one_fabric():
    seeded = seed("a", "a", "b", "b", "b")
    members = ask(seeded, 2, recovery="replace")
    assert list_fabrics(seeded, members) == {"a"}
    assert {lose(seeded, member).state for member in members} == {"queued"}
    for number in range(2):
        join(seeded, f"back-{number}", "a")
    seeded.dispatch()
    assert list_fabrics(seeded, [seeded.rental(each.rental_id) for each in members]) == {"a"}


def test_room_for_a_lost_node_is_made_in_its_fabric_alone():
    seeded = seed_cloud(hosts=0, every_class=True)
    for name in ("a-1", "a-2", "a-3"):
        join(seeded, name, "a")
    spot_there = seeded.rental(rent(seeded, 2, key="there", billing_class="spot").body)
    members = ask(seeded, 2, recovery="replace")
    members = [each for each in members if each.cluster_id is not None]
    # Less would be lost elsewhere: it has run for a shorter time.
    seeded.cloud.clock.advance_seconds(600)
    beat_all(seeded)
    for number in range(3):
        join(seeded, f"b-{number}", "b")
    elsewhere = [seeded.rental(rent(seeded, 2, key=f"spot-{n}", billing_class="spot").body) for n in range(3)]
    assert lose(seeded, members[0]).state == "queued"
    seeded.dispatch()
    assert seeded.rental(spot_there.rental_id).planned_end is not None
    assert [seeded.rental(each.rental_id).planned_end for each in elsewhere] == [None] * 3


def test_a_node_that_was_stopped_resumes_beside_the_others_or_not_at_all():
    seeded = seed("a", "a", "b")
    members = ask(seeded, 2)
    stop_rental(seeded.cloud.rentals, seeded.renter, members[0].rental_id)
    stopped = seeded.rental(members[0].rental_id)
    seeded.report(stopped, "terminated", wiped=True, ended_at_ms=seeded.cloud.clock.now_ms())
    rows = seeded.cloud.db.table("hosts")
    rows[stopped.host_id] = replace(rows[stopped.host_id], state="draining")
    with pytest.raises(NoCapacity):
        resume_rental(seeded.cloud.rentals, seeded.renter, stopped.rental_id)
    spare = join(seeded, "spare", "a")
    assert resume_rental(seeded.cloud.rentals, seeded.renter, stopped.rental_id).host_id == spare
