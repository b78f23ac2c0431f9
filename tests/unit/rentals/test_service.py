"""What a start and an end promise, whatever comes between."""

import pytest

from chalicelib.billing.posting import find_balance
from chalicelib.core.errors import Conflict, IdempotencyMismatch, InsufficientFunds, InvalidInput, NotFound
from chalicelib.core.money import compute_charge_micros
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.model import RUNWAY_SECONDS
from chalicelib.rentals.ports import NoCapacity, get_rental
from tests.factories import PRICE, REGION, add_host, add_renter, rent, seed_cloud, start
from tests.fakes import Crash


def test_a_start_takes_gpus_holds_money_and_orders_the_workload_at_once():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded, 2).body)
    assert rental.state == "provisioning"
    assert rental.price_micros_per_gpu_hour == PRICE
    leased = [
        gpu for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id) if gpu.lease_state == "leased"
    ]
    assert {gpu.gpu.gpu_uuid for gpu in leased} == {lease.gpu_uuid for lease in rental.leases}
    assert {gpu.epoch for gpu in leased} == {1}
    (command,) = seeded.cloud.fleet_store.commands
    assert (command.kind, command.leases) == ("start", rental.leases)
    hold = compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=2, seconds=RUNWAY_SECONDS)
    assert find_balance(seeded.cloud.billing, rental.account_id).held_micros == hold
    assert [entry.action for entry in seeded.cloud.audit.entries][-1] == "rental.created"


def test_the_same_key_gives_the_same_answer_and_one_rental():
    seeded = seed_cloud()
    first, second = rent(seeded), rent(seeded)
    assert (first.body, first.replayed) == (second.body, False)
    assert second.replayed
    assert len(seeded.cloud.db.table("rentals")) == 1


def test_a_repeat_is_answered_even_when_the_first_took_the_last_gpu():
    seeded = seed_cloud(gpus=2)
    first = rent(seeded, 2)
    assert rent(seeded, 2).body == first.body


def test_the_same_key_with_another_body_is_refused():
    seeded = seed_cloud()
    rent(seeded, body=b'{"gpu_count":2}')
    with pytest.raises(IdempotencyMismatch):
        rent(seeded, body=b'{"gpu_count":3}')


def test_the_same_key_of_another_account_is_another_request():
    seeded = seed_cloud()
    other = add_renter(seeded, name="other")
    assert rent(seeded).body != rent(seeded, principal=other).body


def test_a_crash_before_the_commit_leaves_nothing_and_the_retry_starts_once():
    seeded = seed_cloud()
    seeded.cloud.db.crash_before = seeded.cloud.db.commits
    with pytest.raises(Crash):
        rent(seeded)
    assert seeded.cloud.db.table("rentals") == {}
    assert find_balance(seeded.cloud.billing, seeded.renter.account_id).held_micros == 0
    assert not rent(seeded).replayed


def test_a_reply_that_is_lost_after_the_commit_is_given_again():
    seeded = seed_cloud()
    seeded.cloud.db.crash_after = seeded.cloud.db.commits
    with pytest.raises(Crash):
        rent(seeded)
    assert rent(seeded).replayed
    assert len(seeded.cloud.fleet_store.commands) == 1


def test_without_room_nothing_is_held_and_the_code_says_so():
    seeded = seed_cloud(gpus=2)
    with pytest.raises(NoCapacity):
        rent(seeded, 4)
    assert find_balance(seeded.cloud.billing, seeded.renter.account_id).held_micros == 0


def test_silent_hosts_that_fit_more_tightly_do_not_hide_the_others():
    seeded = seed_cloud(hosts=0)
    silent = [add_host(seeded, f"silent-{number}", 2).host_id for number in range(5)]
    alive = add_host(seeded, "alive", 4).host_id
    for host_id in (*silent, alive):
        seeded.beat(host_id)
    seeded.cloud.clock.advance_seconds(31)
    seeded.beat(alive)
    assert seeded.rental(rent(seeded, 2).body).host_id == alive


def test_a_silent_host_gets_no_rental():
    seeded = seed_cloud()
    seeded.cloud.clock.advance_seconds(31)
    with pytest.raises(NoCapacity):
        rent(seeded)


def test_the_fullest_host_that_fits_is_taken_so_that_large_blocks_stay_free():
    seeded = seed_cloud(hosts=1, gpus=8)
    small = add_host(seeded, "small", gpus=4)
    seeded.beat(small.host_id)
    assert seeded.rental(rent(seeded, 2).body).host_id == small.host_id


def test_a_wallet_that_does_not_cover_the_hold_starts_nothing():
    seeded = seed_cloud(credit_micros=1000)
    with pytest.raises(InsufficientFunds):
        rent(seeded)
    assert seeded.cloud.fleet_store.commands == []


def test_a_price_above_the_cap_starts_nothing():
    with pytest.raises(Conflict) as raised:
        rent(seed_cloud(), max_price=PRICE - 1)
    assert raised.value.code == "price_cap"


def test_an_unknown_region_is_the_callers_mistake():
    with pytest.raises(InvalidInput) as raised:
        rent(seed_cloud(), region="mars-1")
    assert raised.value.code == "unknown_region"


def test_any_region_takes_the_cheapest_with_room():
    seeded = seed_cloud()
    assert seeded.rental(rent(seeded, region="any").body).region == REGION


def test_another_accounts_rental_looks_like_a_missing_one():
    seeded = seed_cloud()
    rental_id = rent(seeded).body
    other = add_renter(seeded, name="other")
    with pytest.raises(NotFound):
        get_rental(seeded.cloud.rentals, other, rental_id)
    with pytest.raises(NotFound):
        terminate_rental(seeded.cloud.rentals, other, rental_id)


def test_an_end_moves_the_epochs_and_orders_the_stop_under_them():
    seeded = seed_cloud()
    rental = start(seeded)
    ended = terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (ended.state, ended.desired_state, ended.reason) == (
        "terminating",
        "terminated",
        "renter_requested",
    )
    stop = seeded.cloud.fleet_store.commands[-1]
    assert (stop.kind, stop.leases) == ("stop", rental.wipe_leases)
    wiping = [
        gpu for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id) if gpu.lease_state == "wiping"
    ]
    assert {gpu.epoch for gpu in wiping} == {2}


def test_ending_twice_orders_one_stop():
    seeded = seed_cloud()
    rental = start(seeded)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    again = terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert again.state == "terminating"
    assert [command.kind for command in seeded.cloud.fleet_store.commands] == ["start", "stop"]


def test_a_gpu_is_leased_again_only_after_the_wipe_is_acknowledged():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    with pytest.raises(NoCapacity):
        rent(seeded, 2, key="key-2")
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=False)
    with pytest.raises(NoCapacity):
        rent(seeded, 2, key="key-2")
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    again = seeded.rental(rent(seeded, 2, key="key-2").body)
    assert {lease.epoch for lease in again.leases} == {3}
