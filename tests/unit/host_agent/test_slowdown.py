"""How long a GPU was slowed: counters where there are any, else what looks saw; never invented."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_agent.gpu import Reading, SlowdownCounters
from host_agent.health import HW_POWER_BRAKE, HW_THERMAL, SW_THERMAL
from host_agent.metering import EnergyMeter, MeterState, Owner
from host_agent.simulator.device import build_device
from host_agent.slowdown import MAX_STEP_MS, Slowdown, begin_watch, measure_slowdown, watch
from tests.unit.host_agent.fakes import START_MS, FakeClock, FakeReader

SW_POWER_CAP, IDLE = 0x4, 0x1
NS = 1_000_000


def counted(software=None, hardware=None, brake=None):
    return Reading(0, slowdown=SlowdownCounters(software, hardware, brake))


def measure(start, end, duration_ms=10_000):
    return measure_slowdown(begin_watch(start), end, duration_ms)


def test_the_longer_of_the_two_slowdowns_by_heat_counts_and_the_brake_on_its_own():
    found = measure(counted(5 * NS, 7 * NS, 0), counted(3005 * NS, 1007 * NS, 400 * NS))
    assert found == Slowdown(3000, 400, "counter")


def test_what_is_not_told_is_not_zero():
    assert measure(Reading(0), Reading(0)) == Slowdown(None, None, None)
    assert measure(counted(0, 0), counted(0, 0)) == Slowdown(0, None, "counter")
    assert measure(counted(0, 0, 0), Reading(0)) == Slowdown()


@pytest.mark.parametrize("end_ns", [0, 99 * NS, 100 * NS + 60_000 * NS])
def test_a_counter_that_was_reset_or_jumps_is_never_bridged(end_ns):
    assert measure(counted(100 * NS, None, None), counted(end_ns, None, None)) == Slowdown()


def see(*reasons, step_ms=1000):
    seen = begin_watch(Reading(0, clocks_event_reasons=reasons[0]))
    for each in reasons[1:]:
        seen = watch(seen, Reading(0, clocks_event_reasons=each), step_ms)
    return measure_slowdown(seen, Reading(0), step_ms * (len(reasons) - 1))


def test_without_counters_a_step_counts_when_both_its_ends_show_a_reason_of_ours():
    assert see(0, HW_THERMAL, SW_THERMAL, 0, HW_THERMAL, 0) == Slowdown(1000, 0, "sampled")
    assert see(HW_POWER_BRAKE, HW_POWER_BRAKE | HW_THERMAL, HW_POWER_BRAKE) == Slowdown(0, 2000, "sampled")


def test_the_boards_own_power_cap_and_idling_are_not_slowdowns():
    assert see(SW_POWER_CAP, SW_POWER_CAP | IDLE, SW_POWER_CAP) == Slowdown(0, 0, "sampled")


def test_a_step_that_nobody_watched_is_not_known():
    assert see(HW_THERMAL, None, HW_THERMAL) == Slowdown()
    assert see(HW_THERMAL, HW_THERMAL, step_ms=MAX_STEP_MS + 1) == Slowdown()


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**6))
def test_no_window_is_slowed_for_longer_than_it_was(start, end, duration_ms):
    found = measure(counted(start, 0, start), counted(end, 0, end), duration_ms)
    for each in (found.thermal_ms, found.power_brake_ms):
        assert each is None or 0 <= each <= duration_ms


def test_intervals_tell_it_and_their_sum_is_what_the_counter_gained_also_after_a_restart():
    clock = FakeClock()
    reader = FakeReader(clock, 1)
    meter = EnergyMeter(MeterState(), reader.infos)
    intervals = []

    def cut(change=None):
        readings = {"GPU-0": reader.read("GPU-0")}
        made = meter.cut(readings) if change is None else meter.change_owner(change, readings, clock.ms)
        # As the agent keeps it on its disk.
        meter.state = msgspec.msgpack.decode(msgspec.msgpack.encode(made.state), type=MeterState)
        intervals.extend(made.intervals)

    def pass_time(slowed_ms):
        clock.ms += 10_000
        counters = reader.facts.get("GPU-0", {}).get("slowdown", SlowdownCounters(0, 0, 0))
        heat = counters.hardware_thermal_ns + slowed_ms * NS
        reader.facts["GPU-0"] = {"slowdown": SlowdownCounters(0, heat, 0)}

    pass_time(0)
    cut()
    cut({"GPU-0": Owner("rnt", 1)})
    for slowed_ms in (0, 4000, 10_000, 1):
        pass_time(slowed_ms)
        cut()
    pass_time(7)
    cut({"GPU-0": None})
    told = [each for each in intervals if each.rental_id == "rnt"]
    assert told[0].thermal_slowdown_ms is msgspec.UNSET, "a healthy board costs no byte"
    slowed = told[1:]
    assert [each.thermal_slowdown_ms for each in slowed] == [4000, 10_000, 1, 7]
    assert {(each.power_brake_ms, each.slowdown_source) for each in slowed} == {(0, "counter")}


def test_state_of_an_agent_that_told_no_slowdowns_is_read():
    (older,) = msgspec.msgpack.decode(msgspec.msgpack.encode(MeterState()))[:1]
    assert older == {}
    meter = msgspec.msgpack.encode([{"GPU-0": [["rnt", 1], 4, 0, START_MS, 5]}, {}])
    assert msgspec.msgpack.decode(meter, type=MeterState).gpus["GPU-0"].next_index == 4


def test_a_simulated_gpu_can_be_slowed_and_counts_it():
    clock = FakeClock()
    device = build_device(1, 7, clock)
    (gpu_uuid,) = device.gpus
    device.answer({"op": "slow", "gpu_uuid": gpu_uuid, "thermal": True, "power_brake": False}, 1)
    clock.ms += 2000
    reading = msgspec.convert(device.answer({"op": "read", "gpu_uuid": gpu_uuid}, 1), Reading)
    assert reading.clocks_event_reasons == HW_THERMAL
    assert reading.slowdown == SlowdownCounters(0, 2000 * NS, 0)
