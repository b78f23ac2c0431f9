"""Announced maintenance: renters are told, the host closes in time and opens again, and it is no downtime."""

from dataclasses import replace

import pytest

from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.fleet.maintenance import (
    MAX_AHEAD_MS,
    MAX_DURATION_MS,
    MAX_OPEN_WINDOWS,
    PlanWindow,
    advance_windows,
    cancel_window,
    plan_window,
)
from chalicelib.fleet.operations import retire_host
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat, Report
from tests.factories import rent
from tests.fakes import Crash
from tests.unit.fleet.watching import Watched

HOUR = 3_600
HOUR_MS = HOUR * 1000


class Site(Watched):
    """Two hosts; the schedule of windows runs with each minute."""

    def __init__(self):
        super().__init__(hosts=2)
        self.maintenance = self.cloud.maintenance
        self.host_id = self.hosts[0]

    def plan(self, starts_in_hours=2, hours=1, *, lead_hours=1, key="key", fingerprint="f", **facts):
        now_ms = self.cloud.clock.now_ms()
        starts_at_ms = int(now_ms + starts_in_hours * HOUR_MS)
        command = PlanWindow(
            host_id=self.host_id,
            category="power",
            reason="new transformer",
            starts_at_ms=starts_at_ms,
            ends_at_ms=int(starts_at_ms + hours * HOUR_MS),
            lead_ms=int(lead_hours * HOUR_MS),
            idempotency_key=key,
            fingerprint=fingerprint,
            render=lambda window: window.window_id,
        )
        return plan_window(self.maintenance, self.seeded.operator, replace(command, **facts))

    def pass_hours(self, hours):
        self.cloud.clock.advance_seconds(hours * HOUR)
        advance_windows(self.maintenance, self.cloud.clock.now_ms())
        self.beat_all()

    def start(self):
        """A rental that runs on the host with the window."""
        self.cloud.fleet_store.list_gpus(self.host_id)
        rental = self.seeded.rental(rent(self.seeded, 4, key="running").body)
        self.host_id = rental.host_id
        self.seeded.report(rental, "running")
        return rental

    def tell(self, rental):
        self.cloud.clock.advance_seconds(1)
        report = Report(rental.rental_id, rental.leases, "running", None, None, wiped=False)
        ok = frozenset(gpu.gpu.gpu_uuid for gpu in self.gpus(self.host_id))
        at_ms = self.cloud.clock.now_ms()
        record_heartbeat(
            self.cloud.meters, Beat(self.host_id, "b", "v", 4, 0, 0, at_ms, (report,), ok_gpu_uuids=ok)
        )
        return self.seeded.rental(rental.rental_id).interruption

    @property
    def actions(self):
        found = [entry.action for entry in self.cloud.audit.entries]
        return [action for action in found if action.startswith("maintenance.")]


@pytest.fixture
def site():
    site = Site()
    yield site
    site.check_totals()


def test_a_host_closes_a_stated_time_before_its_window_and_opens_after_it(site):
    site.plan(starts_in_hours=3, hours=1, lead_hours=1)
    states = [site.host(site.host_id).state]
    for _ in range(5):
        site.pass_hours(1)
        states.append(site.host(site.host_id).state)
    assert states == ["active", "active", "draining", "draining", "active", "active"]
    assert site.actions == ["maintenance.planned", "maintenance.host_closed", "maintenance.ended"]
    assert site.host(site.host_id).maintenance is None


def test_renters_on_the_host_are_told_with_the_next_heartbeat_and_untold_when_it_is_called_off(site):
    rental = site.start()
    assert site.tell(rental) is None
    planned_ms = site.cloud.clock.now_ms()
    window_id = site.plan(starts_in_hours=48, lead_hours=1).body
    told = site.tell(rental)
    assert (told.reason, told.notice_at_ms) == ("scheduled_event", planned_ms)
    assert told.ends_at_ms == planned_ms + 48 * HOUR_MS
    # Told and not closed: there is time for other work.
    assert site.host(site.host_id).state == "active"
    assert site.tell(rental) == told
    cancel_window(site.maintenance, site.seeded.operator, window_id)
    assert site.tell(rental) is None
    assert site.tell(rental) is None


def test_the_word_of_a_window_is_not_lost_to_a_heartbeat_that_is_under_way(site):
    rental = site.start()
    site.tell(rental)
    store = site.cloud.fleet_store
    record, host_id = store.record_liveness, site.host_id

    def plan_first(*arguments):
        store.record_liveness = record
        site.plan()
        return record(*arguments)

    # What it announces is new, so that the host is read, before the window is planned.
    site.cloud.db.table("liveness")[host_id] = replace(site.heartbeat(host_id), announced="other")
    store.record_liveness = plan_first
    assert site.tell(rental) is None
    assert site.tell(rental) is not None


def test_a_window_that_is_already_near_closes_the_host_at_once(site):
    site.plan(starts_in_hours=1, lead_hours=24)
    assert site.host(site.host_id).state == "draining"
    assert site.host(site.host_id).maintenance.closed


def test_the_next_window_is_carried_and_the_one_after_it_when_it_is_over(site):
    late = site.plan(starts_in_hours=10, key="late").body
    early = site.plan(starts_in_hours=2, key="early").body
    assert site.host(site.host_id).maintenance.window_id == early
    site.pass_hours(4)
    assert site.host(site.host_id).maintenance.window_id == late
    assert site.host(site.host_id).state == "active"


def test_silence_in_a_window_is_no_downtime_even_when_the_host_is_back_late(site):
    site.plan(starts_in_hours=1, hours=1, lead_hours=1)
    site.cloud.clock.advance_seconds(HOUR)
    advance_windows(site.maintenance, site.cloud.clock.now_ms())
    site.beat_all()
    site.up.discard(site.host_id)
    site.run(2 * HOUR - 600)
    advance_windows(site.maintenance, site.cloud.clock.now_ms())
    assert site.host(site.host_id).past_maintenance_ms
    site.up.add(site.host_id)
    site.run(60)
    down_ms = sum(site.host(site.host_id).downtime_ms.values())
    assert 50 * 60_000 - 15_000 <= down_ms <= 50 * 60_000 + 15_000
    assert site.host(site.host_id).state == "active"


def test_one_key_plans_one_window_and_answers_with_the_same_bytes(site):
    first = site.plan()
    again = site.plan()
    assert (again.body, again.status, again.replayed) == (first.body, 201, True)
    assert len(site.cloud.db.table("windows")) == 1
    with pytest.raises(IdempotencyMismatch):
        site.plan(fingerprint="other")


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_plan_that_dies_is_made_once_by_its_repeat(site, when):
    setattr(site.cloud.db, when, site.cloud.db.commits)
    with pytest.raises(Crash):
        site.plan()
    site.cloud.db.crash_before = site.cloud.db.crash_after = None
    assert site.plan().replayed == (when == "crash_after")
    assert len(site.cloud.db.table("windows")) == 1
    assert site.actions == ["maintenance.planned"]


def test_f38_a_step_that_comes_twice_or_an_hour_late_does_the_same(site):
    site.plan(starts_in_hours=2, hours=1, lead_hours=1)
    site.cloud.clock.advance_seconds(5 * HOUR)
    now_ms = site.cloud.clock.now_ms()
    assert advance_windows(site.maintenance, now_ms) == 1
    before = {name: dict(rows) for name, rows in site.cloud.db.tables.items()}
    assert advance_windows(site.maintenance, now_ms) == 0
    assert before == {name: dict(rows) for name, rows in site.cloud.db.tables.items()}
    assert site.host(site.host_id).state == "active"


def test_f40_a_window_that_the_index_still_calls_due_is_left_when_it_was_cancelled(site):
    window_id = site.plan(starts_in_hours=2, lead_hours=1).body
    stale = site.maintenance.store.get_window(window_id)
    cancel_window(site.maintenance, site.seeded.operator, window_id)
    site.maintenance.store.list_due_windows = lambda *_: [stale]
    site.cloud.clock.advance_seconds(90 * 60)
    assert advance_windows(site.maintenance, site.cloud.clock.now_ms()) == 0
    assert site.host(site.host_id).state == "active"


def test_a_step_whose_host_changes_at_the_same_time_is_taken_a_minute_later(site):
    site.plan(starts_in_hours=2, lead_hours=1)
    site.cloud.clock.advance_seconds(HOUR)
    store = site.cloud.accounts.store

    class Slow:
        """Asked after the host was read and before the commit."""

        def get_installation(self):
            site.beat(site.host_id, draining=True)
            return store.get_installation()

    raced = replace(site.maintenance, accounts=replace(site.cloud.accounts, store=Slow()))
    assert advance_windows(raced, site.cloud.clock.now_ms()) == 0
    assert site.actions == ["maintenance.planned"]
    assert advance_windows(site.maintenance, site.cloud.clock.now_ms() + 60_000) == 1
    assert site.host(site.host_id).maintenance.closed
    assert site.host(site.host_id).draining


def test_windows_make_sense(site):
    now_ms = site.cloud.clock.now_ms()
    wrong = (
        {"ends_at_ms": now_ms + HOUR_MS, "starts_at_ms": now_ms + HOUR_MS},
        {"starts_at_ms": now_ms - 3 * HOUR_MS, "ends_at_ms": now_ms},
        {"starts_at_ms": now_ms, "ends_at_ms": now_ms + MAX_DURATION_MS + 1},
        {"starts_at_ms": now_ms + MAX_AHEAD_MS + 1, "ends_at_ms": now_ms + MAX_AHEAD_MS + 2},
    )
    for facts in wrong:
        with pytest.raises(InvalidInput) as refused:
            site.plan(**facts)
        assert refused.value.code == "invalid_window"
    with pytest.raises(NotFound):
        site.plan(host_id="hst_x")
    with pytest.raises(NotFound):
        cancel_window(site.maintenance, site.seeded.operator, "mnt_x")
    assert site.cloud.db.table("windows") == {}


def test_a_host_has_a_bounded_number_of_windows_and_a_retired_one_none(site):
    for number in range(MAX_OPEN_WINDOWS):
        last = site.plan(starts_in_hours=2 + 2 * number, key=f"key-{number}").body
    with pytest.raises(Conflict) as refused:
        site.plan(key="one more")
    assert refused.value.code == "too_many_windows"
    cancel_window(site.maintenance, site.seeded.operator, last)
    assert cancel_window(site.maintenance, site.seeded.operator, last).state == "cancelled"
    site.plan(key="one more")
    retire_host(site.cloud.operations, site.seeded.operator, site.host_id, "sold")
    with pytest.raises(Conflict, match="retired"):
        site.plan(key="after")
    site.pass_hours(100)
    assert site.host(site.host_id).state == "retired"
    page = site.maintenance.store.list_open_windows(50)
    assert [window.state for window in page.items] == []


def test_a_window_that_is_over_is_not_cancelled(site):
    window_id = site.plan(starts_in_hours=0, hours=1).body
    site.pass_hours(2)
    with pytest.raises(Conflict) as refused:
        cancel_window(site.maintenance, site.seeded.operator, window_id)
    assert refused.value.code == "window_over"
