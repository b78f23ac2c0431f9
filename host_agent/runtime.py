"""What the agent needs of whatever runs workloads. Every method may be repeated after a crash."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec


class WorkloadStatus(msgspec.Struct, frozen=True):
    """``absent``: never started, or wiped. ``failed``: it could not be started; ``detail`` says why."""

    state: Literal["absent", "starting", "running", "exited", "failed"]
    exit_code: int | None = None
    ended_at_ms: int | None = None
    detail: str = ""


class WorkloadRuntime(Protocol):
    def start(
        self, rental_id: str, command: Sequence[str], env: Mapping[str, str], gpu_uuids: Sequence[str]
    ) -> None:
        """Start once; a second call for the same rental changes nothing.

        Raises:
            OSError: the host cannot start anything now.
        """

    def inspect(self, rental_id: str) -> WorkloadStatus: ...

    def stop(self, rental_id: str) -> None:
        """End the workload and all that it started, politely first. Returns when nothing is left."""

    def wipe(self, rental_id: str) -> None:
        """Destroy what the workload left. Raises OSError when something remains."""
