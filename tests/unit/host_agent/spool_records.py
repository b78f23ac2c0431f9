"""Records as an agent of eight GPUs makes them, with the noise of real sensors: they compress as badly."""

import random
import uuid

import msgspec

from chalicelib.wire.telemetry import pack_telemetry, unpack_telemetry
from chalicelib.wire.v1 import Telemetry, XidEvent
from host_agent.agent import build_samples
from host_agent.frames import Frame
from host_agent.gpu import GpuInfo, Reading
from host_agent.metering import EnergyMeter, MeterState, Owner

START_MS = 1_800_000_000_000
RENTAL = f"rnt_{uuid.UUID(int=random.Random(0).getrandbits(128)).hex[:26]}"


class NoisyHost:
    """Eight GPUs, half of them rented, and the meter that follows them."""

    def __init__(self, seed: int, gpus: int = 8) -> None:
        self._rng = random.Random(seed)
        ids = [f"GPU-{uuid.UUID(int=self._rng.getrandbits(128))}" for _ in range(gpus)]
        infos = [
            GpuInfo(each, f"00000000:{n:02X}:00.0", "H100", 81_559, 700_000) for n, each in enumerate(ids)
        ]
        self.now_ms = START_MS
        self.counters = {each: self._rng.randrange(10**11, 10**12) for each in ids}
        self.rented = ids[: gpus // 2]
        self.meter = EnergyMeter(MeterState(), infos)
        first = self.read()
        owners = {each: Owner(RENTAL, 3) for each in self.rented}
        self.meter.state = self.meter.change_owner(owners, first, self.now_ms).state
        self.first_counters = dict(self.counters)

    def read(self) -> dict[str, Reading]:
        readings = {}
        for gpu_uuid in self.counters:
            at_ms = self.now_ms + self._rng.randrange(30)
            readings[gpu_uuid] = Reading(
                at_ms,
                self.now_ms,
                self.counters[gpu_uuid],
                self._rng.randrange(400_000, 700_000),
                self._rng.randrange(60, 101),
                70_000 + self._rng.randrange(500),
                self._rng.randrange(58, 71),
            )
        return readings

    def advance(self, seconds: int = 10) -> tuple[Telemetry, MeterState]:
        """Return the record of the next round; the meter goes on only with `commit`."""
        self.now_ms += seconds * 1000
        for gpu_uuid in self.counters:
            self.counters[gpu_uuid] += self._rng.randrange(400_000, 700_000) * seconds
        readings = self.read()
        cut = self.meter.cut(readings)
        return Telemetry(build_samples(readings, {}), cut.intervals), cut.state

    def commit(self, state: MeterState) -> None:
        self.meter.state = state


def build_frame(seq: int, record: Telemetry, state: bytes = b"state", *, required: bool = False) -> Frame:
    return Frame("boot", seq, pack_telemetry(record), state, required)


def list_frames(count: int, seed: int = 1, gpus: int = 8) -> list[Frame]:
    """Frames of ``count`` rounds, each with its meter's state."""
    host, frames = NoisyHost(seed, gpus), []
    for seq in range(count):
        record, state = host.advance()
        host.commit(state)
        frames.append(build_frame(seq, record, msgspec.msgpack.encode(state)))
    return frames


def build_xid_record(gpu_uuid: str = "GPU-0") -> Telemetry:
    return Telemetry([], [], [XidEvent(gpu_uuid, 79, "F", 1, START_MS, START_MS, "kernel", 1, 1)])


def check_kept(original: Frame, found: Frame) -> int:
    """Check that ``found`` is ``original`` or its thinned form; return how many samples it has lost."""
    assert (found.boot_id, found.seq, found.required) == (original.boot_id, original.seq, original.required)
    before, after = unpack_telemetry(original.record), unpack_telemetry(found.record)
    assert after.intervals == before.intervals
    assert after.xids == before.xids
    if after.thinned is None:
        assert after.samples == before.samples
        return 0
    assert not original.required
    assert after.samples == []
    instants = [sample.sampled_at_ms for sample in before.samples]
    told = after.thinned
    assert (told.samples, told.gpus) == (len(before.samples), len({each.gpu_uuid for each in before.samples}))
    assert (told.first_at_ms, told.last_at_ms) == (min(instants), max(instants))
    return told.samples
