"""What a renter is told of a rental: each state once, in the transaction in which it is reached."""

import pytest

from chalicelib.core.clock import format_instant
from chalicelib.metering.failover import fail_over_host
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Announcement, Beat
from chalicelib.rentals.dispatch import announce_end
from chalicelib.rentals.life import restart_rental, stop_rental, terminate_rental
from chalicelib.rentals.model import PlannedEnd
from tests.factories import rent, seed_cloud, start
from tests.fakes import Crash


def list_told(seeded):
    """What was told of rentals: money has events of its own."""
    return [each for each in seeded.cloud.webhook_store.events if each.type.startswith("rental.")]


def tell(seeded):
    """The events so far: (type, reason)."""
    return [(each.type, each.data["reason"]) for each in list_told(seeded)]


def wipe(seeded, rental_id):
    seeded.report(seeded.rental(rental_id), "terminated", wiped=True)


def test_a_life_is_told_state_by_state_and_a_repeat_tells_nothing():
    seeded = seed_cloud()
    rental_id = start(seeded).rental_id
    seeded.report(seeded.rental(rental_id), "running")
    stop_rental(seeded.cloud.rentals, seeded.renter, rental_id)
    assert tell(seeded) == [("rental.running", None)]
    before = seeded.rental(rental_id)
    wipe(seeded, rental_id)
    seeded.report(before, "terminated", wiped=True)
    assert tell(seeded)[1:] == [("rental.stopped", "stop_requested")]
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental_id)
    assert tell(seeded)[2:] == [("rental.terminated", "renter_requested")]
    event = list_told(seeded)[0]
    assert event.account_id == seeded.renter.account_id
    assert event.data == {"rental_id": rental_id, "state": "running", "reason": None, "segment": 1}


def test_a_restart_is_told_as_running_again_in_its_next_stay():
    seeded = seed_cloud()
    rental_id = start(seeded).rental_id
    restart_rental(seeded.cloud.rentals, seeded.renter, rental_id)
    wipe(seeded, rental_id)
    seeded.report(seeded.rental(rental_id), "running")
    running = [each.data["segment"] for each in list_told(seeded)]
    assert (tell(seeded), running) == ([("rental.running", None)] * 2, [1, 2])


def test_a_lost_host_and_one_who_leaves_the_line_are_told():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded)
    waits = rent(seeded, 2, key="waits", body=b"waits", waits=True).body
    fail_over_host(seeded.cloud.meters, rental.host_id, "host_lost", seeded.cloud.clock.now_ms())
    assert tell(seeded)[1:] == [("rental.failed", "host_lost")]
    terminate_rental(seeded.cloud.rentals, seeded.renter, waits)
    assert tell(seeded)[2:] == [("rental.terminated", "renter_requested")]


def test_one_that_is_placed_again_has_not_ended():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, recovery="replace")
    fail_over_host(seeded.cloud.meters, rental.host_id, "host_lost", seeded.cloud.clock.now_ms())
    assert seeded.rental(rental.rental_id).state == "queued"
    assert tell(seeded) == [("rental.running", None)]


def test_an_announced_interruption_is_told_once_and_its_end_too():
    seeded = seed_cloud()
    rental = start(seeded)
    now_ms = seeded.cloud.clock.now_ms()
    notice = Announcement("spot_interruption", "terminate", now_ms + 120_000)
    for seconds in (0, 10):
        beat = Beat(
            rental.host_id,
            "boot-1",
            "0.1.0",
            8,
            0,
            0,
            now_ms + seconds * 1000,
            (),
            notices=(notice,),
            observed_at_ms=now_ms + seconds * 1000,
        )
        record_heartbeat(seeded.cloud.meters, beat)
    (event,) = list_told(seeded)[1:]
    assert event.type == "rental.interruption_announced"
    assert event.data["cause"] == "spot_interruption"
    assert event.data["ends_at"] == format_instant(now_ms + 120_000)


def test_an_end_of_ours_is_told_with_its_instant():
    seeded = seed_cloud()
    rental = start(seeded)
    at_ms = seeded.cloud.clock.now_ms() + 120_000
    end = PlannedEnd("preempted", seeded.cloud.clock.now_ms(), at_ms)
    assert announce_end(seeded.cloud.rentals, rental, end)
    assert not announce_end(seeded.cloud.rentals, seeded.rental(rental.rental_id), end)
    (event,) = list_told(seeded)[1:]
    assert (event.data["cause"], event.data["ends_at"]) == ("preempted", format_instant(at_ms))


@pytest.mark.parametrize(("moment", "events"), [("crash_before", 0), ("crash_after", 1)])
def test_a_crash_leaves_state_and_event_or_neither(moment, events):
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded).body)
    setattr(seeded.cloud.db, moment, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        seeded.report(rental, "running")
    seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    assert len(tell(seeded)) == events
    assert (seeded.rental(rental.rental_id).state == "running") == bool(events)
    seeded.report(seeded.rental(rental.rental_id), "running")
    assert tell(seeded) == [("rental.running", None)]
