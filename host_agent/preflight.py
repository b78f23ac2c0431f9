"""Decides whether a GPU may be let: before it is first offered, and after each wipe.

What a reading tells is judged at every deep look at a GPU that nobody has leased, so that a GPU which was
mended is offered again at once. What computes on the GPU is a command of the operator's, run once per offer.
A check that cannot be made is ``not_checked``, never ``ok``.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec

from chalicelib.wire.v1 import MAX_BOARDS_PER_HOST, MAX_CALLS_PER_GPU, GpuCapabilities, GpuStatus
from host_agent import logs
from host_agent.clock import Clock
from host_agent.gpu import GpuInfo, Reading
from host_agent.health import find_conditions

Answer = Literal["ok", "failed", "pending", "not_checked"]

#: The driver keeps some memory to itself: 540 MiB of an H100's 80 GiB, more of larger boards.
KEPT_MIB, KEPT_PERCENT = 1024, 1
#: A board that shows less than it was enrolled with has lost memory.
LEAST_TOTAL_PERCENT = 98
#: A program that has not answered by then hangs.
COMPUTE_SECONDS = 120.0
#: A GPU whose program failed is tried again this often.
RETRY_SECONDS = 600.0


class Floors(msgspec.Struct, frozen=True):
    """The oldest driver and container toolkit that work is started on; empty: any."""

    driver: str = ""
    toolkit: str = ""


NO_FLOORS = Floors()


class Fitness(msgspec.Struct, frozen=True):
    """``conditions`` name broken rules and failed checks; ``checks`` are empty for a leased GPU."""

    rentable: bool
    conditions: list[str] = []
    checks: dict[str, Answer] = {}


def check_gpu(
    info: GpuInfo, board: Reading, own: Reading, toolkit_version: str | None, floors: Floors
) -> dict[str, Answer]:
    """Judge one free GPU. ``board`` and ``own`` differ for an instance of a partitioned board."""
    used, total = own.memory_used_mib, own.memory_total_mib
    most_used = KEPT_MIB + info.memory_mib * KEPT_PERCENT // 100
    least_total = info.memory_mib * LEAST_TOTAL_PERCENT // 100
    narrow = board.pcie_max_link_width is None or board.pcie_link_width is None
    remapping = board.row_remap_pending is None or board.row_remap_failed is None
    broken = {rule.condition for rule in find_conditions(board)}
    return {
        "memory_free": "not_checked" if used is None else _say(used <= most_used),
        "memory_total": "not_checked" if total is None else _say(total >= least_total),
        # Of an earlier tenant, or of somebody who logged in: nothing may run on what is about to be let.
        "processes": "not_checked" if own.process_ids is None else _say(not own.process_ids),
        "ecc": "not_checked" if board.ecc_uncorrected is None else _say("ecc_uncorrected" not in broken),
        "row_remapping": "not_checked"
        if remapping
        else _say(not broken & {"row_remap_pending", "row_remap_failed"}),
        "pcie_width": "not_checked" if narrow else _say("pcie_width_reduced" not in broken),
        "driver": _check_version(info.capabilities.driver_version, floors.driver),
        "toolkit": _check_version(toolkit_version, floors.toolkit),
    }


class Preflight:
    """Not thread-safe: the agent's main loop alone calls it."""

    def __init__(
        self,
        gpus: Sequence[GpuInfo],
        toolkit_version: str | None = None,
        floors: Floors = NO_FLOORS,
        probe: "CommandProbe | None" = None,
    ) -> None:
        self._gpus = {gpu.gpu_uuid: gpu for gpu in gpus}
        self._toolkit_version, self._floors, self._probe = toolkit_version, floors, probe
        self._told: dict[str, Fitness] = {}

    def repeat(self, gpu_uuids: Sequence[str]) -> None:
        """Compute again before these GPUs are offered: they were wiped."""
        for gpu_uuid in gpu_uuids:
            if self._probe is not None:
                self._probe.forget(gpu_uuid)

    def judge(self, readings: Mapping[str, Reading], leased: AbstractSet[str]) -> dict[str, Fitness]:
        """Return what there is to say of each GPU that was read."""
        found = {
            uuid: self._judge(info, readings[info.board_uuid], readings[uuid], leased=uuid in leased)
            for uuid, info in self._gpus.items()
            if uuid in readings and info.board_uuid in readings
        }
        for uuid, fitness in found.items():
            before = self._told.get(uuid)
            if before is None or (before.rentable, before.conditions) != (
                fitness.rentable,
                fitness.conditions,
            ):
                logs.info(
                    "gpu_judged", gpu_uuid=uuid, rentable=fitness.rentable, conditions=fitness.conditions
                )
        self._told |= found
        return found

    def list_told(self) -> Mapping[str, Fitness]:
        return self._told

    def _judge(self, info: GpuInfo, board: Reading, own: Reading, *, leased: bool) -> Fitness:
        rules = find_conditions(board)
        conditions = [rule.condition for rule in rules]
        fit = not any(rule.unfit for rule in rules)
        if leased:
            return Fitness(fit, conditions)
        checks = check_gpu(info, board, own, self._toolkit_version, self._floors)
        running = self._probe is not None and self._probe.is_running(info.gpu_uuid)
        if running:
            # It is our own program that uses the GPU.
            checks |= {"memory_free": "pending", "processes": "pending"}
        failed = [f"preflight_{name}" for name, answer in checks.items() if answer == "failed"]
        # Not on a GPU that is in use or broken already: it would fail for that.
        if self._probe is not None:
            checks["compute"] = self._probe.ask(info.gpu_uuid) if fit and not failed else "not_checked"
        else:
            checks["compute"] = "not_checked"
        if running and checks["compute"] == "ok":
            # What it left behind is seen at the next look.
            checks["compute"] = "pending"
        late = {"failed": ["preflight_compute"], "pending": ["preflight_pending"]}.get(checks["compute"], [])
        return Fitness(fit and not failed and not late, conditions + failed + late, checks)


def judge_status(status: GpuStatus, fitness: Fitness | None, foreign: int = 0) -> GpuStatus:
    """Return a status for the heartbeat; what could not be read is not let.

    Args:
        status: how the GPU was read.
        fitness: what was judged of it, if anything.
        foreign: how many processes are on it that are not its tenant's.
    """
    if status.state != "ok" or fitness is None:
        return msgspec.structs.replace(status, rentable=False)
    conditions = [*fitness.conditions, *(["foreign_process"] if foreign else [])]
    return msgspec.structs.replace(status, rentable=fitness.rentable, conditions=conditions)


def judge_statuses(
    gpu_uuids: Iterable[str],
    statuses: Mapping[str, GpuStatus],
    fitness: Mapping[str, Fitness],
    foreign: Mapping[str, int],
) -> list[GpuStatus]:
    """Return a status of each GPU, as `judge_status` does; of one that was never read it is ``unknown``."""
    return [
        judge_status(statuses.get(uuid, GpuStatus(uuid, "unknown")), fitness.get(uuid), foreign.get(uuid, 0))
        for uuid in gpu_uuids
    ]


def list_capabilities(gpus: Sequence[GpuInfo]) -> list[GpuCapabilities]:
    """Return what is told of each board, once: the instances of one have the same."""
    found = {gpu.board_uuid: gpu.capabilities for gpu in gpus}
    return [
        GpuCapabilities(
            uuid,
            dict(sorted(each.calls.items())[:MAX_CALLS_PER_GPU]),
            each.power_source,
            each.driver_version,
        )
        for uuid, each in found.items()
        if each.calls or each.power_source
    ][:MAX_BOARDS_PER_HOST]


class CommandProbe:
    """Runs the operator's command on one GPU and does not wait for it: exit 0 means that it computes."""

    def __init__(self, command: Sequence[str], clock: Clock) -> None:
        self._command, self._clock = list(command), clock
        #: GPU -> its running command and when it began; GPU -> the last answer and when it came.
        self._running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self._answers: dict[str, tuple[Answer, float]] = {}

    def ask(self, gpu_uuid: str) -> Answer:
        """Return the answer, starting the command where there is none, or an old bad one."""
        now = self._clock.monotonic()
        if gpu_uuid in self._running:
            process, began = self._running[gpu_uuid]
            code = process.poll()
            if code is None and now - began < COMPUTE_SECONDS:
                return "pending"
            if code is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            del self._running[gpu_uuid]
            self._answers[gpu_uuid] = (_say(code == 0), now)
        answer, at = self._answers.get(gpu_uuid, ("pending", now))
        if answer == "ok" or (answer != "pending" and now - at < RETRY_SECONDS):
            return answer
        return self._start(gpu_uuid, now)

    def is_running(self, gpu_uuid: str) -> bool:
        return gpu_uuid in self._running

    def forget(self, gpu_uuid: str) -> None:
        self._answers.pop(gpu_uuid, None)

    def _start(self, gpu_uuid: str, now: float) -> Answer:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu_uuid}
        try:
            process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            logs.warn("preflight_command_missing", reason=str(error))
            self._answers[gpu_uuid] = ("not_checked", now)
            return "not_checked"
        self._running[gpu_uuid] = (process, now)
        return "pending"


def read_toolkit_version(command: str = "nvidia-ctk") -> str | None:
    """Return the version of the NVIDIA Container Toolkit, ``None`` where it is not installed."""
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    return None if match is None else match[1]


def parse_version(text: str) -> tuple[int, ...]:
    """Return ``580.65.06`` as numbers. Raises ValueError."""
    return tuple(int(part) for part in text.split("."))


def _check_version(found: str | None, floor: str) -> Answer:
    if found is None or not floor:
        return "not_checked"
    try:
        return _say(parse_version(found) >= parse_version(floor))
    except ValueError:
        return "not_checked"


def _say(good: bool) -> Answer:  # noqa: FBT001
    return "ok" if good else "failed"
