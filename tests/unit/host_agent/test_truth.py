"""Energy is within the bounds that the agent states, whatever the board shows, and never invented."""

import itertools
import random

import pytest

from host_agent.gpu import GpuLost
from host_agent.metering import EnergyMeter, MeterState, Owner
from tests.unit.host_agent.fakes import START_MS
from tests.unit.host_agent.traces import SECONDS, build_trace

SEEDS = range(20)
CUT_MS, LOOK_MS, JITTER_MS = 10_000, 1000, 60


def run_meter(trace, seed, cut_ms=CUT_MS):
    """Look once a second with jitter, cut every ten; one lease from the first reading to the last."""
    rng = random.Random(seed)
    meter = EnergyMeter(MeterState(), [trace.info])
    intervals = []

    def take(cut):
        intervals.extend(cut.intervals)
        meter.state = cut.state

    def read(at_ms):
        try:
            return {"GPU": trace.read(at_ms)}
        except GpuLost:
            return {}

    take(meter.cut(read(1000)))
    take(meter.change_owner({"GPU": Owner("rnt", 1)}, read(1000), START_MS + 1000))
    for due_ms in range(2000, SECONDS * 1000 - 1000, LOOK_MS):
        at_ms = due_ms + rng.randint(0, JITTER_MS)
        if due_ms % cut_ms == 0:
            take(meter.cut(read(at_ms)))
        else:
            meter.observe(read(at_ms))
    end_ms = SECONDS * 1000 - 500
    take(meter.change_owner({"GPU": None}, read(end_ms), START_MS + end_ms))
    return [each for each in intervals if each.rental_id == "rnt"]


def read_truth(trace, interval):
    return trace.read_truth(interval.started_at_ms - START_MS, interval.ended_at_ms - START_MS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gain", [0.955, None, 1.045])
@pytest.mark.parametrize("cut_ms", [1000, CUT_MS])
def test_the_true_energy_is_within_the_stated_bounds_of_every_interval(seed, gain, cut_ms):
    """Also at the edge of the accuracy that NVML states, and in windows of few counter steps."""
    trace = build_trace(seed)
    if gain is not None:
        trace.gain = gain
    intervals = run_meter(trace, seed, cut_ms)
    assert [each.interval_index for each in intervals] == list(range(len(intervals)))
    for before, after in itertools.pairwise(intervals):
        assert before.ended_at_ms == after.started_at_ms
    for each in intervals:
        truth = read_truth(trace, each)
        assert each.energy_min_millijoules <= truth <= each.energy_max_millijoules, (trace.kind, each, truth)
        assert 0 <= each.energy_min_millijoules <= each.energy_millijoules <= each.energy_max_millijoules
        assert each.estimated == (each.cause != "none")


@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_counter_energy_is_within_one_percent(seed):
    trace = build_trace(seed)
    intervals = [each for each in run_meter(trace, seed) if each.method == "counter" and not each.estimated]
    if trace.counter:
        truth = sum(read_truth(trace, each) for each in intervals)
        measured = sum(each.energy_millijoules for each in intervals)
        assert len(intervals) >= 6
        assert abs(measured - truth) <= truth / 100, trace.kind
    else:
        assert intervals == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_could_not_be_measured_says_why(seed):
    trace = build_trace(seed)
    intervals = run_meter(trace, seed)
    found = {each.cause for each in intervals} - {"none"}
    wanted = {
        "reset": {"counter_reset"},
        "jump": {"implausible_jump"},
        "model_only": {"no_meter"},
    }.get(trace.kind, set())
    assert found == wanted, trace.kind
    methods = {each.method for each in intervals}
    if not trace.counter:
        assert methods == {"model" if trace.kind == "model_only" else "power_integral"}


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if build_trace(seed).kind == "reset"])
def test_energy_before_a_reset_is_not_invented(seed):
    trace = build_trace(seed)
    (reset,) = [each for each in run_meter(trace, seed) if each.cause == "counter_reset"]
    after_reset = trace.read_truth(trace.reset_at_ms, reset.ended_at_ms - START_MS)
    assert reset.energy_millijoules <= after_reset * 1.01
    assert reset.counter_end_millijoules < reset.counter_start_millijoules


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if build_trace(seed).kind == "jump"])
def test_an_impossible_jump_is_rejected_and_kept_raw(seed):
    trace = build_trace(seed)
    (jump,) = [each for each in run_meter(trace, seed) if each.cause == "implausible_jump"]
    assert jump.counter_end_millijoules - jump.counter_start_millijoules > 900_000_000
    assert jump.energy_millijoules < 20_000_000


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if build_trace(seed).counter])
def test_where_both_exist_the_integral_stands_beside_the_counter(seed):
    trace = build_trace(seed)
    plain = [each for each in run_meter(trace, seed) if each.cause == "none"]
    assert all(each.integral_millijoules is not None for each in plain)
    if trace.kind in {"steps", "reset"}:
        counted = sum(each.energy_millijoules for each in plain)
        integrated = sum(each.integral_millijoules for each in plain)
        assert abs(counted - integrated) <= counted * 0.03


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if build_trace(seed).counter])
def test_the_bounds_of_a_counter_say_something(seed):
    for each in run_meter(build_trace(seed), seed):
        if each.cause == "none":
            width = each.energy_max_millijoules - each.energy_min_millijoules
            # Five percent either way, and a counter's step at the board's limit either way.
            assert width <= each.energy_millijoules * 0.11 + 2 * 84_000 + 2
