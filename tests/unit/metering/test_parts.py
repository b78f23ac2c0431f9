"""A record that no transaction holds is stored in parts: once, whole, and in balance at every moment."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.capacity import PLATFORM
from chalicelib.core.clock import format_hour
from chalicelib.core.errors import Unavailable
from chalicelib.metering.model import HOUR_MS, UNRENTED, sum_energy
from chalicelib.metering.parts import MAX_PART_ITEMS, cut_parts
from chalicelib.metering.service import store_telemetry
from tests.factories import seed_cloud, start
from tests.fakes import START_MS, Crash
from tests.fakes.database import MAX_ITEMS, MemoryDatabase, TooManyItems
from tests.unit.metering.test_energy import build_interval, build_record

#: To five minutes before the turn of an hour.
BEFORE_TURN_MS = HOUR_MS - START_MS % HOUR_MS - 300_000


class Case:
    """One rental, and a record of one long interval of each of its GPUs and of one that nobody has."""

    def __init__(self, *, gpus, length_ms, slowed_ms=None):
        self.seeded = seed_cloud(gpus=gpus, credit_micros=10**9)
        self.rental = start(self.seeded, gpus)
        self.meters, self.db = self.seeded.cloud.meters, self.seeded.cloud.db
        whole = replace(
            build_interval(self.rental, final=True, energy=1_000_003, length_ms=length_ms),
            started_at_ms=START_MS + BEFORE_TURN_MS,
            ended_at_ms=START_MS + BEFORE_TURN_MS + length_ms,
            thermal_slowdown_ms=slowed_ms,
        )
        self.intervals = [
            replace(whole, gpu_uuid=lease.gpu_uuid, epoch=lease.epoch) for lease in self.rental.leases
        ]
        self.intervals.append(replace(whole, rental_id=UNRENTED, gpu_uuid="GPU-idle", epoch=0))
        self.record = build_record(self.rental)

    def store(self):
        return store_telemetry(self.meters, self.record, self.intervals)

    def read(self):
        return sum_energy(self.meters.store.list_energy(self.rental.rental_id), self.rental.leases)

    def stored(self):
        names = ("energy", "site_energy", "telemetry", "telemetry_parts")
        return {name: dict(self.db.table(name)) for name in names}

    def check(self):
        """What is there is in balance, and what is not all there says so."""
        last = format_hour(max(each.ended_at_ms for each in self.intervals))
        site = self.meters.store.list_site_energy(self.rental.host_id, "", last)
        reading = self.read()
        assert site.get(self.rental.account_id, 0) == reading.energy_millijoules
        assert site.get(PLATFORM, 0) <= 1_000_003
        whole = sum(each.energy_millijoules for each in self.intervals) - 1_000_003
        complete = reading.intervals_stored == reading.intervals_expected
        assert complete == (reading.energy_millijoules == whole)
        if self.db.table("telemetry"):
            assert complete
            assert site[PLATFORM] == 1_000_003


def test_a_fake_transaction_holds_as_much_as_dynamodbs():
    for count, refused in ((MAX_ITEMS, False), (MAX_ITEMS + 1, True)):
        tx = MemoryDatabase().begin()
        for number in range(count):
            tx.put_new("rows", number, number, ValueError("there"))
        if refused:
            with pytest.raises(TooManyItems):
                tx.commit()
        else:
            tx.commit()


@pytest.mark.parametrize(
    "shape",
    [
        # Instances of a host of MIG boards over the turn of an hour.
        {"gpus": 49, "length_ms": 600_000},
        {"gpus": 49, "length_ms": 600_000, "slowed_ms": 60_000},
        # An agent that was dead for half a day.
        {"gpus": 8, "length_ms": 12 * HOUR_MS},
        # A GPU of its own for a week.
        {"gpus": 1, "length_ms": 7 * 24 * HOUR_MS, "slowed_ms": 5 * HOUR_MS},
    ],
)
def test_a_record_that_no_transaction_holds_is_stored_whole_and_once(shape):
    case = Case(**shape)
    assert len(cut_parts(case.intervals)) > 1
    assert case.store()
    case.check()
    reading, stored = case.read(), case.stored()
    assert reading.energy_millijoules == shape["gpus"] * 1_000_003
    assert reading.intervals_stored == reading.intervals_expected == shape["gpus"]
    assert len(stored["telemetry"]) == 1
    assert not case.store()
    assert case.stored() == stored
    assert case.meters.store.count_duplicates(case.rental.rental_id) == 1


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_who_dies_at_any_part_comes_again_and_stores_what_is_left(side):
    shape = {"gpus": 8, "length_ms": 30 * HOUR_MS, "slowed_ms": HOUR_MS}
    whole = Case(**shape)
    whole.store()
    parts = len(cut_parts(whole.intervals))
    assert parts > 3
    for number in range(parts):
        case = Case(**shape)
        setattr(case.db, side, case.db.commits + number)
        with pytest.raises(Crash):
            case.store()
        setattr(case.db, side, None)
        case.check()
        all_there = side == "crash_after" and number + 1 == parts
        assert case.store() == (not all_there)
        case.check()
        assert case.stored() == whole.stored()
        assert case.meters.store.count_duplicates(case.rental.rental_id) == int(all_there)
        meter = case.meters.store.get_meter(case.rental.rental_id, 1)
        assert meter.slowed_hours == whole.meters.store.get_meter(whole.rental.rental_id, 1).slowed_hours


def test_a_record_that_another_stores_meanwhile_is_counted_once():
    case, whole = (Case(gpus=8, length_ms=30 * HOUR_MS) for _ in range(2))
    whole.store()

    def store_first():
        case.db.interlude = None
        assert case.store()

    case.db.interlude = store_first
    assert not case.store()
    assert case.stored() == whole.stored()


def test_a_record_that_was_stored_in_one_before_is_not_stored_in_parts():
    case = Case(gpus=8, length_ms=12 * HOUR_MS)
    tx = case.db.begin()
    case.meters.store.add_record(tx, case.record)
    tx.commit()
    before = case.stored()
    assert not case.store()
    assert case.stored() == before


def test_a_slowdown_of_the_next_part_is_not_forgotten_by_who_looked_after_the_first():
    case = Case(gpus=49, length_ms=600_000, slowed_ms=60_000)
    store = case.meters.store
    assert len(cut_parts(case.intervals)) == 3
    case.db.crash_after = case.db.commits + 1
    with pytest.raises(Crash):
        case.store()
    case.db.crash_after = None
    noted = store.get_meter(case.rental.rental_id, 1)
    assert noted.slowed_hours
    case.store()
    with pytest.raises(Unavailable):
        store.forget_slowed(noted, noted.slowed_hours)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 90), st.integers(0, 200), st.none() | st.integers(0, 9)),
        max_size=64,
    )
)
def test_parts_are_all_there_is_and_each_fits_with_what_is_counted_last(told):
    seeded = seed_cloud()
    rental = start(seeded, 1)
    intervals = [
        replace(
            build_interval(rental, number, energy=17 * number, start_ms=START_MS + start_hour * HOUR_MS),
            ended_at_ms=START_MS + start_hour * HOUR_MS + length * HOUR_MS // 7,
            gpu_uuid=f"GPU-{gpu}",
            thermal_slowdown_ms=slowed_ms,
        )
        for number, (gpu, start_hour, length, slowed_ms) in enumerate(told)
    ]
    parts = cut_parts(intervals)
    assert parts == cut_parts(intervals)
    left = {each: each.energy_millijoules for each in intervals}
    for part in parts:
        hours = {piece.share.hour for piece in part}
        shares = {(piece.interval.gpu_uuid, piece.share.hour) for piece in part}
        slowed = {piece.interval.gpu_uuid for piece in part if piece.share.thermal_slowdown_ms}
        days = {hour[:10] for hour in hours}
        assert len(shares) + len(hours) + len(days) + len(slowed) <= MAX_PART_ITEMS
        for piece in part:
            left[piece.interval] -= piece.share.energy_millijoules
        for piece in part:
            if piece.share.intervals:
                assert left[piece.interval] == 0
    assert set(left.values()) <= {0}
    assert sum(piece.share.intervals for part in parts for piece in part) == len(intervals)
