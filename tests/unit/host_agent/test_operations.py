"""Operations on an engine may fail, hang or be cut short, and no two deal with one workload at once."""

import msgspec
import pytest

from chalicelib.wire.v1 import PublishedPort, WorkloadSpec
from host_agent.workloads.notice import NoticeBoard
from host_agent.workloads.operations import (
    ENDED,
    LIMIT_SECONDS,
    LOG,
    OPERATION_LOG,
    STARTED,
    STOPPED,
    WIPED,
    OperatedRuntime,
    Running,
)
from host_agent.workloads.runtime import Wiped, WorkloadOrder
from host_agent.workloads.share import Share, divide_host
from host_agent.workloads.supervisor import Ended, Started, read_start_ticks
from tests.unit.host_agent.fakes import START_MS, FakeClock

KEEP = {"keep_volume": True, "unreachable": False}
DESTROY = {"keep_volume": False, "unreachable": False}
ORDER = WorkloadOrder("rnt_1", "cmd_1", WorkloadSpec(["x"], image="i"), ["GPU-0"])


class FakeOperation:
    """An operation that ends when the test says so."""

    def __init__(self, directory, action, arguments) -> None:
        self.directory, self.action, self.arguments = directory, action, arguments
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = -15

    def kill(self) -> None:
        self.code = -9

    def end(self, name: str = "", content: msgspec.Struct | bytes = b"{}", code: int = 0) -> None:
        if name:
            data = content if isinstance(content, bytes) else msgspec.json.encode(content)
            (self.directory / name).write_bytes(data)
        self.code = code


class Bench:
    def __init__(self, tmp_path) -> None:
        self.root, self.clock, self.launched = tmp_path, FakeClock(), []
        self.open()

    def open(self) -> None:
        self.runtime = OperatedRuntime(
            self.root, Share(1, 1, 1), self.clock, NoticeBoard(), launch=self._launch, draw=lambda: 0.5
        )

    def _launch(self, directory, action, arguments) -> FakeOperation:
        self.launched.append(FakeOperation(directory, action, arguments))
        return self.launched[-1]

    @property
    def actions(self) -> list[str]:
        return [each.action for each in self.launched]

    def run(self, pid: int, ticks: int) -> None:
        self.runtime.start(ORDER)
        self.launched[-1].end(
            STARTED, Running(Started(pid, ticks, START_MS), [PublishedPort(80, "tcp", "a", 1)])
        )
        self.clock.ms += 1000


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.runtime._notices.close(tmp_path / "rnt_1" / "notice")


def alive() -> tuple[int, int]:
    return 1, read_start_ticks(1)


def test_a_workload_that_runs_costs_no_operation(bench):
    bench.run(*alive())
    for _ in range(50):
        status = bench.runtime.inspect("rnt_1")
    assert status.state == "running"
    assert [each.host_port for each in status.ports] == [1]
    assert bench.actions == ["start"]


def test_a_start_that_fails_is_tried_again_with_pauses(bench):
    bench.runtime.start(ORDER)
    for _ in range(3):
        (bench.root / "rnt_1" / OPERATION_LOG).write_text("EngineUnavailable: away\n")
        bench.launched[-1].end(code=75)
        before = len(bench.launched)
        assert bench.runtime.inspect("rnt_1").state == "starting"
        assert len(bench.launched) == before, "not at once"
        bench.clock.ms += 120_000
        bench.runtime.inspect("rnt_1")
        assert len(bench.launched) == before + 1
    assert set(bench.actions) == {"start"}


def test_one_operation_at_a_time_and_a_hung_one_is_killed(bench):
    bench.runtime.start(ORDER)
    for _ in range(10):
        bench.runtime.inspect("rnt_1")
    assert bench.actions == ["start"]
    bench.clock.ms += int(LIMIT_SECONDS["start"] * 1000)
    bench.runtime.inspect("rnt_1")
    assert bench.launched[0].code == -9


def test_a_stop_cuts_a_start_short_and_comes_after_it(bench):
    bench.runtime.start(ORDER)
    assert not bench.runtime.stop("rnt_1", 10)
    assert bench.launched[0].code == -15
    assert not bench.runtime.stop("rnt_1", 10)
    assert bench.actions == ["start", "stop"]
    assert bench.launched[1].arguments == ["10"]
    bench.launched[1].end(STOPPED)
    assert bench.runtime.stop("rnt_1", 10)


def test_what_was_stopped_before_it_ran_is_not_started_by_looking_at_it(bench):
    bench.runtime.start(ORDER)
    bench.runtime.stop("rnt_1", 10)
    bench.runtime.stop("rnt_1", 10)
    bench.launched[-1].end(STOPPED)
    assert bench.runtime.inspect("rnt_1").state == "exited"
    assert bench.actions == ["start", "stop"]


def test_what_ended_is_asked_of_the_engine_once_the_process_is_gone(bench):
    bench.run(1, 12345)
    assert bench.runtime.inspect("rnt_1").state == "running", "until the engine says how it ended"
    assert bench.actions == ["start", "inspect"]
    bench.launched[-1].end(ENDED, Ended(START_MS + 700, exit_code=3))
    status = bench.runtime.inspect("rnt_1")
    assert (status.state, status.exit_code, status.ended_at_ms) == ("exited", 3, START_MS + 700)


def test_an_engine_that_cannot_say_how_it_ended_is_asked_again_and_nothing_is_made_up(bench):
    bench.run(1, 12345)
    bench.runtime.inspect("rnt_1")
    bench.launched[-1].end(code=75)
    bench.clock.ms += 120_000
    assert bench.runtime.inspect("rnt_1").state == "running"
    bench.clock.ms += 120_000
    bench.runtime.inspect("rnt_1")
    assert bench.actions == ["start", "inspect", "inspect"]


def test_a_wipe_is_over_only_when_its_result_is_there_and_then_nothing_is_left(bench):
    bench.run(*alive())
    (bench.root / "rnt_1" / STOPPED).write_bytes(b"{}")
    assert bench.runtime.wipe("rnt_1", **KEEP) is None
    assert bench.launched[-1].arguments == ["keep_volume"]
    bench.launched[-1].end(code=75)
    assert bench.runtime.wipe("rnt_1", **KEEP) is None, "a failed wipe is no wipe"
    bench.clock.ms += 120_000
    bench.runtime.wipe("rnt_1", **KEEP)
    bench.launched[-1].end(WIPED, Wiped("verified", volume_kept=True))
    assert bench.runtime.wipe("rnt_1", **KEEP) == Wiped("verified", volume_kept=True)
    assert [each.name for each in bench.root.iterdir()] == ["settings.json"]
    assert bench.runtime.inspect("rnt_1").state == "absent"
    # Said once more after a crash: there is nothing, and nothing is claimed of the GPUs.
    assert bench.runtime.wipe("rnt_1", **KEEP) == Wiped("not_supported")


def test_an_operation_is_told_that_a_gpu_cannot_be_reached(bench):
    bench.run(*alive())
    assert bench.runtime.wipe("rnt_1", keep_volume=False, unreachable=True) is None
    assert bench.launched[-1].arguments == ["unreachable"]


def test_the_next_agent_goes_on_where_the_last_one_was(bench):
    bench.run(*alive())
    bench.runtime._notices.close(bench.root / "rnt_1" / "notice")
    bench.open()
    bench.runtime.start(ORDER)
    assert bench.runtime.inspect("rnt_1").state == "running"
    assert bench.actions == ["start"]


def test_a_log_is_fetched_when_asked_for_and_not_kept(bench):
    assert bench.runtime.read_log("rnt_1", 100) == b"", "nothing runs"
    bench.run(*alive())
    assert bench.runtime.read_log("rnt_1", 100) is None
    bench.launched[-1].end(LOG, b"hello")
    assert bench.runtime.read_log("rnt_1", 100) == b"hello"
    bench.clock.ms += 2000
    assert bench.runtime.read_log("rnt_1", 100) is None, "asked for anew"


def test_a_share_is_the_hosts_divided_by_its_gpus_less_a_reserve():
    share = divide_host(memory_bytes=2_000 * 2**30, cpus=192, gpus=8)
    assert share.multiply(8).memory_bytes <= 1_900 * 2**30
    assert share.multiply(8).cpu_millis == 182_400
    assert share.multiply(2).cpu_millis == 2 * share.cpu_millis
    with pytest.raises(ValueError, match="without GPUs"):
        divide_host(1, 1, 0)
