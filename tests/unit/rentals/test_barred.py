"""Of an account that is suspended or closed nothing starts, nobody stands behind it, and no data is lost."""

from dataclasses import replace

import pytest

from chalicelib.accounts.standing import suspend_account, unsuspend_account
from chalicelib.core.errors import AccountSuspended
from chalicelib.core.workloads import Volume, Workload
from chalicelib.rentals.dispatch import announce_end
from chalicelib.rentals.due import do_due
from chalicelib.rentals.life import resume_rental, stop_rental
from chalicelib.rentals.model import NOTICE_MS, PlannedEnd
from chalicelib.rentals.policies import Policies
from chalicelib.rentals.service import change_rental
from tests.factories import add_host, add_renter, rent, seed_cloud, start

WITH_VOLUME = Workload(("python", "train.py"), volume=Volume(1024, "/data"))
HOUR_S = 3_600


class Street:
    """One host of four GPUs, an account that is suspended, and another one."""

    def __init__(self):
        self.seeded = seed_cloud(gpus=4, every_class=True)
        self.cloud, self.account_id = self.seeded.cloud, self.seeded.renter.account_id
        self.other = add_renter(self.seeded, name="other")

    def suspend(self):
        suspend_account(self.cloud.accounts, self.seeded.operator, self.account_id, "fraud")

    def unsuspend(self):
        unsuspend_account(self.cloud.accounts, self.seeded.operator, self.account_id, "mistaken")

    def dispatch(self):
        for host_id in list(self.cloud.db.table("hosts")):
            self.seeded.beat(host_id)
        self.seeded.dispatch()

    def look(self, rental):
        return self.seeded.rental(rental.rental_id)

    def queue(self, key, gpus=4, **wishes):
        return self.seeded.rental(rent(self.seeded, gpus, key=key, waits=True, **wishes).body)

    def stop(self, rental):
        stop_rental(self.cloud.rentals, self.seeded.renter, rental.rental_id)
        self.seeded.report(self.look(rental), "terminated", wiped=True)

    def later(self):
        return self.cloud.clock.now_ms() + HOUR_S * 1_000

    def pass_an_hour(self):
        now_ms = self.cloud.clock.advance_seconds(HOUR_S)
        assert do_due(self.cloud.rentals, now_ms) == 1
        self.dispatch()

    def list_codes(self, action):
        return [each.details["code"] for each in self.cloud.audit.entries if each.action == action]


@pytest.fixture
def street():
    return Street()


@pytest.fixture
def late(street, monkeypatch):
    """A process that has read the account before it was suspended, and lets it in for a moment more."""
    monkeypatch.setattr(street.cloud.rentals.standings, "is_barred", lambda _: False, raising=True)
    return street


def test_a_start_that_was_let_in_before_the_suspension_does_not_happen(late):
    late.suspend()
    with pytest.raises(AccountSuspended):
        start(late.seeded, 1)
    wallet = late.cloud.billing.wallets.get_balance(late.account_id)
    assert (wallet.held_micros, wallet.burn_micros_per_hour) == (0, 0)
    late.unsuspend()
    assert start(late.seeded, 1, key="again").state == "running"


def test_nor_does_one_that_waited(late):
    rental = late.queue("waiting", 8)
    late.suspend()
    add_host(late.seeded, "large", 8)
    late.dispatch()
    ended = late.look(rental)
    assert (ended.state, ended.reason, ended.placements) == ("failed", "account_suspended", ())


def test_who_waits_ends_with_a_reason_and_lets_the_others_go_first(street):
    busy = start(street.seeded, 4, principal=street.other)
    waiting = street.queue("waiting")
    behind = street.queue("behind", principal=street.other)
    street.suspend()
    street.seeded.report(street.look(busy), "exited")
    street.seeded.report(street.look(busy), "terminated", wiped=True)
    street.dispatch()
    ended = street.look(waiting)
    assert (ended.state, ended.reason, ended.placements) == ("failed", "account_suspended", ())
    assert street.look(behind).state == "provisioning"
    told = [each.data["reason"] for each in street.cloud.db.table("events").values()]
    assert "account_suspended" in told


def test_nobody_is_told_of_a_line_in_which_only_they_would_stand(street):
    busy = start(street.seeded, 3, principal=street.other)
    street.queue("waiting")
    street.suspend()
    street.dispatch()
    assert street.look(busy).state == "running"
    free = rent(street.seeded, 1, key="now", waits=False, principal=street.other)
    assert street.seeded.rental(free.body).state == "provisioning"


def test_a_cluster_ends_with_all_its_nodes(street):
    cluster = street.queue("cluster", 4, node_count=2)
    street.suspend()
    street.dispatch()
    nodes = [each for each in street.cloud.db.table("rentals").values() if each.cluster_id is not None]
    assert cluster.cluster_id is not None
    assert [each.reason for each in nodes] == ["account_suspended"] * 2


def test_one_that_keeps_a_volume_stops_and_is_resumed_once_the_account_may(street):
    rental = start(street.seeded, 4, workload=WITH_VOLUME)
    street.stop(rental)
    busy = start(street.seeded, 4, key="busy", principal=street.other)
    waiting = resume_rental(street.cloud.rentals, street.seeded.renter, rental.rental_id, wait=True)
    assert waiting.state == "resuming"
    street.suspend()
    street.seeded.report(street.look(busy), "exited")
    street.seeded.report(street.look(busy), "terminated", wiped=True)
    street.dispatch()
    stopped = street.look(rental)
    assert (stopped.state, stopped.reason, stopped.waiting) == ("stopped", "account_suspended", None)
    assert stopped.volume_host_id == rental.host_id
    assert street.list_codes("rental.start_refused") == ["account_suspended"]
    street.unsuspend()
    street.dispatch()
    assert street.look(rental).state == "stopped", "nothing starts by itself because a suspension is lifted"
    again = resume_rental(street.cloud.rentals, street.seeded.renter, rental.rental_id)
    assert (again.state, again.host_id) == ("provisioning", rental.host_id)


def test_what_was_preempted_keeps_its_volume_and_stops(street):
    rental = start(street.seeded, 4, workload=WITH_VOLUME, billing_class="spot", recovery="replace")
    now_ms = street.cloud.clock.now_ms()
    announce_end(street.cloud.rentals, rental, PlannedEnd("preempted", now_ms, now_ms + NOTICE_MS))
    street.suspend()
    street.seeded.preempted(street.look(rental))
    street.seeded.report(street.look(rental), "terminated", wiped=True)
    assert street.look(rental).state == "queued"
    street.dispatch()
    stopped = street.look(rental)
    assert (stopped.state, stopped.reason) == ("stopped", "account_suspended")
    assert stopped.volume_host_id == rental.host_id


def test_what_runs_goes_on(street):
    rental = start(street.seeded, 4)
    street.suspend()
    street.dispatch()
    assert street.look(rental).state == "running"


def test_a_start_that_is_due_ends_and_stands_in_no_line(street):
    rental = street.queue("later", 2, policies=Policies(start_at_ms=street.later()))
    street.suspend()
    street.pass_an_hour()
    ended = street.look(rental)
    assert (ended.state, ended.reason, ended.waiting) == ("failed", "account_suspended", None)


def test_a_resume_that_is_due_is_missed_and_the_rental_stays_stopped(street):
    rental = start(street.seeded, 2, workload=WITH_VOLUME)
    street.stop(rental)

    def schedule(each):
        return replace(each, policies=replace(each.policies, start_at_ms=street.later()))

    change_rental(street.cloud.rentals, street.seeded.renter, rental.rental_id, schedule, "rental.changed")
    street.suspend()
    street.pass_an_hour()
    stopped = street.look(rental)
    assert (stopped.state, stopped.policies.start_at_ms) == ("stopped", None)
    assert stopped.volume_host_id == rental.host_id
    assert street.list_codes("rental.scheduled_start_failed") == ["account_suspended"]


def test_a_ticket_of_a_closed_account_is_turned_away_too(street):
    rental = street.queue("waiting", 8)
    store, tx = street.cloud.accounts.store, street.cloud.db.begin()
    account = store.get_account(street.account_id)
    store.replace_account(tx, account, replace(account, closed_at_ms=1))
    tx.commit()
    add_host(street.seeded, "large", 8)
    street.dispatch()
    assert (street.look(rental).state, street.look(rental).placements) == ("failed", ())
