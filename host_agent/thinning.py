"""What is given up, and in which order, when the spool is full: samples, never energy, errors or leases.

Pure. A segment goes through three levels. Every frame stays, in its place and under its number, and a record
says itself what it has lost: whichever form of a record the cloud stores, its tombstone is true.
"""

from collections.abc import Sequence

import msgspec

from chalicelib.wire.telemetry import pack_telemetry, unpack_telemetry
from chalicelib.wire.v1 import GpuSample, InvalidMessage, Telemetry, Thinned
from host_agent.frames import Frame

#: Of how many sample rounds one is kept, by level. Level 1 costs nothing: only states that newer ones have
#: replaced go. Level 2 leaves a sample a minute of those taken every 10 s; at level 3 energy alone is left.
KEEP_ONE_OF = {1: 1, 2: 6, 3: None}
LAST_LEVEL = max(KEEP_ONE_OF)


def thin_frames(frames: Sequence[Frame], level: int) -> tuple[list[Frame], int]:
    """Return the frames of one segment at ``level``, and how many samples were taken out of them."""
    keep_one_of = KEEP_ONE_OF[level]
    thinned: list[Frame] = []
    taken = rounds = 0
    for frame in frames:
        record = None if frame.required or keep_one_of == 1 else _read(frame)
        packed = frame.record
        if record is not None and record.samples:
            if keep_one_of is None or rounds % keep_one_of:
                taken += len(record.samples)
                packed = pack_telemetry(_bury(record))
            rounds += 1
        thinned.append(msgspec.structs.replace(frame, record=packed, state=b"", level=level))
    if frames:
        # Nobody asks for it while the newest frame of all is there; it would serve if that one rotted.
        thinned[-1] = msgspec.structs.replace(thinned[-1], state=frames[-1].state)
    return thinned, taken


def _read(frame: Frame) -> Telemetry | None:
    """Return ``None`` for what this agent cannot read: it is kept as it is."""
    try:
        return unpack_telemetry(frame.record)
    except InvalidMessage:
        return None


def _bury(record: Telemetry) -> Telemetry:
    return msgspec.structs.replace(record, samples=[], thinned=_build_tombstone(record.samples))


def _build_tombstone(samples: Sequence[GpuSample]) -> Thinned:
    instants = [sample.sampled_at_ms for sample in samples]
    gpus = {sample.gpu_uuid for sample in samples}
    return Thinned(len(samples), len(gpus), min(instants), max(instants))
