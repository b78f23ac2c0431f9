"""What a renter is told of a rental: interruptions by the provider, errors of its own program, the log."""

from dataclasses import dataclass, replace
from typing import Literal

InterruptionReason = Literal["spot_interruption", "scheduled_event"]

#: GPU and code; more kinds of the tenant's own errors are not told apart.
MAX_WARNINGS = 16


@dataclass(frozen=True, slots=True)
class Interruption:
    """The host will go, or be rebooted, at ``ends_at_ms``; ``None``: no time is known."""

    reason: InterruptionReason
    notice_at_ms: int
    ends_at_ms: int | None


@dataclass(frozen=True, slots=True)
class GpuWarning:
    """An error of a GPU that the rental's own program causes, counted. ``last_at_ms`` is server time.

    ``kernel_boot_id`` and ``last_sequence`` say which kernel record was counted last.
    """

    gpu_uuid: str
    code: int
    error_class: str
    count: int
    last_at_ms: int
    kernel_boot_id: str
    last_sequence: int


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """The end of what a workload wrote, as its host last told it."""

    taken_at_ms: int
    text: str
    #: There was more before.
    truncated: bool


def count_warning(
    warnings: tuple[GpuWarning, ...], warning: GpuWarning, first_sequence: int
) -> tuple[GpuWarning, ...]:
    """Return the warnings with one more counted; what was counted before, or is older, changes nothing.

    ``first_sequence`` is the first kernel record of the errors that it counts. A report that goes on from
    one that was counted adds at most the records that lie between.
    """
    for index, before in enumerate(warnings):
        if (before.gpu_uuid, before.code) != (warning.gpu_uuid, warning.code):
            continue
        added = warning.count
        if before.kernel_boot_id == warning.kernel_boot_id:
            if warning.last_sequence <= before.last_sequence:
                return warnings
            if first_sequence <= before.last_sequence:
                added = min(added, warning.last_sequence - before.last_sequence)
        elif warning.last_at_ms <= before.last_at_ms:
            return warnings
        counted = replace(warning, count=before.count + added)
        return (*warnings[:index], counted, *warnings[index + 1 :])
    if len(warnings) == MAX_WARNINGS:
        return warnings
    return (*warnings, warning)
