"""Bodies of the energy of a rental's GPUs."""

from collections.abc import Sequence

from chalicelib.carbon.service import GpuHour
from chalicelib.runtime.bodies import ResponseBody


class GpuHourBody(ResponseBody):
    #: ``2026-11-30T09``, UTC.
    hour: str
    gpu_uuid: str
    #: Of the lease: a GPU that comes back to the rental has another.
    epoch: int
    energy_millijoules: int
    #: Of it, what is no difference of a counter.
    estimated_millijoules: int
    intervals: int


class GpuHoursBody(ResponseBody):
    rental_id: str
    #: ``2026-11-30``, UTC.
    day: str
    energy_millijoules: int
    items: list[GpuHourBody]


def render_gpu_hours(rental_id: str, day: str, hours: Sequence[GpuHour]) -> GpuHoursBody:
    return GpuHoursBody(
        rental_id=rental_id,
        day=day,
        energy_millijoules=sum(each.energy_millijoules for each in hours),
        items=[
            GpuHourBody(
                hour=each.hour,
                gpu_uuid=each.gpu_uuid,
                epoch=each.epoch,
                energy_millijoules=each.energy_millijoules,
                estimated_millijoules=each.estimated_millijoules,
                intervals=each.intervals,
            )
            for each in hours
        ],
    )
