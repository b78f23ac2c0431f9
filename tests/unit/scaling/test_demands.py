"""What a pool is asked for, as fleet, lines and calendars have it."""

from dataclasses import replace

import pytest

from chalicelib.catalog.agreements import put_agreement
from chalicelib.catalog.model import Agreement, Term
from chalicelib.core.capacity import name_pool
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.reservations.hosts import make_reservable
from chalicelib.reservations.model import SLOT_MS
from chalicelib.reservations.upkeep import sweep
from chalicelib.scaling.model import Waiting
from tests.factories import PRICE, add_host, rent
from tests.unit.reservations.booking import book
from tests.unit.scaling.cloud import SETTINGS, build_cloud


@pytest.fixture
def cloud():
    return build_cloud(every_class=True)


def read(cloud):
    return cloud.ports.demands.read_demand(SETTINGS, cloud.now_ms)


def add_reservable(cloud, name="kept"):
    host_id = add_host(cloud.seeded, name, 8).host_id
    make_reservable(cloud.seeded.cloud.reservations, cloud.seeded.operator, host_id)
    cloud.seeded.beat(host_id)
    return host_id


def test_a_host_that_is_kept_for_reservations_serves_nobody_who_waits(cloud):
    add_reservable(cloud)
    cloud.want(8, "one")
    found = read(cloud)
    assert found.waiting == (Waiting(8, 1, cloud.now_ms),)
    assert [(host.free, host.busy) for host in found.hosts] == [(0, 8)]
    cloud.run()
    assert len(cloud.ec2.list_alive()) == 1


@pytest.mark.parametrize("first", ["hosts", "line"])
def test_what_is_placed_while_it_looks_is_not_bought_again(cloud, monkeypatch, first):
    """``first``: which of the two reads is done when a line's turn comes."""
    cloud.want(8, "one")
    host_id = add_host(cloud.seeded, "new", 8).host_id
    rentals, pool = cloud.seeded.cloud.rentals, name_pool(SETTINGS.gpu_type, SETTINGS.region)
    store, name = {
        "hosts": (rentals.fleet, "list_hosts"),
        "line": (rentals.scheduling, "list_tickets"),
    }[first]
    look = getattr(store, name)

    def read_and_be_overtaken(*given):
        found = look(*given)
        monkeypatch.undo()
        cloud.seeded.beat(host_id)
        assert dispatch_pool(rentals, pool).started == 1
        return found

    monkeypatch.setattr(type(store), name, lambda _store, *given: read_and_be_overtaken(*given))
    found = read(cloud)
    assert not found.waiting or found.hosts[0].free == 8


def test_a_cap_below_the_list_is_wanted_room_where_the_account_pays_less(cloud):
    cloud.want(8, "one", max_price=PRICE - 1)
    assert read(cloud).waiting == ()
    terms = (Term("on_demand", cloud.now_ms, discount_ppm=1),)
    agreement = Agreement(cloud.seeded.renter.account_id, terms, 0)
    catalog, operator = cloud.seeded.cloud.catalog, cloud.seeded.operator
    since_ms = cloud.now_ms
    put_agreement(catalog, operator, agreement, frozenset(), lambda _account_id: True)
    assert read(cloud).waiting == ()
    cloud.seeded.cloud.clock.advance_seconds(61)
    assert read(cloud).waiting == (Waiting(8, 1, since_ms),)


def test_spot_work_in_a_reservations_way_is_wanted_room_half_an_hour_before(cloud):
    add_reservable(cloud)
    rent(cloud.seeded, 6, key="spot", billing_class="spot")
    book(cloud.seeded, 5, start=4)
    assert read(cloud).reserved_soon_gpus == 0
    cloud.seeded.cloud.clock.advance_seconds(2 * SLOT_MS // 1000)
    # Of its 8 GPUs 2 are free of spot work: 3 of the 5 must be left.
    assert read(cloud).reserved_soon_gpus == 3
    cloud.run()
    assert len(cloud.ec2.list_alive()) == 1
    # Once it has begun, what had to go waits in line, or runs elsewhere.
    cloud.seeded.cloud.clock.advance_seconds(2 * SLOT_MS // 1000)
    sweep(cloud.seeded.cloud.reservations, cloud.now_ms)
    assert read(cloud).reserved_soon_gpus == 0


def test_a_reservation_on_an_idle_host_wants_nothing_and_on_a_closed_one_all_of_it(cloud):
    host_id = add_reservable(cloud)
    book(cloud.seeded, 5, start=1)
    assert read(cloud).reserved_soon_gpus == 0
    rows = cloud.seeded.cloud.db.table("hosts")
    rows[host_id] = replace(rows[host_id], state="draining")
    assert read(cloud).reserved_soon_gpus == 5


def test_a_reservation_of_another_pool_is_no_demand_here(cloud):
    host_id = add_reservable(cloud)
    book(cloud.seeded, 5, start=1)
    rows = cloud.seeded.cloud.db.table("hosts")
    rows[host_id] = replace(rows[host_id], state="draining")
    elsewhere = replace(SETTINGS, region="us-east-1")
    assert cloud.ports.demands.read_demand(elsewhere, cloud.now_ms).reserved_soon_gpus == 0
