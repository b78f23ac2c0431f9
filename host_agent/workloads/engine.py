"""What an operation needs of an engine. Engines keep nothing of ours but labels: the rest is in the order."""

from pathlib import Path
from typing import Protocol

from host_agent.workloads.operations import Running
from host_agent.workloads.runtime import Wiped, WorkloadOrder
from host_agent.workloads.supervisor import Ended


class EngineUnavailable(Exception):
    """The engine does not answer, or not now."""


class StartRefused(Exception):
    """The engine will never start this order. ``code`` is told to the renter and names nothing of theirs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Engine(Protocol):
    """Every method raises EngineUnavailable or OSError when it is to be tried again."""

    def start(self, order: WorkloadOrder, directory: Path) -> Running:
        """Start once, or find what was started. Raises StartRefused."""

    def inspect(self, order: WorkloadOrder) -> Running | Ended: ...

    def stop(self, order: WorkloadOrder, grace_seconds: float) -> Ended | None:
        """End it politely, then for sure. ``None``: it never ran."""

    def wipe(self, order: WorkloadOrder, *, keep_volume: bool, unreachable: bool) -> Wiped: ...

    def read_log(self, order: WorkloadOrder, max_bytes: int) -> bytes: ...
