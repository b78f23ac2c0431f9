"""What goes on by itself, or costs money, is ended before an organisation closes, and named until then."""

from dataclasses import replace

import pytest

from chalicelib.billing.posting import find_balance
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.workloads import Volume, Workload
from chalicelib.organisations import service
from chalicelib.organisations.model import CLOSING_WAITS_FOR
from chalicelib.privacy.requests import Reason
from chalicelib.rentals.life import stop_rental, terminate_rental
from chalicelib.rentals.policies import Policies
from chalicelib.reservations.service import cancel_reservation
from tests.factories import add_person, rent, seed_cloud, start
from tests.unit.reservations.booking import booked, seed_calendars

WITH_VOLUME = Workload(("python", "train.py"), volume=Volume(1024, "/data"))


def close(seeded, owner):
    """Close, or return what stands against it."""
    try:
        closed = service.close_organisation(seeded.cloud.organisations, owner, owner.account_id)
    except Conflict as error:
        refused = error
    else:
        assert seeded.cloud.accounts.store.get_account(owner.account_id).is_barred
        assert closed.closed_at_ms == seeded.cloud.clock.now_ms()
        return []
    assert refused.code == "organisation_in_use"
    assert all(reason in refused.detail for reason in refused.extra["reasons"])
    return refused.extra["reasons"]


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    if seeded.rental(rental.rental_id).state == "terminating":
        seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()


@pytest.fixture
def seeded():
    return seed_cloud(gpus=2)


@pytest.fixture
def owner(seeded):
    return add_person(seeded, "owner")


def test_a_rental_in_line_has_no_gpu_and_stands_against_it(seeded, owner):
    rental = seeded.rental(rent(seeded, 4, waits=True).body)
    assert seeded.cloud.rentals.scheduling.get_quota(owner.account_id).used_gpus == 0
    assert close(seeded, owner) == ["rental_open"]
    end(seeded, rental)
    assert close(seeded, owner) == []


def test_a_start_of_tomorrow_stands_against_it(seeded, owner):
    later = Policies(start_at_ms=seeded.cloud.clock.now_ms() + 86_400_000)
    rental = seeded.rental(rent(seeded, 2, policies=later).body)
    assert close(seeded, owner) == ["rental_open"]
    end(seeded, rental)
    assert close(seeded, owner) == []


def test_a_stopped_one_with_its_volume_stands_against_it(seeded, owner):
    rental = start(seeded, 2, workload=WITH_VOLUME)
    assert close(seeded, owner) == ["money_held", "rental_open"]
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert find_balance(seeded.cloud.billing, owner.account_id).held_micros == 0
    assert close(seeded, owner) == ["rental_open"]
    end(seeded, rental)
    assert close(seeded, owner) == []


def test_a_reservation_and_its_deposit_stand_against_it():
    seeded, _ = seed_calendars(8)
    owner = add_person(seeded, "owner")
    reservation = booked(seeded, 2, start=40)
    assert "reservation_open" in close(seeded, owner)
    cancel_reservation(seeded.cloud.reservations, seeded.renter, reservation.reservation_id)
    assert close(seeded, owner) == []


def test_a_start_between_the_look_and_the_closing_leaves_it_open(seeded, owner):
    ports, started = seeded.cloud.organisations, []

    def look(account_id):
        found = ports.list_reasons(account_id)
        started.append(start(seeded, 2))
        return found

    with pytest.raises(Unavailable):
        service.close_organisation(replace(ports, list_reasons=look), owner, owner.account_id)
    assert not seeded.cloud.accounts.store.get_account(owner.account_id).is_barred
    assert close(seeded, owner) == ["money_held", "rental_open"]
    end(seeded, started[0])
    assert close(seeded, owner) == []


def test_what_is_owed_does_not_stand_against_it(seeded, owner):
    """A closed account can be paid for."""
    rows = seeded.cloud.db.table("balances")
    rows[owner.account_id] = replace(rows[owner.account_id], posted_micros=-1)
    assert close(seeded, owner) == []


def test_the_reasons_are_those_of_an_erasure():
    assert set(Reason.__args__) >= CLOSING_WAITS_FOR
