"""What of a reading is told to the cloud."""

from collections.abc import Mapping

from chalicelib.wire.v1 import GpuSample
from host_agent.gpu import Reading


def build_samples(readings: Mapping[str, Reading]) -> list[GpuSample]:
    return [
        GpuSample(
            gpu_uuid=gpu_uuid,
            sampled_at_ms=reading.sampled_at_ms,
            energy_counter_millijoules=reading.energy_counter_millijoules,
            power_milliwatts=reading.power_milliwatts,
            utilization_percent=reading.utilization_percent,
            memory_used_mib=reading.memory_used_mib,
            temperature_celsius=reading.temperature_celsius,
        )
        for gpu_uuid, reading in readings.items()
    ]
