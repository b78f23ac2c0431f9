"""A partitioned board: each part is within its bounds, and the parts are the board to the millijoule."""

import itertools
import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_agent.gpu import GpuLost, InstanceReading, Reading
from host_agent.metering import EnergyMeter, MeterState, Owner
from host_agent.mig import split_energy
from tests.unit.host_agent.fakes import START_MS
from tests.unit.host_agent.mig_traces import BOARD, KINDS, SLICES, build_mig_trace
from tests.unit.host_agent.traces import SECONDS

SEEDS = range(2 * len(KINDS))
LOOK_MS, DEEP_MS, JITTER_MS = 1000, 5000, 60
#: What is leased when: the third instance never is.
CHANGES = {
    10_000: {"MIG-3": Owner("rnt-a", 1)},
    30_000: {"MIG-2a": Owner("rnt-b", 1)},
    80_000: {"MIG-2a": None},
    100_000: {"MIG-2a": Owner("rnt-c", 3)},
    115_000: {"MIG-3": None, "MIG-2a": None},
}


def run_meter(trace, seed, cut_ms=10_000, infos=None):
    """Look once a second, deeply every five; with ``infos`` the same windows of the board as a whole."""
    rng = random.Random(seed)
    meter = EnergyMeter(MeterState(), infos or trace.infos)
    intervals = []

    def take(cut):
        intervals.extend(cut.intervals)
        meter.state = cut.state

    for due_ms in range(1000, SECONDS * 1000 - 1000, LOOK_MS):
        at_ms = due_ms + rng.randint(0, JITTER_MS)
        change, deep = CHANGES.get(due_ms), due_ms % DEEP_MS == 0
        try:
            readings = {BOARD: trace.look(at_ms, deep=deep or due_ms % cut_ms == 0 or change is not None)}
        except GpuLost:
            readings = {}
        if change is not None and infos is None:
            take(meter.change_owner(change, readings, START_MS + at_ms))
        elif due_ms % cut_ms == 0 or due_ms == 1000 or change is not None:
            take(meter.cut(readings))
        else:
            meter.observe(readings)
    return intervals


def group(intervals):
    windows = defaultdict(dict)
    for each in intervals:
        windows[each.started_at_ms, each.ended_at_ms][each.gpu_uuid] = each
    return windows


def read_truths(trace, parts, from_ms, to_ms):
    truths = {uuid: trace.read_part(uuid, from_ms, to_ms) for uuid in parts if uuid != BOARD}
    return {**truths, BOARD: trace.read_truth(from_ms, to_ms) - sum(truths.values())}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gain", [0.955, None, 1.045])
@pytest.mark.parametrize("cut_ms", [1000, 10_000, 60_000])
def test_the_true_energy_of_every_part_is_within_its_bounds(seed, gain, cut_ms):
    trace = build_mig_trace(seed)
    if gain is not None:
        trace.gain = gain
    for (started, ended), parts in group(run_meter(trace, seed, cut_ms)).items():
        truths = read_truths(trace, parts, started - START_MS, ended - START_MS)
        for uuid, each in parts.items():
            assert each.energy_min_millijoules <= truths[uuid] <= each.energy_max_millijoules, (
                trace.kind,
                each,
            )
            assert 0 <= each.energy_min_millijoules <= each.energy_millijoules <= each.energy_max_millijoules
            assert each.parent_uuid == (None if uuid == BOARD else BOARD)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_parts_are_the_board_to_the_millijoule(seed):
    trace = build_mig_trace(seed)
    windows = group(run_meter(trace, seed))
    whole = build_mig_trace(seed)
    boards = group(run_meter(whole, seed, infos=[whole.info]))
    assert len(windows) >= 10
    totals = {
        window: sum(each.energy_millijoules for each in parts.values()) for window, parts in windows.items()
    }
    if trace.kind == "lost":
        # What was filled while nothing could be read is taken off the next window: the sum holds.
        ends = [windows[min(windows)][BOARD], windows[max(windows)][BOARD]]
        gained = ends[1].counter_end_millijoules - ends[0].counter_start_millijoules
        assert sum(totals.values()) == gained
    else:
        assert totals == {window: parts[BOARD].energy_millijoules for window, parts in boards.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_lease_has_its_intervals_without_holes_and_a_last_one(seed):
    intervals = run_meter(build_mig_trace(seed), seed)
    for rental_id, gpu_uuid in (("rnt-a", "MIG-3"), ("rnt-b", "MIG-2a"), ("rnt-c", "MIG-2a")):
        own = [each for each in intervals if each.rental_id == rental_id]
        assert {each.gpu_uuid for each in own} == {gpu_uuid}
        assert [each.interval_index for each in own] == list(range(len(own)))
        assert [each.final for each in own] == [False] * (len(own) - 1) + [True]
        assert all(each.counter_end_millijoules is None for each in own)
        for before, after in itertools.pairwise(own):
            assert before.ended_at_ms == after.started_at_ms
    rest = [each for each in intervals if each.rental_id is None]
    assert {each.gpu_uuid for each in rest} == {BOARD}
    assert [each.interval_index for each in rest] == list(range(len(rest)))
    assert not any(each.final for each in rest)


@pytest.mark.parametrize(
    "seed", [s for s in SEEDS if build_mig_trace(s).kind in {"even", "busy", "recreated"}]
)
@pytest.mark.parametrize("cut_ms", [10_000, 60_000])
def test_with_a_counter_and_activity_every_lease_is_within_one_percent(seed, cut_ms):
    trace = build_mig_trace(seed)
    energy, truth = defaultdict(int), defaultdict(float)
    for (started, ended), parts in group(run_meter(trace, seed, cut_ms)).items():
        truths = read_truths(trace, parts, started - START_MS, ended - START_MS)
        for uuid, each in parts.items():
            energy[each.rental_id] += each.energy_millijoules
            truth[each.rental_id] += truths[uuid]
            assert each.split == "activity" or each.started_at_ms < START_MS + 10_000
    assert set(energy) == {None, "rnt-a", "rnt-b", "rnt-c"}
    for rental_id, found in energy.items():
        assert abs(found - truth[rental_id]) <= truth[rental_id] / 100, (trace.kind, rental_id)


@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_counter_the_board_is_within_one_percent(seed):
    trace = build_mig_trace(seed)
    windows = group(run_meter(trace, seed))
    sound = {
        window: parts
        for window, parts in windows.items()
        if parts[BOARD].method == "counter" and parts[BOARD].cause == "none"
    }
    if not trace.counter:
        assert sound == {}
        return
    found = sum(each.energy_millijoules for parts in sound.values() for each in parts.values())
    truth = sum(trace.read_truth(start - START_MS, end - START_MS) for start, end in sound)
    assert len(sound) >= 8
    assert abs(found - truth) <= truth / 100


@pytest.mark.parametrize("seed", [s for s in SEEDS if build_mig_trace(s).kind == "no_activity"])
def test_without_activity_slices_decide_and_the_platform_pays_for_what_is_idle_only(seed):
    for parts in group(run_meter(build_mig_trace(seed), seed)).values():
        if {"MIG-3", "MIG-2a"} <= parts.keys():
            three, two, rest = (parts[uuid].energy_millijoules for uuid in ("MIG-3", "MIG-2a", BOARD))
            assert {each.split for each in parts.values()} == {"slices"}
            assert abs(three * 2 - two * 3) <= 100
            assert rest <= 72 * 2 / 7 * (parts[BOARD].ended_at_ms - parts[BOARD].started_at_ms) * 1.02


@pytest.mark.parametrize("seed", [s for s in SEEDS if build_mig_trace(s).kind == "recreated"])
def test_an_instance_that_was_destroyed_draws_nothing_until_it_is_there_again(seed):
    trace = build_mig_trace(seed)
    (from_ms, to_ms) = trace.gone_ms["MIG-2a"]
    gone = [
        (parts[BOARD], parts)
        for (started, ended), parts in group(run_meter(trace, seed, 1000)).items()
        if from_ms + DEEP_MS <= started - START_MS and ended - START_MS <= min(to_ms, 100_000)
    ]
    assert gone
    assert all("MIG-2a" not in parts for _, parts in gone)


def test_a_tenant_who_has_the_board_to_himself_is_told_most_of_his_energy_for_sure():
    """What the board draws above idle is then his; of the idle power only the slices' part is."""
    parts = [
        parts["MIG-3"]
        for parts in group(run_meter(build_mig_trace(0), 0, 60_000)).values()
        if "MIG-3" in parts and "MIG-2a" not in parts
    ]
    assert parts
    for each in parts:
        assert each.energy_min_millijoules >= each.energy_millijoules / 2
        assert each.energy_max_millijoules <= each.energy_millijoules * 1.6


def test_what_runs_on_an_instance_that_nobody_leased_is_the_platforms():
    trace = build_mig_trace(0)
    meter = EnergyMeter(MeterState(), trace.infos)
    owner = {"MIG-3": Owner("rnt", 1)}

    def read(second, counter, activity):
        seen = {uuid: InstanceReading(activity.get(uuid, 0), activity.get(uuid, 0)) for uuid in SLICES}
        power = 70_000 if second == 0 else 350_000
        return {BOARD: Reading(START_MS + second * 1000, second * 1000, counter, power, instances=seen)}

    meter.state = meter.cut(read(0, 0, {})).state
    meter.state = meter.change_owner(owner, read(0, 0, {}), START_MS).state
    cut = meter.cut(read(10, 3_500_000, {"MIG-3": 500, "MIG-2b": 750}))
    parts = {each.gpu_uuid: each.energy_millijoules for each in cut.intervals}
    # Idle 700 J by slices; 2800 J of work, 1.5 busy slices each.
    assert parts == {"MIG-3": 300_000 + 1_400_000, BOARD: 400_000 + 1_400_000}


@given(
    st.integers(0, 10**12),
    st.dictionaries(st.text(max_size=3), st.integers(0, 10**9), min_size=1, max_size=8).filter(
        lambda weights: any(weights.values())
    ),
)
def test_a_split_loses_no_millijoule_and_is_fair_to_one(total, weights):
    parts = split_energy(total, weights)
    assert sum(parts.values()) == total
    whole = sum(weights.values())
    for name, part in parts.items():
        assert abs(part * whole - total * weights[name]) < whole
        assert part == 0 or weights[name] > 0
