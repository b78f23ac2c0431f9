"""Xid errors: classed, told at once and once, floods folded, nothing of the tenant in them."""

import json
from pathlib import Path

import msgspec
import pytest

from host_agent import xid
from host_agent.gpu import GpuInfo
from host_agent.spool import SpoolBroken
from host_agent.xid import MAX_RECORDS, REPEAT_MS, XidLog, load_classes, parse_bus_id
from tests.unit.host_agent.fakes import START_MS, FakeClock, Host

GPUS = [GpuInfo(f"GPU-{n}", f"00000000:{n + 16:02X}:00.0", "H100", 81_559) for n in range(2)]


class KernelLog:
    """A file in the form of /dev/kmsg."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "kmsg"
        self.path.write_bytes(b"")
        self.sequence = 0
        self.clock = FakeClock()

    def write(self, text: str, times: int = 1) -> None:
        with self.path.open("ab") as file:
            for _ in range(times):
                self.sequence += 1
                file.write(f"4,{self.sequence},{self.sequence * 10},-;{text}\n".encode())

    def xid(self, code: int, bus: str = "0000:10:00", times: int = 1) -> None:
        self.write(f"NVRM: Xid (PCI:{bus}): {code}, pid=4711, name=secret-job, Ch 00000010", times)

    def open(self, boot_id: str = "boot") -> XidLog:
        return XidLog(self.directory, GPUS, self.clock, path=self.path, boot_id=boot_id)


@pytest.fixture
def kernel(tmp_path):
    return KernelLog(tmp_path)


def test_f32_a_gpu_that_falls_off_the_bus_is_told_at_once(kernel):
    kernel.write("usb 1-1: new device")
    kernel.xid(79, "0000:11:00")
    (event,) = kernel.open().poll()
    assert (event.gpu_uuid, event.code, event.xid_class, event.count) == ("GPU-1", 79, "D", 1)
    assert (event.first_at_ms, event.first_sequence, event.kernel_boot_id) == (START_MS, 2, "boot")


@pytest.mark.parametrize("code", [13, 31])
def test_f33_a_storm_by_the_tenants_code_is_of_the_class_that_blames_nobody_else(kernel, code):
    kernel.xid(code, times=50)
    (event,) = kernel.open().poll()
    assert (event.xid_class, event.count) == ("B", 50)


def test_f34_a_flood_is_one_event_at_a_bounded_cost_with_first_last_and_count(kernel):
    kernel.xid(13, times=10_000)
    log = kernel.open()
    (event,) = log.poll()
    assert MAX_RECORDS <= event.count < MAX_RECORDS + 200
    assert event.first_sequence == 1
    log.confirm([event])
    kernel.xid(13, times=3)
    assert log.poll() == []
    kernel.clock.ms += REPEAT_MS
    (again,) = log.poll()
    assert (again.count, again.first_sequence, again.last_sequence) == (3, 10_001, 10_003)


def test_a_new_error_in_a_flood_does_not_wait_for_it(kernel):
    log = kernel.open()
    kernel.xid(13)
    log.confirm(log.poll())
    kernel.xid(13, times=5)
    kernel.xid(79)
    assert {event.code: event.count for event in log.poll()} == {13: 5, 79: 1}


def test_an_event_comes_until_it_is_confirmed_and_grows_meanwhile(kernel):
    log = kernel.open()
    kernel.xid(48)
    assert [event.count for event in log.poll()] == [1]
    kernel.xid(48)
    (event,) = log.poll()
    assert event.count == 2
    log.confirm([event])
    assert log.poll() == []


def test_what_was_told_is_not_told_again_after_a_restart_and_what_was_missed_is(kernel):
    kernel.xid(48)
    log = kernel.open()
    log.confirm(log.poll())
    log.close()
    kernel.xid(95)
    again = kernel.open()
    assert [event.code for event in again.poll()] == [95]
    again.close()
    # Not confirmed: the next one tells it, under the same numbers.
    assert [(event.code, event.first_sequence) for event in kernel.open().poll()] == [(95, 2)]


def test_after_a_reboot_the_kernels_numbers_begin_again(kernel):
    kernel.xid(48, times=5)
    log = kernel.open("boot-1")
    log.confirm(log.poll())
    kernel.path.write_bytes(b"")
    kernel.sequence = 0
    kernel.xid(79)
    assert [event.code for event in kernel.open("boot-2").poll()] == [79]


def test_nothing_of_the_line_but_gpu_and_number_leaves_the_host(kernel):
    kernel.xid(31)
    text = msgspec.json.encode(kernel.open().poll()).decode()
    assert "secret" not in text
    assert "4711" not in text


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: Xid (PCI:0000:77:00): 79, x",
        "NVRM: Xid (PCI:nonsense): 79",
        "NVRM: Xid (PCI:0000:10:00): x",
        "\x00",
    ],
)
def test_lines_of_other_hardware_or_none_are_passed_over(kernel, line):
    kernel.write(line)
    kernel.xid(79)
    assert [event.first_sequence for event in kernel.open().poll()] == [2]


def test_a_kernel_log_that_may_not_be_read_is_no_crash(tmp_path):
    log = XidLog(tmp_path, GPUS, FakeClock(), path=tmp_path / "none", boot_id="boot")
    assert not log.available
    assert log.poll() == []


def test_each_code_has_one_class_and_an_unknown_one_is_taken_seriously(kernel):
    classes, unknown = load_classes()
    assert set(classes.values()) == set("ABCDEF")
    assert unknown == "C"
    raw = json.loads(Path(xid.__file__).with_name("xid_classes.json").read_text())
    codes = [code for each in raw["classes"].values() for code in each["codes"]]
    assert len(codes) == len(set(codes)) > 100
    kernel.xid(999)
    assert kernel.open().poll()[0].xid_class == "C"


def test_bus_ids_of_both_forms_are_the_same():
    assert parse_bus_id("00000000:1A:00.0") == parse_bus_id("0000:1a:00") == (0, 26, 0)


def test_the_agent_spools_an_event_and_keeps_it_while_the_disk_refuses(tmp_path, kernel, monkeypatch):
    kernel.xid(79)
    host = Host(tmp_path / "host")
    host.agent._xids = kernel.open()
    with monkeypatch.context() as broken:
        broken.setattr(host.spool, "append", lambda *_, **__: (_ for _ in ()).throw(SpoolBroken("EIO")))
        host.agent.tell_xids()
    assert host.outbox.describe().depth_records == 0
    host.agent.tell_xids()
    (pending,) = host.outbox.take(10)
    assert [event.code for event in pending.record.xids] == [79]
    host.agent.tell_xids()
    assert len(host.outbox.take(10)) == 1
