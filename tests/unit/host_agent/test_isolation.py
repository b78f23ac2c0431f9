"""What engines are told: which devices, which networks, which limits. No engine is needed to know it."""

import os
import shutil
import subprocess

import msgspec
import pytest

from chalicelib.wire.v1 import VolumeSpec, WorkloadSpec
from host_agent.workloads import unit
from host_agent.workloads.container import CAPABILITIES, _parse_instant, build_devices
from host_agent.workloads.engine import EngineUnavailable, StartRefused
from host_agent.workloads.network import build_rules, name_bridge
from host_agent.workloads.runtime import WorkloadOrder
from host_agent.workloads.settings import UnitSettings
from host_agent.workloads.share import Share
from host_agent.workloads.supervisor import Ended, read_start_ticks
from host_agent.workloads.unit import UnitEngine

ORDER = WorkloadOrder(
    "rnt_1", "cmd_1", WorkloadSpec(["/bin/train", "--fast"], env={"MINE": 'a "b" $c'}), ["GPU-1"]
)


def test_gpus_are_handed_over_by_uuid_and_never_all():
    [request] = build_devices("nvidia", ["GPU-1", "MIG-2"], podman=False)["device_requests"]
    assert request["DeviceIDs"] == ["GPU-1", "MIG-2"]
    assert request["Count"] == 0
    [request] = build_devices("cdi", ["GPU-1"], podman=False)["device_requests"]
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=GPU-1"])
    assert build_devices("cdi", ["GPU-1"], podman=True) == {"devices": ["nvidia.com/gpu=GPU-1"]}
    assert build_devices("none", ["GPU-1"], podman=False) == {}


def test_no_capability_reaches_beyond_the_container():
    dangerous = {
        "SYS_ADMIN",
        "SYS_PTRACE",
        "SYS_MODULE",
        "NET_ADMIN",
        "NET_RAW",
        "MKNOD",
        "DAC_READ_SEARCH",
        "BPF",
    }
    assert dangerous.isdisjoint(CAPABILITIES)


def test_bridges_have_names_that_the_kernel_takes_and_the_rules_match():
    names = {name_bridge(f"rnt_{n}") for n in range(1000)}
    assert len(names) == 1000
    assert all(len(name) <= 15 and name.startswith("pvc-") for name in names)
    rules = build_rules(["10.0.0.0/8", "fd12::/16"])
    assert "169.254.0.0/16, 10.0.0.0/8" in rules
    assert "fd00:ec2::/32, fd12::/16" in rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T14:30:00.123456789Z", 1_795_444_200_123),
        ("2026-11-23T14:30:00Z", 1_795_444_200_000),
        ("2026-11-23T15:30:00.5+01:00", 1_795_444_200_500),
        ("2026-11-23T14:30:00.1+00:00", 1_795_444_200_100),
    ],
)
def test_instants_of_engines_are_read_in_every_form(text, expected):
    assert _parse_instant(text) == expected


class FakeSystemd:
    """Answers as systemd does; holds one unit."""

    def __init__(self) -> None:
        self.shown = {"LoadState": "not-found"}
        self.commands: list[list[str]] = []
        self.refusal = ""
        self.ignores_term = False

    def run(self, command) -> str:
        self.commands.append(list(command))
        if command[0] == "systemd-run":
            if self.refusal:
                raise EngineUnavailable(self.refusal)
            self.shown = {
                "LoadState": "loaded", "ActiveState": "active", "MainPID": str(os.getpid()),
                "ExecMainCode": "0", "ExecMainStatus": "0",
                "ExecMainStartTimestamp": "@1795444200", "ExecMainExitTimestamp": "",
            }  # fmt: skip
        elif "kill" in command and self.shown["MainPID"] != "0":
            if "--signal=SIGKILL" in command or not self.ignores_term:
                self.end("2", "9" if "--signal=SIGKILL" in command else "15")
        elif "stop" in command:
            self.shown = {"LoadState": "not-found"}
        elif command[0] == "journalctl":
            return "first\nlast\n"
        return "".join(f"{name}={value}\n" for name, value in self.shown.items())

    def end(self, code: str, status: str) -> None:
        self.shown |= {
            "MainPID": "0", "ExecMainCode": code, "ExecMainStatus": status,
            "ExecMainExitTimestamp": "@1795444260",
        }  # fmt: skip


@pytest.fixture
def systemd():
    return FakeSystemd()


@pytest.fixture
def engine(systemd, tmp_path):
    settings = UnitSettings(str(tmp_path / "volumes"), Share(1 << 30, 1500, 100), {"BASE": "1"}, scrub=False)
    return UnitEngine(settings, systemd.run, lambda _: None)


def test_a_unit_runs_once_ends_politely_and_is_gone(engine, systemd, tmp_path):
    running = engine.start(ORDER, tmp_path)
    assert (running.process.pid, running.process.start_ticks) == (os.getpid(), read_start_ticks(os.getpid()))
    engine.start(ORDER, tmp_path)
    [started] = [each for each in systemd.commands if each[0] == "systemd-run"]
    assert started[-3:] == ["--", "/bin/train", "--fast"]
    assert not any("MINE" in each for each in started), "secrets do not belong on a command line"
    assert 'MINE="a \\"b\\" \\$c"\n' in (tmp_path / "environment").read_text()
    assert engine.read_log(ORDER, 4) == b"ast\n"
    assert engine.stop(ORDER, 5) == Ended(1_795_444_260_000, exit_code=128 + 15)
    assert engine.wipe(ORDER, keep_volume=False, unreachable=False).gpu_memory == "not_supported"
    assert engine.stop(ORDER, 5) is None


def test_a_unit_that_ignores_the_polite_signal_is_killed(engine, systemd, tmp_path):
    systemd.ignores_term = True
    engine.start(ORDER, tmp_path)
    assert engine.stop(ORDER, 1).exit_code == 128 + 9


def test_a_program_that_is_not_there_is_refused_and_a_silent_systemd_is_not(engine, systemd, tmp_path):
    systemd.refusal = "systemd-run: Failed to find executable /bin/train: No such file or directory"
    with pytest.raises(StartRefused, match="command_not_found"):
        engine.start(ORDER, tmp_path)
    systemd.refusal = "systemd-run: Failed to connect to bus"
    with pytest.raises(EngineUnavailable):
        engine.start(ORDER, tmp_path)
    systemd.shown = {}
    with pytest.raises(EngineUnavailable):
        engine.inspect(ORDER)


def test_a_unit_gives_no_image_ports_or_ssh(engine, tmp_path):
    spec = msgspec.structs.replace(ORDER.spec, image="busybox")
    with pytest.raises(StartRefused, match="image_not_supported"):
        engine.start(msgspec.structs.replace(ORDER, spec=spec), tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze to judge the unit")
def test_systemd_understands_every_property(engine, tmp_path):
    """Each property is one that this systemd knows, with a value that it takes."""
    (tmp_path / "environment").write_text("")
    (tmp_path / "notice").mkdir()
    properties = engine.build_properties(ORDER, tmp_path)
    text = "\n".join(
        ["[Unit]", *(each for each in properties if each.startswith("Description=")), "[Service]"]
        + [each for each in properties if not each.startswith("Description=")]
        + ["ExecStart=/bin/true", ""]
    )
    path = tmp_path / "provocative-rnt_1.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert "rnt_1.service" not in done.stderr, done.stderr
    broken = text.replace("ProtectSystem=strict", "ProtectSystem=sometimes")
    path.write_text(broken)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert "sometimes" in done.stderr, "the check would find it"


def test_only_the_rented_gpus_nodes_are_allowed(tmp_path):
    for number, gpu_uuid in enumerate(["GPU-0", "GPU-1"]):
        directory = tmp_path / f"0000:{number}0:00.0"
        directory.mkdir()
        (directory / "information").write_text(
            f"Model: \t\t NVIDIA H100\nGPU UUID: \t {gpu_uuid}\nDevice Minor: \t {number + 3}\n"
        )
    nodes = unit.find_nodes(["GPU-1"], tmp_path)
    assert "/dev/nvidia4" in nodes
    assert "/dev/nvidia3" not in nodes
    with pytest.raises(StartRefused, match="unknown_gpu"):
        unit.find_nodes(["GPU-9"], tmp_path)
    assert unit.find_nodes(["GPU-1"], tmp_path / "absent") == []


def test_a_units_volume_is_bound_where_it_was_asked_for(engine, tmp_path, monkeypatch):
    attached = []
    mount = tmp_path / "mounted"
    mount.mkdir()
    monkeypatch.setattr(engine._volumes, "attach", lambda *asked: attached.append(asked) or mount)
    spec = msgspec.structs.replace(ORDER.spec, volume=VolumeSpec("vol_1", 64, "/data"))
    properties = engine.build_properties(msgspec.structs.replace(ORDER, spec=spec), tmp_path)
    assert f"BindPaths={mount}:/data" in properties
    assert attached == [("vol_1", 64, 0)]
