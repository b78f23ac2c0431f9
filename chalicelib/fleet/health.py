"""What a machine's provider and its GPUs announce, and the tables that say what follows. All pure.

Sources: NVIDIA's Xid catalogue by class (`host_agent/xid_classes.json`); AWS, "Spot Instance interruption
notices" and "Scheduled events for your instances".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

NoticeKind = Literal["spot_interruption", "rebalance_recommendation", "scheduled_event"]
#: A: information. B: the tenant's program. C: reset the GPU. D: reboot or replace the host. E: fabric.
#: F: broken hardware.
ErrorClass = Literal["A", "B", "C", "D", "E", "F"]

#: Closes the host to new leases, as every notice, and ends nothing that runs.
MERE_ADVICE: NoticeKind = "rebalance_recommendation"


@dataclass(frozen=True, slots=True)
class HostNotice:
    """``action`` is the provider's word (``terminate``, ``instance-retirement``).

    ``ends_at_ms`` is by the provider's clock, ``None`` when it names no time. ``noticed_at_ms`` is when the
    first heartbeat that said so was sent, by the queue's clock.
    """

    kind: NoticeKind
    action: str
    noticed_at_ms: int
    ends_at_ms: int | None


def choose_notice(notices: Sequence[HostNotice], before: HostNotice | None) -> HostNotice | None:
    """Return the one that ends work first, else any; the one that stood ``before`` keeps its instant."""
    if not notices:
        return None

    def rank(notice: HostNotice) -> tuple[bool, float, str]:
        ends_at_ms = float("inf") if notice.ends_at_ms is None else notice.ends_at_ms
        return notice.kind == MERE_ADVICE, ends_at_ms, notice.action

    chosen = min(notices, key=rank)
    if before is not None and _identify(before) == _identify(chosen):
        return before
    return chosen


def _identify(notice: HostNotice) -> tuple[str, str, int | None]:
    return notice.kind, notice.action, notice.ends_at_ms


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What an Xid class means for the GPU, its host, and the rental that has the GPU."""

    #: The GPU is not leased again before it was reset, rebooted or repaired.
    cordons_gpu: bool = False
    #: No GPU of the host is leased again before.
    drains_host: bool = False
    #: ``warn``: the renter is told. ``end``: the platform ends the rental, billed to the first evidence.
    #: ``end_if_several``: so, when it has several GPUs of the host; one alone does not use the fabric.
    rental: Literal["keep", "warn", "end", "end_if_several"] = "keep"
    #: A new boot of the machine mends it.
    reboot_clears: bool = False
    #: Of two errors of one GPU the graver is kept.
    gravity: int = 0


ERROR_RULES: Mapping[ErrorClass, ErrorRule] = {
    "A": ErrorRule(),
    "B": ErrorRule(rental="warn"),
    "C": ErrorRule(cordons_gpu=True, rental="end", reboot_clears=True, gravity=1),
    "E": ErrorRule(cordons_gpu=True, drains_host=True, rental="end_if_several", gravity=2),
    "D": ErrorRule(cordons_gpu=True, drains_host=True, rental="end", reboot_clears=True, gravity=3),
    "F": ErrorRule(cordons_gpu=True, rental="end", gravity=4),
}


def ends_rental(rule: ErrorRule, gpu_count: int) -> bool:
    """Say whether a rental of ``gpu_count`` GPUs, one of which has the error, is ended."""
    return rule.rental == "end" or (rule.rental == "end_if_several" and gpu_count > 1)


@dataclass(frozen=True, slots=True)
class GpuFault:
    """Why a GPU is not leased; kept when it was cleared, so that an old report does not bring it back.

    Times are by the queue's clock.
    """

    code: int
    error_class: ErrorClass
    at_ms: int
    kernel_boot_id: str
    last_sequence: int
    cleared_at_ms: int | None = None
    #: How often this error came back after it had been mended.
    repeats: int = 0

    @property
    def open(self) -> bool:
        return self.cleared_at_ms is None

    @property
    def rule(self) -> ErrorRule:
        return ERROR_RULES[self.error_class]


def correct_instant(host_ms: int, clock_offset_ms: int, sent_at_ms: int) -> int:
    """Return a host's instant by the queue's clock, by their last difference; never after the message."""
    return min(host_ms + clock_offset_ms, sent_at_ms)


#: A GPU that has to be reset again within a day is broken.
RESET_AGAIN_MS = 24 * 3600 * 1000
#: Reboots that may be spent on one error of a GPU (gpud's default).
REBOOT_BUDGET = 2


def find_fault(before: GpuFault | None, found: GpuFault) -> GpuFault | None:
    """Return the fault that a GPU has now that ``found`` was reported, or ``None`` when nothing changes.

    It does not when the class leaves the GPU alone, when it was told before, when the GPU was cleared since,
    or when what stands is as grave. An error that comes back after it was mended may be broken hardware.
    """
    if not found.rule.cordons_gpu:
        return None
    if before is None:
        return found
    if before.cleared_at_ms is None:
        return found if found.rule.gravity > before.rule.gravity else None
    told = found.kernel_boot_id == before.kernel_boot_id and found.last_sequence <= before.last_sequence
    return None if told or found.at_ms <= before.cleared_at_ms else _judge_again(before, found)


def _judge_again(before: GpuFault, found: GpuFault) -> GpuFault:
    """Return ``found`` as class F when a reset was needed twice in a day, or its reboots are spent."""
    repeats = before.repeats + 1 if before.code == found.code else 0
    found = replace(found, repeats=repeats)
    resets = found.rule.reboot_clears and before.rule.reboot_clears
    soon = found.at_ms - before.at_ms < RESET_AGAIN_MS
    if resets and (soon or repeats > REBOOT_BUDGET):
        return replace(found, error_class="F")
    return found
