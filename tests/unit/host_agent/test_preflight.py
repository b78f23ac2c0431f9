"""A GPU is offered when everything that could be checked is well, and again as soon as it is mended."""

import sys

import msgspec
import pytest

from host_agent.clock import SystemClock
from host_agent.gpu import Capabilities, GpuInfo, InstanceReading, NvLink, Reading
from host_agent.health import RULES, find_conditions
from host_agent.preflight import CommandProbe, Floors, Preflight, check_gpu, read_toolkit_version
from host_agent.status import GpuReport, Sent, Status, render_status
from tests.unit.host_agent.fakes import FakeClock, Host, build_start, build_stop

INFO = GpuInfo("GPU-0", "0:0", "H100", 81_559, 700_000, Capabilities(driver_version="580.65.06"))
WELL = Reading(
    1,
    memory_used_mib=540,
    memory_total_mib=81_559,
    slowdown_margin_celsius=40,
    clocks_event_reasons=0,
    ecc_uncorrected=0,
    ecc_corrected=0,
    row_remap_pending=False,
    row_remap_failed=False,
    pcie_link_width=16,
    pcie_max_link_width=16,
    nvlink=NvLink(18, 18, 0),
    process_ids=(),
)
FLOORS = Floors("535.161.07", "1.17.8")


def change(**facts):
    return msgspec.structs.replace(WELL, **facts)


@pytest.mark.parametrize(
    ("facts", "conditions", "unfit"),
    [
        ({}, [], False),
        ({"row_remap_failed": True}, ["row_remap_failed"], True),
        ({"row_remap_pending": True}, ["row_remap_pending"], True),
        ({"ecc_uncorrected": 1}, ["ecc_uncorrected"], True),
        ({"ecc_corrected": 999}, [], False),
        ({"ecc_corrected": 1000}, ["ecc_corrected_many"], False),
        ({"pcie_link_width": 8}, ["pcie_width_reduced"], True),
        ({"nvlink": NvLink(18, 17)}, ["nvlink_down"], True),
        ({"nvlink": NvLink(18, 0)}, [], False),
        ({"slowdown_margin_celsius": 6}, [], False),
        ({"slowdown_margin_celsius": 5}, ["thermal_margin_low"], False),
        # Idle, application clocks, power cap: no fault of the board.
        ({"clocks_event_reasons": 0x07}, [], False),
        ({"clocks_event_reasons": 0x20}, ["thermal_slowdown"], False),
        ({"clocks_event_reasons": 0x48}, ["thermal_slowdown", "hardware_slowdown"], False),
        ({"clocks_event_reasons": 0x80}, ["power_brake"], False),
    ],
)
def test_each_rule_holds_when_it_should_and_not_before(facts, conditions, unfit):
    found = find_conditions(change(**facts))
    assert [rule.condition for rule in found] == conditions
    assert any(rule.unfit for rule in found) == unfit


def test_what_is_not_known_breaks_no_rule_and_passes_no_check():
    assert find_conditions(Reading(1)) == []
    checks = check_gpu(
        msgspec.structs.replace(INFO, capabilities=Capabilities()), Reading(1), Reading(1), None, FLOORS
    )
    assert set(checks.values()) == {"not_checked"}


def test_every_rule_says_what_it_means_and_by_whose_word():
    assert len({rule.condition for rule in RULES}) == len(RULES)
    assert all(rule.meaning and rule.source for rule in RULES)


@pytest.mark.parametrize(
    ("facts", "toolkit", "failed"),
    [
        ({}, "1.17.8", None),
        ({}, "1.18.0", None),
        ({}, "1.9.0", "toolkit"),
        ({"memory_used_mib": 5000}, None, "memory_free"),
        ({"memory_total_mib": 79_000}, None, "memory_total"),
        ({"ecc_uncorrected": 3}, None, "ecc"),
        ({"process_ids": (7,)}, None, "processes"),
        ({"row_remap_pending": True}, None, "row_remapping"),
        ({"pcie_link_width": 4}, None, "pcie_width"),
    ],
)
def test_each_check_fails_by_itself(facts, toolkit, failed):
    checks = check_gpu(INFO, change(**facts), change(**facts), toolkit, FLOORS)
    assert [name for name, answer in checks.items() if answer == "failed"] == ([failed] if failed else [])
    assert (checks["toolkit"] == "not_checked") == (toolkit is None)


def test_an_old_driver_keeps_a_gpu_from_being_offered():
    old = msgspec.structs.replace(INFO, capabilities=Capabilities(driver_version="470.57.02"))
    (fitness,) = Preflight([old], None, FLOORS).judge({"GPU-0": WELL}, set()).values()
    assert (fitness.rentable, fitness.conditions) == (False, ["preflight_driver"])


def test_a_leased_gpu_is_judged_by_its_health_alone():
    preflight = Preflight([INFO], None, FLOORS)
    busy = change(memory_used_mib=80_000)
    assert preflight.judge({"GPU-0": busy}, {"GPU-0"})["GPU-0"].rentable
    assert preflight.judge({"GPU-0": busy}, set())["GPU-0"].conditions == ["preflight_memory_free"]
    broken = change(memory_used_mib=80_000, ecc_uncorrected=1)
    assert preflight.judge({"GPU-0": broken}, {"GPU-0"})["GPU-0"].conditions == ["ecc_uncorrected"]
    assert preflight.judge({"GPU-0": WELL}, set())["GPU-0"].rentable


def test_an_instance_answers_for_its_own_memory_and_for_its_boards_errors():
    info = msgspec.structs.replace(INFO, gpu_uuid="MIG-0", parent_uuid="GPU-0", slices=3, memory_mib=40_192)
    own = Reading(1, memory_used_mib=20, memory_total_mib=40_192)
    board = change(memory_used_mib=60_000, instances={"MIG-0": InstanceReading()})
    preflight = Preflight([info])
    assert preflight.judge({"GPU-0": board, "MIG-0": own}, set())["MIG-0"].rentable
    broken = msgspec.structs.replace(board, row_remap_failed=True)
    assert not preflight.judge({"GPU-0": broken, "MIG-0": own}, set())["MIG-0"].rentable


def wait_for(probe):
    while probe.ask("GPU-0") == "pending":
        pass
    return probe.ask("GPU-0")


@pytest.mark.parametrize(("code", "answer"), [(0, "ok"), (1, "failed")])
def test_the_operators_command_decides_whether_a_gpu_computes(code, answer):
    program = f"import os, sys; sys.exit({code} if os.environ['CUDA_VISIBLE_DEVICES'] == 'GPU-0' else 2)"
    probe = CommandProbe([sys.executable, "-c", program], FakeClock())
    preflight = Preflight([INFO], probe=probe)
    first = preflight.judge({"GPU-0": WELL}, set())["GPU-0"]
    assert (first.rentable, first.conditions) == (False, ["preflight_pending"])
    assert wait_for(probe) == answer
    then = preflight.judge({"GPU-0": WELL}, set())["GPU-0"]
    assert then.rentable == (answer == "ok")
    assert then.checks["compute"] == answer
    # After a wipe it computes again before it is offered.
    preflight.repeat(["GPU-0"])
    assert not preflight.judge({"GPU-0": WELL}, set())["GPU-0"].rentable
    wait_for(probe)


def test_the_command_itself_is_no_fault_of_the_gpu_and_what_it_leaves_behind_is():
    clock = FakeClock()
    probe = CommandProbe(["sleep", "1000"], clock)
    preflight = Preflight([INFO], probe=probe)
    busy = change(memory_used_mib=20_000, process_ids=(7,))
    for reading in (WELL, busy):
        assert preflight.judge({"GPU-0": reading}, set())["GPU-0"].conditions == ["preflight_pending"]
    clock.ms += 121_000
    assert preflight.judge({"GPU-0": busy}, set())["GPU-0"].conditions == ["preflight_compute"]
    left = ["preflight_memory_free", "preflight_processes"]
    assert preflight.judge({"GPU-0": busy}, set())["GPU-0"].conditions == left


def test_a_gpu_is_looked_at_again_after_its_command_before_it_is_offered():
    probe = CommandProbe(["true"], FakeClock())
    preflight = Preflight([INFO], probe=probe)
    preflight.judge({"GPU-0": WELL}, set())
    probe._running["GPU-0"][0].wait()
    assert not preflight.judge({"GPU-0": change(process_ids=(7,))}, set())["GPU-0"].rentable
    assert not preflight.judge({"GPU-0": change(process_ids=(7,))}, set())["GPU-0"].rentable
    assert preflight.judge({"GPU-0": WELL}, set())["GPU-0"].rentable


def test_a_command_that_hangs_is_ended_and_one_that_is_missing_says_so():
    clock = FakeClock()
    probe = CommandProbe(["sleep", "1000"], clock)
    assert probe.ask("GPU-0") == "pending"
    (process, _) = probe._running["GPU-0"]
    clock.ms += 121_000
    assert probe.ask("GPU-0") == "failed"
    assert process.returncode is not None
    clock.ms += 601_000
    assert probe.ask("GPU-0") == "pending"
    clock.ms += 121_000
    assert probe.ask("GPU-0") == "failed"
    assert CommandProbe(["/nowhere/program"], clock).ask("GPU-0") == "not_checked"


def test_without_a_command_computing_is_not_checked_and_never_ok():
    assert Preflight([INFO]).judge({"GPU-0": WELL}, set())["GPU-0"].checks["compute"] == "not_checked"


@pytest.mark.parametrize(
    ("text", "version"),
    [("NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80", "1.17.8"), ("something else", None)],
)
def test_the_toolkits_version_is_read_from_its_own_words(tmp_path, text, version):
    tool = tmp_path / "nvidia-ctk"
    tool.write_text(f"#!/bin/sh\necho '{text}'\n")
    tool.chmod(0o755)
    assert read_toolkit_version(str(tool)) == version
    assert read_toolkit_version(str(tmp_path / "none")) is None


def test_the_heartbeat_keeps_a_bad_gpu_from_new_work_until_it_is_well(tmp_path):
    host = Host(tmp_path)

    def beat():
        host.agent.beat()
        return {gpu.gpu_uuid: (gpu.rentable, gpu.conditions) for gpu in host.heartbeats.take()[1].gpus}

    assert beat() == {"GPU-0": (True, []), "GPU-1": (True, [])}
    host.reader.facts = {"GPU-0": {"memory_used_mib": 70_000}, "GPU-1": {"row_remap_pending": True}}
    assert beat() == {"GPU-0": (False, ["preflight_memory_free"]), "GPU-1": (False, ["row_remap_pending"])}
    # Its own renter may use the memory.
    host.agent.accept(build_start())
    host.agent.work()
    assert beat()["GPU-0"] == (True, [])
    host.agent.accept(build_stop())
    host.agent.work()
    assert beat()["GPU-0"] == (False, ["preflight_memory_free"])
    host.reader.facts = {}
    host.reader.lost = {"GPU-1"}
    assert beat() == {"GPU-0": (True, []), "GPU-1": (False, [])}


def test_what_drivers_answer_is_told_once_per_start_of_the_agent(tmp_path):
    host = Host(tmp_path)
    capabilities = Capabilities({"energy_counter": "ok", "nvlink": "not_supported"}, "field_average")
    host.reader.infos = [
        msgspec.structs.replace(info, capabilities=capabilities) for info in host.reader.infos
    ]
    for _ in range(2):
        host.restart()
        host.agent.sample()
        host.agent.sample()
    told = [pending.record.capabilities for pending in host.outbox.take(100)]
    assert [[each.gpu_uuid for each in each_record] for each_record in told] == [["GPU-0", "GPU-1"], []] * 2
    assert told[0][0].calls == {"energy_counter": "ok", "nvlink": "not_supported"}


def test_status_says_why_a_gpu_is_not_offered(tmp_path):
    host = Host(tmp_path)
    host.reader.facts = {"GPU-0": {"row_remap_pending": True}}
    host.agent.beat()
    looks, fitness = host.agent.list_looks(), host.agent.list_fitness()
    reports = [
        GpuReport(uuid, "0:0", "H100", *looks[uuid], capabilities=Capabilities(), fitness=fitness[uuid])
        for uuid in ("GPU-0", "GPU-1")
    ]
    now_ms = SystemClock().now_ms()
    status = Status(now_ms, 1, "0.1.0", "hst", "boot", host.outbox.describe(), Sent(), {}, reports)
    text = render_status(status, now_ms, running=True)
    assert "NOT OFFERED: row_remap_pending" in text
    assert text.count("OFFERED") == 1
