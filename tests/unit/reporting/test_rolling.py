"""Roll-ups: from all that is stored, each change once, late or in whatever order it came."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.capacity import PLATFORM
from chalicelib.metering.model import HOUR_MS, Interval, split_by_hour
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from chalicelib.reporting.rolling import roll_up, roll_up_host
from tests.factories import REGION
from tests.fakes import Crash
from tests.unit.reporting.months import DAY_MS, FAR_MS, Fleet

MINUTE_MS = 60_000


def read(fleet, day=None):
    day = day or fleet.day
    stays = fleet.ports.store.list_stay_days(fleet.rental.account_id, day)
    (site,) = fleet.ports.store.list_site_days(REGION, day)
    return stays, site


def sum_energy(uses):
    return sum(each.energy_millijoules for each in uses)


def test_rentals_and_platform_sum_to_the_meters_of_the_site():
    fleet = Fleet()
    fleet.use(fleet.start_ms, 90 * MINUTE_MS, 1_000_001)
    fleet.use(fleet.start_ms, 90 * MINUTE_MS, 7, lease=1)
    fleet.use(fleet.start_ms, 30 * MINUTE_MS, 500, idle=True)
    fleet.end_day()
    done = roll_up(fleet.ports, FAR_MS)
    assert (done.hosts, done.changed, done.failed, done.left) == (1, 2, (), False)
    (stay,), site = read(fleet)
    assert (stay.rental_id, stay.segment, stay.label) == (fleet.rental.rental_id, 1, "train")
    assert sum_energy(stay.hours) == sum_energy(site.rented) == 1_000_008
    assert sum_energy(site.platform) == 500
    meters = fleet.cloud.meters.store.list_site_energy(fleet.host_id, f"{fleet.day}T00", f"{fleet.day}T23")
    assert meters == {fleet.rental.account_id: 1_000_008, PLATFORM: 500}


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_parts_of_any_day_sum_to_its_site_meter_in_any_order_and_told_twice(data):
    fleet = Fleet()
    told = []
    for _ in range(data.draw(st.integers(1, 5))):
        told.append(
            fleet.use(
                fleet.start_ms + data.draw(st.integers(-8 * HOUR_MS, 30 * HOUR_MS)),
                data.draw(st.integers(0, 3 * HOUR_MS)),
                data.draw(st.integers(0, 10**12)),
                lease=data.draw(st.integers(0, 1)),
                idle=data.draw(st.booleans()),
                estimated=data.draw(st.booleans()),
            )
        )
    store_telemetry(fleet.cloud.meters, *data.draw(st.sampled_from(told)))
    meter = {}
    for _, (interval,) in told:
        for share in split_by_hour(interval):
            meter[share.hour[:10]] = meter.get(share.hour[:10], 0) + share.energy_millijoules
    for day in data.draw(st.permutations(sorted(meter))):
        roll_up_host(fleet.ports, fleet.host_id, day)
        stays, site = read(fleet, day)
        assert sum(sum_energy(stay.hours) for stay in stays) == sum_energy(site.rented)
        assert sum_energy(site.rented) + sum_energy(site.platform) == meter[day]
        assert roll_up_host(fleet.ports, fleet.host_id, day) == 0, "what is the same is not written again"


def test_late_energy_restates_its_day_as_another_version_and_asks_for_its_reports():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    due = list(fleet.ports.store.list_due(FAR_MS))
    assert {each.owner for each in due} == {fleet.account, fleet.site}
    for each in due:
        fleet.ports.store.clear_due(each)
    fleet.use(fleet.start_ms + HOUR_MS, MINUTE_MS, 50)
    assert roll_up(fleet.ports, FAR_MS).changed == 2
    (stay,), site = read(fleet)
    assert (sum_energy(stay.hours), stay.version, site.version) == (150, 2, 2)
    assert len(list(fleet.ports.store.list_due(FAR_MS))) == 2
    assert roll_up(fleet.ports, FAR_MS).hosts == 0, "nothing is late any more"


def test_restating_comes_to_the_same_in_any_order():
    intervals = [(0, 100), (HOUR_MS, 50), (2 * HOUR_MS, 3)]
    seen = set()
    for order in permutations(intervals):
        fleet = Fleet()
        fleet.end_day()
        for offset, energy in order:
            fleet.use(fleet.start_ms + offset, MINUTE_MS, energy)
            roll_up(fleet.ports, FAR_MS)
        (stay,), site = read(fleet)
        seen.add((stay.hours, site.rented, site.platform))
    assert len(seen) == 1


def test_a_gap_is_expected_time_without_a_reading_and_never_zero():
    fleet = Fleet()
    fleet.use(fleet.start_ms, 10 * MINUTE_MS, 100)
    fleet.use(fleet.start_ms, 10 * MINUTE_MS, 100, lease=1)
    fleet.live_until(fleet.start_ms + 30 * MINUTE_MS)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    (stay,), _ = read(fleet)
    (hour,) = stay.hours
    assert (hour.covered_ms, hour.expected_ms, hour.gap_ms) == (
        20 * MINUTE_MS,
        60 * MINUTE_MS,
        40 * MINUTE_MS,
    )


def test_a_stay_that_told_nothing_for_an_hour_has_that_hour_as_a_gap():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.live_until(fleet.start_ms + 2 * HOUR_MS)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    (stay,), _ = read(fleet)
    assert [each.gap_ms for each in stay.hours if each.covered_ms == 0] != []
    assert sum(each.expected_ms for each in stay.hours) == 2 * 2 * HOUR_MS


def test_a_day_that_is_not_over_is_left_alone_and_each_later_one_follows_once():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.end_day(hours=2)
    fleet.clock.value_ms -= 1
    assert roll_up(fleet.ports, FAR_MS).hosts == 0
    fleet.clock.value_ms += 1
    assert roll_up(fleet.ports, FAR_MS).hosts == 1
    fleet.use(fleet.start_ms + DAY_MS, MINUTE_MS, 100)
    fleet.end_day(days=3)
    assert roll_up(fleet.ports, FAR_MS).hosts == 1
    assert roll_up(fleet.ports, FAR_MS).hosts == 0


def test_what_is_left_when_time_runs_out_is_for_the_next_run():
    fleet = Fleet(hosts=3)
    for host_id in list(fleet.db.table("hosts")):
        interval = Interval(
            "", "GPU-x", 0, 0, False, fleet.start_ms, fleet.start_ms + MINUTE_MS, 9, estimated=False
        )
        store_telemetry(
            fleet.cloud.meters, TelemetryRecord(host_id, "boot-1", 0, "{}", fleet.start_ms), [interval]
        )
    fleet.end_day()
    assert roll_up(fleet.ports, 0).left
    assert not fleet.db.table("site_days")

    class Ticking:
        def now_ms(self):
            fleet.clock.value_ms += 1
            return fleet.clock.value_ms

    object.__setattr__(fleet.ports, "clock", Ticking())
    first = roll_up(fleet.ports, fleet.clock.value_ms + 5)
    assert first.left
    assert 0 < first.hosts < 3
    second = roll_up(fleet.ports, FAR_MS)
    assert first.hosts + second.hosts == 3
    assert len(fleet.db.table("site_days")) == 3


@pytest.mark.parametrize("where", ["crash_before", "crash_after"])
def test_who_dies_at_any_write_is_followed_by_a_run_that_ends_it(where):
    for commit in range(3):
        fleet = Fleet()
        fleet.use(fleet.start_ms, MINUTE_MS, 100)
        fleet.use(fleet.start_ms, MINUTE_MS, 5, idle=True)
        fleet.end_day()
        setattr(fleet.db, where, fleet.db.commits + commit)
        died = False
        try:
            roll_up(fleet.ports, FAR_MS)
        except Crash:
            died = True
        assert died == (commit < 2)
        fleet.db.crash_before = fleet.db.crash_after = None
        roll_up(fleet.ports, FAR_MS)
        (stay,), site = read(fleet)
        assert (stay.version, site.version) == (1, 1)
        assert sum_energy(site.rented) + sum_energy(site.platform) == 105
        assert len(list(fleet.ports.store.list_due(FAR_MS))) == 2
