"""What of a reading is told to the cloud."""

from collections.abc import Mapping

from chalicelib.wire.v1 import GpuSample
from host_agent.gpu import Reading


def note_peaks(peaks: dict[str, int], readings: Mapping[str, Reading]) -> None:
    """Keep the highest utilisation of each GPU: one that works in bursts is not idle."""
    for gpu_uuid, reading in readings.items():
        if reading.utilization_percent is not None:
            peaks[gpu_uuid] = max(reading.utilization_percent, peaks.get(gpu_uuid, 0))


def build_samples(readings: Mapping[str, Reading], peaks: Mapping[str, int]) -> list[GpuSample]:
    return [
        GpuSample(
            gpu_uuid=gpu_uuid,
            sampled_at_ms=reading.sampled_at_ms,
            energy_counter_millijoules=reading.energy_counter_millijoules,
            power_milliwatts=reading.power_milliwatts,
            utilization_percent=reading.utilization_percent,
            memory_used_mib=reading.memory_used_mib,
            temperature_celsius=reading.temperature_celsius,
            utilization_peak_percent=peaks.get(gpu_uuid),
        )
        for gpu_uuid, reading in readings.items()
    ]
