"""The NVML reader through pynvml's own ctypes path: on the real library where there is one, and simulated."""

import subprocess
import sys

import pytest

from host_agent.boards import BoardReader
from host_agent.clock import SystemClock
from host_agent.gpu import GpuLost, GpuUnavailable, InstanceReading, NvLink, Reading, SlowdownCounters
from host_agent.nvml import NvmlReader
from host_agent.nvml_events import NvmlXids
from host_agent.service import choose_xids
from host_agent.slowdown import begin_watch, measure_slowdown
from host_agent.watchdog import WatchedReader
from host_agent.xid import XidLog
from tests.gpu.simulation import state
from tests.gpu.simulation.library import build_environment
from tests.unit.host_agent.fakes import FakeClock


def open_reader(visible="all"):
    return NvmlReader(SystemClock(), visible)


def test_every_gpu_is_named_by_uuid_and_read_without_guessing(reader):
    for gpu in reader.list_gpus():
        assert gpu.gpu_uuid.startswith("GPU-")
        reading = reader.read(gpu.gpu_uuid)
        assert reading.sampled_at_ms > 0
        if reading.power_milliwatts is not None and gpu.power_limit_milliwatts is not None:
            assert 0 < reading.power_milliwatts <= gpu.power_limit_milliwatts * 1.2


def test_the_energy_counter_never_falls(reader):
    for gpu in reader.list_gpus():
        first = reader.read(gpu.gpu_uuid).energy_counter_millijoules
        second = reader.read(gpu.gpu_uuid).energy_counter_millijoules
        if first is not None:
            assert second is not None
            assert second >= first


def test_the_counters_of_slowdowns_never_fall_and_gain_no_more_than_the_time(reader):
    for gpu in reader.list_gpus():
        first, second = reader.read(gpu.gpu_uuid, deep=True), reader.read(gpu.gpu_uuid, deep=True)
        promised = gpu.capabilities.calls["slowdown_counters"] == "ok"
        assert (first.slowdown is not None) == (second.slowdown is not None) == promised
        slowdown = measure_slowdown(begin_watch(first), second, second.sampled_at_ms - first.sampled_at_ms)
        assert slowdown.source == ("counter" if promised else None)


def test_what_the_capabilities_promise_is_read_and_nothing_else(reader):
    for gpu in reader.list_gpus():
        calls = gpu.capabilities.calls
        reading = reader.read(gpu.gpu_uuid)
        assert (reading.energy_counter_millijoules is not None) == (calls["energy_counter"] == "ok")
        assert (reading.power_milliwatts is not None) == (gpu.capabilities.power_source is not None)
        assert (reading.utilization_percent is not None) == (calls["utilization"] == "ok")
        assert (reading.ecc_uncorrected is not None) == (calls["ecc_uncorrected"] == "ok")


def test_every_figure_is_what_the_library_says(simulation):
    simulation.set(1, energy=123_456, power_average=650_000, power_instant=700_001, utilization_gpu=97)
    simulation.set(1, temperature=80, ecc_uncorrected=2, remap_pending=1, clocks_event_reasons=0x40)
    reader = open_reader()
    simulation.set(1, pcie_width=8, nvlinks_active=17, nvlink_errors=2, processes=3)
    simulation.set(1, software_thermal=5_000_000_000, hardware_thermal=7, power_brake=None)
    reading = reader.read(simulation.uuids[1], deep=True)
    assert reading == Reading(
        sampled_at_ms=reading.sampled_at_ms,
        monotonic_ms=reading.monotonic_ms,
        energy_counter_millijoules=123_456,
        power_milliwatts=650_000,
        utilization_percent=97,
        memory_used_mib=540,
        temperature_celsius=80,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        slowdown_margin_celsius=7,
        clocks_event_reasons=0x40,
        ecc_uncorrected=2,
        ecc_corrected=0,
        row_remap_pending=True,
        row_remap_failed=False,
        pcie_replays=0,
        pcie_link_width=8,
        pcie_max_link_width=16,
        memory_total_mib=81_559,
        nvlink=NvLink(18, 17, 2 * 3 * 17),
        process_ids=(1000, 1001, 1002),
        slowdown=SlowdownCounters(5_000_000_000, 7, None),
    )
    reader.close()


def test_none_is_not_zero(simulation):
    nothing = dict.fromkeys(state.CELLS)
    simulation.set(0, **nothing)
    reader = open_reader()
    reading = reader.read(simulation.uuids[0])
    assert reading == Reading(reading.sampled_at_ms, reading.monotonic_ms)
    capabilities = reader.list_gpus()[0].capabilities
    assert set(capabilities.calls.values()) == {"not_supported"}
    assert capabilities.power_source is None


@pytest.mark.parametrize(
    ("missing", "source", "power"),
    [
        ([], "field_average", 1),
        (["power_average"], "field_instant", 2),
        (["power_average", "power_instant"], "power_usage", 3),
    ],
)
def test_the_best_power_figure_is_taken_and_named(simulation, missing, source, power):
    simulation.set(0, power_average=1, power_instant=2, power_usage=3)
    simulation.set(0, **dict.fromkeys(missing))
    reader = open_reader()
    assert reader.list_gpus()[0].capabilities.power_source == source
    assert reader.read(simulation.uuids[0]).power_milliwatts == power


def test_a_value_that_is_gone_for_a_moment_is_unknown_and_the_others_are_read(simulation):
    reader = open_reader()
    assert reader.read(simulation.uuids[0]).utilization_percent == 0
    simulation.set(0, utilization_gpu=None)
    reading = reader.read(simulation.uuids[0])
    assert (reading.utilization_percent, reading.temperature_celsius) == (None, 29)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (state.GPU_IS_LOST, GpuLost, "gpu_lost"),
        (state.RESET_REQUIRED, GpuLost, "reset_required"),
        (state.VERSION_MISMATCH, GpuUnavailable, "driver_mismatch"),
        (999, GpuUnavailable, "nvml_error"),
    ],
)
def test_each_way_in_which_a_gpu_fails_has_its_state_and_the_others_go_on(simulation, code, kind, reason):
    reader = open_reader()
    reader.list_gpus()
    simulation.fail(0, code)
    found = WatchedReader(reader).read_round(simulation.uuids)
    assert isinstance(found[simulation.uuids[0]], kind)
    assert found[simulation.uuids[0]].reason == reason
    if code != state.VERSION_MISMATCH:
        assert isinstance(found[simulation.uuids[1]], Reading)
    simulation.fail(0, 0)
    assert isinstance(WatchedReader(reader).read_round(simulation.uuids)[simulation.uuids[0]], Reading)


class SteppingClock(SystemClock):
    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds


def test_a_driver_that_is_replaced_is_opened_again_with_patience(simulation):
    clock = SteppingClock()
    reader = NvmlReader(clock, "all")
    reader.read(simulation.uuids[0])
    simulation.fail_driver(state.VERSION_MISMATCH)
    for _ in range(3):
        with pytest.raises(GpuUnavailable):
            reader.read(simulation.uuids[0])
    simulation.fail_driver(state.SUCCESS)
    with pytest.raises(GpuUnavailable, match="waiting"):
        reader.read(simulation.uuids[0])
    clock.seconds += 6
    assert reader.read(simulation.uuids[0]).power_milliwatts == 72_000


def test_f35_a_hung_call_makes_one_gpu_unknown_and_the_others_go_on(simulation):
    reader = WatchedReader(open_reader(), limit_seconds=0.3)
    simulation.hang(0, 1000)
    for _ in range(2):
        found = reader.read_round(simulation.uuids)
        assert found[simulation.uuids[0]].reason == "nvml_hung"
        assert isinstance(found[simulation.uuids[1]], Reading)
    simulation.hang(0, 0)
    for thread in list(reader._hung.values()):
        thread.join()
    assert isinstance(reader.read_round(simulation.uuids)[simulation.uuids[0]], Reading)


def test_f35_a_changed_number_of_gpus_is_seen_and_the_gone_one_is_unknown(simulation):
    reader = open_reader()
    assert len(reader.list_gpus()) == 2
    reader.close()
    simulation.show(1)
    reader = open_reader()
    assert [gpu.gpu_uuid for gpu in reader.list_gpus()] == simulation.uuids[:1]
    with pytest.raises(GpuUnavailable):
        reader.read(simulation.uuids[1])
    simulation.show(0)
    with pytest.raises(GpuUnavailable, match="no_gpus"):
        reader.list_gpus()


def test_a_partitioned_board_is_listed_as_its_instances_and_the_other_as_itself(simulation):
    uuids = simulation.partition(0, [3, 2, 2])
    *instances, board = open_reader().list_gpus()
    assert [each.gpu_uuid for each in instances] == uuids
    assert [(each.slices, each.memory_mib) for each in instances] == [(3, 30_000), (2, 20_000), (2, 20_000)]
    assert {each.parent_uuid for each in instances} == {simulation.uuids[0]}
    assert instances[0].model.endswith("(simulated) MIG 3g.30gb")
    assert [each.mig_uuid for each in instances[0].capabilities.mig] == uuids
    assert instances[0].capabilities.calls["instance_activity"] == "ok"
    assert (board.gpu_uuid, board.parent_uuid, board.capabilities.mig) == (simulation.uuids[1], None, [])


def test_a_board_without_instances_offers_nothing_and_hides_no_other(simulation):
    simulation.partition(0, [])
    assert [gpu.gpu_uuid for gpu in open_reader().list_gpus()] == simulation.uuids[1:]


def test_what_each_instance_does_is_read_at_a_deep_look_and_the_board_at_each(simulation):
    first, second, third = simulation.partition(0, [3, 2, 2])
    simulation.work(0, 0, graphics=900, multiprocessors=400)
    simulation.work(0, 1, graphics=None, multiprocessors=250)
    reader = open_reader()
    assert reader.read(simulation.uuids[0]).instances is None
    before = reader.read(simulation.uuids[0], deep=True).instances
    assert [each.activity_permille for each in before.values()] == [None, None, None]
    reading = reader.read(simulation.uuids[0], deep=True)
    assert (reading.power_milliwatts, reading.utilization_percent) == (72_000, None)
    assert reading.instances == {
        first: InstanceReading(900, 900, 20, 30_000, ()),
        second: InstanceReading(250, None, 20, 20_000, ()),
        third: InstanceReading(0, 0, 20, 20_000, ()),
    }
    reader.close()


def test_where_the_driver_does_not_measure_instances_their_activity_is_unknown(simulation):
    simulation.set(0, gpm_support=None)
    (uuid,) = simulation.partition(0, [7])
    reader = open_reader()
    for _ in range(2):
        reading = reader.read(simulation.uuids[0], deep=True)
    assert reading.instances == {uuid: InstanceReading(None, None, 20, 70_000, ())}
    assert reader.list_gpus()[0].capabilities.calls["instance_activity"] == "not_supported"


def test_an_instance_that_is_destroyed_is_gone_and_a_new_one_is_found_in_time(simulation):
    clock = SteppingClock()
    first, second = simulation.partition(0, [3, 2])
    reader = NvmlReader(clock, "all")
    assert reader.read(simulation.uuids[0], deep=True).instances.keys() == {first, second}
    simulation.destroy(0, 1)
    assert reader.read(simulation.uuids[0], deep=True).instances.keys() == {first}
    simulation.create(0, 1, "MIG-new", 2)
    clock.seconds += 61
    found = reader.read(simulation.uuids[0], deep=True).instances
    assert found.keys() == {first, "MIG-new"}
    # Two samples of the one that stayed, one of the new one.
    assert [each.activity_permille for each in found.values()] == [0, None]


def test_an_instance_is_told_as_itself_and_never_as_the_board(simulation):
    first, second = simulation.partition(0, [3, 2])
    simulation.work(0, 0, graphics=900, multiprocessors=400)
    reader = open_reader()
    gpus = reader.list_gpus()
    rounds = BoardReader(WatchedReader(reader), gpus)
    uuids = [gpu.gpu_uuid for gpu in gpus]
    for _ in range(2):
        found = rounds.read_round(uuids, deep=True)
    assert found.keys() == {first, second, *simulation.uuids}
    assert found[simulation.uuids[0]].energy_counter_millijoules == 0
    view = found[first]
    assert (view.energy_counter_millijoules, view.power_milliwatts) == (None, None)
    assert (view.utilization_percent, view.memory_used_mib, view.temperature_celsius) == (90, 20, 29)
    simulation.destroy(0, 1)
    found = rounds.read_round(uuids, deep=True)
    assert found[second].reason == "instance_gone"
    assert isinstance(found[first], Reading)
    simulation.fail(0, state.GPU_IS_LOST)
    found = rounds.read_round(uuids)
    assert [found[uuid].reason for uuid in (first, second, simulation.uuids[0])] == ["gpu_lost"] * 3


def test_instances_are_chosen_by_name_or_with_their_board(simulation):
    first, second = simulation.partition(0, [3, 2])
    assert [gpu.gpu_uuid for gpu in open_reader(second).list_gpus()] == [second]
    for board in (simulation.uuids[0], "00000000:10:00.0"):
        assert [gpu.gpu_uuid for gpu in open_reader(board).list_gpus()] == [first, second]


@pytest.mark.parametrize("visible", ["{uuid}", "{short}", "{bus}", " {uuid} , {uuid}"])
def test_only_visible_gpus_are_managed(simulation, visible):
    names = {"uuid": simulation.uuids[1], "short": simulation.uuids[1], "bus": "00000000:11:00.0"}
    (gpu,) = open_reader(visible.format(**names)).list_gpus()
    assert gpu.gpu_uuid == simulation.uuids[1]


@pytest.mark.parametrize("visible", ["0", "GPU-none", "none", "void", "", "GPU-5111"])
def test_a_list_that_names_no_gpu_clearly_is_an_error_and_not_an_empty_host(simulation, visible):
    with pytest.raises(GpuUnavailable):
        open_reader(visible).list_gpus()


def test_xid_events_of_the_driver_are_told_and_floods_folded(simulation):
    reader, clock = open_reader(), FakeClock()
    gpus = reader.list_gpus()
    assert gpus[0].capabilities.calls["xid_events"] == "ok"
    xids = NvmlXids(reader.take_xids, "boot", clock)
    simulation.set(1, xids=3, xid_code=79)
    reader.read(simulation.uuids[0])
    assert xids.poll() == []
    reader.read(simulation.uuids[0], deep=True)
    (event,) = xids.poll()
    assert (event.gpu_uuid, event.code, event.xid_class, event.count) == (simulation.uuids[1], 79, "D", 3)
    assert (event.kernel_boot_id, event.first_sequence, event.last_sequence) == ("nvml:boot", 1, 3)
    # Told until it is durable, then folded for a minute.
    assert xids.poll() == [event]
    xids.confirm([event])
    simulation.set(1, xids=10_000)
    for _ in range(3):
        reader.read(simulation.uuids[0], deep=True)
    assert xids.poll() == []
    clock.ms += 60_000
    assert [(each.count, each.first_sequence) for each in xids.poll()] == [(300, 4)]


def test_one_source_of_xids_is_chosen_and_the_kernel_log_first(simulation, tmp_path):
    reader = open_reader()
    readable = tmp_path / "kmsg"
    readable.write_bytes(b"")
    for path, kind in ((readable, XidLog), (tmp_path / "none", NvmlXids)):
        log = XidLog(tmp_path, reader.list_gpus(), FakeClock(), path=path, boot_id="b")
        assert isinstance(choose_xids(log, reader, "boot", FakeClock()), kind)
        log.close()


def test_a_driver_without_events_says_so(simulation):
    simulation.set(0, xids=None)
    reader = open_reader()
    assert reader.list_gpus()[0].capabilities.calls["xid_events"] == "not_supported"
    assert reader.read(simulation.uuids[0], deep=True).power_milliwatts == 72_000


def test_pynvml_finds_the_library_by_its_name_as_on_a_host(simulation, tmp_path):
    code = (
        "from host_agent.nvml import NvmlReader; from host_agent.clock import SystemClock\n"
        "print(*(gpu.gpu_uuid for gpu in NvmlReader(SystemClock()).list_gpus()))"
    )
    environment = {**build_environment(tmp_path / "nvml.state"), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == simulation.uuids, done.stderr


def list_groups():
    reader = open_reader()
    groups = [gpu.link_group for gpu in reader.list_gpus()]
    reader.close()
    return groups


def test_boards_on_one_switch_are_one_link_group(simulation):
    assert list_groups() == ["nvlink-0", "nvlink-0"]


def test_bridged_boards_are_joined_and_one_without_its_bridge_is_alone(simulation):
    for index in (0, 1):
        simulation.set(index, nvlink_peer=1 - index)
    assert list_groups() == ["nvlink-0", "nvlink-0"]
    for index in (0, 1):
        simulation.set(index, nvlink_peer=15, numa_node=index)
    assert list_groups() == ["pcie-0", "pcie-1"]


def test_without_nvlink_boards_of_one_numa_node_are_joined(simulation):
    for index in (0, 1):
        simulation.set(index, nvlinks_active=0, numa_node=0)
    assert list_groups() == ["pcie-0", "pcie-0"]
    simulation.set(1, numa_node=1)
    assert list_groups() == ["pcie-0", "pcie-1"]


def test_a_driver_that_tells_no_topology_gives_no_groups(simulation):
    for index in (0, 1):
        simulation.set(index, nvlinks=None, numa_node=None)
    assert list_groups() == [None, None]
    simulation.partition(0, [1, 2])
    assert list_groups() == [None, None, None]
