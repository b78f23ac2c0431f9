"""From GPUs that are rented to boards that are read: an instance of a partitioned board has no sensors."""

from collections.abc import Sequence

import msgspec

from host_agent.gpu import GpuError, GpuInfo, GpuLost, InstanceReading, NvLink, Reading, Round, RoundReader


def list_boards(gpus: Sequence[GpuInfo]) -> list[GpuInfo]:
    """Return the boards of those GPUs that are instances. Their whole memory is not known."""
    return list(
        {
            gpu.parent_uuid: msgspec.structs.replace(
                gpu,
                gpu_uuid=gpu.parent_uuid,
                model=gpu.model.partition(" MIG ")[0],
                memory_mib=0,
                parent_uuid=None,
                slices=None,
            )
            for gpu in gpus
            if gpu.parent_uuid is not None
        }.values()
    )


class BoardReader:
    """Reads each board once and tells of each instance what is its own. Not thread-safe."""

    def __init__(self, reader: RoundReader, gpus: Sequence[GpuInfo]) -> None:
        self._reader = reader
        self._boards = {gpu.gpu_uuid: gpu.board_uuid for gpu in gpus}
        #: What the last deep look found, by board.
        self._instances: dict[str, dict[str, InstanceReading]] = {}
        self._nvlink: dict[str, NvLink | None] = {}

    def read_round(self, gpu_uuids: Sequence[str], *, deep: bool = False) -> Round:
        """Return a reading or an error for each GPU, and for the board of each instance."""
        boards = list(dict.fromkeys(self._boards.get(uuid, uuid) for uuid in gpu_uuids))
        found: dict[str, Reading | GpuError] = dict(self._reader.read_round(boards, deep=deep))
        for board in boards:
            reading = found[board]
            if not isinstance(reading, Reading):
                continue
            if reading.instances is not None:
                self._instances[board] = reading.instances
            if deep:
                self._nvlink[board] = reading.nvlink
            else:
                found[board] = msgspec.structs.replace(reading, nvlink=self._nvlink.get(board))
        for uuid in gpu_uuids:
            board = self._boards.get(uuid, uuid)
            if uuid not in found:
                found[uuid] = self._view(uuid, board, found[board])
        return found

    def _view(self, uuid: str, board: str, reading: Reading | GpuError) -> Reading | GpuError:
        """Power and energy stay with the board: repeated on each instance they would be counted twice."""
        if isinstance(reading, GpuError):
            return reading
        instances = self._instances.get(board)
        if instances is not None and uuid not in instances:
            return GpuLost("instance_gone", f"{board} was partitioned anew")
        instance = InstanceReading() if instances is None else instances[uuid]
        activity = instance.activity_permille
        return Reading(
            reading.sampled_at_ms,
            reading.monotonic_ms,
            utilization_percent=None if activity is None else activity // 10,
            memory_used_mib=instance.memory_used_mib,
            memory_total_mib=instance.memory_total_mib,
            process_ids=instance.process_ids,
            temperature_celsius=reading.temperature_celsius,
        )
