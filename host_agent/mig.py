"""Splits a partitioned board's energy among its instances. Pure.

NVML tells power and energy per board only. Of each step between two looks, what the board draws when idle is
split by slices (g of 7) and the rest by activity, weighed by slices: an instance of three busy slices counts
three times one of one. Where the activity of a leased instance is not known, the rest is split by slices
among the leased ones. What is nobody's is the platform's and stands under the board's own UUID. The parts of
a window add up to the board's energy to the millijoule.

Bounds hold for any split that physics allows: an instance draws its slices' part of the idle power always,
and more only while it is active; where nothing is leased and nothing is seen to run, nothing runs.
Sources: NVIDIA MIG user guide (monitoring); Kepler, MIG power attribution; DCGM fields 1001 and 1002.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from chalicelib.wire.accuracy import BOARD_SLICES, LOOK_MS, MAX_IDLE_PERCENT
from chalicelib.wire.v1 import EnergyInterval, SplitMethod
from host_agent.gpu import GpuInfo, InstanceReading, Reading

_MS_PER_SECOND = 1000


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What one instance, or the platform, has had of the running window."""

    weight_millijoules: int = 0
    #: Slices times milliseconds.
    slice_ms: int = 0
    #: How long it can have been active; ``None``: not known.
    busy_ms: int | None = 0


class Split(msgspec.Struct, frozen=True, array_like=True):
    """How the running window of a board is split so far. The board's UUID stands for the platform."""

    parts: dict[str, Part] = {}
    #: Of the window's power integral, what has been split.
    shared_millijoules: int = 0
    shared_at_ms: int | None = None
    shared_monotonic_ms: int | None = None
    by_activity: bool = True
    #: The least power that the board was ever seen to draw.
    idle_milliwatts: int | None = None


class Partition(msgspec.Struct, frozen=True):
    """A board, the slices of the instances that this agent manages, and the board's power limit."""

    board_uuid: str
    slices: dict[str, int]
    power_limit_milliwatts: int


def list_partitions(gpus: Sequence[GpuInfo], limits_milliwatts: Mapping[str, int]) -> dict[str, Partition]:
    """Return the boards of those GPUs that are instances, by UUID."""
    slices: dict[str, dict[str, int]] = {}
    for gpu in gpus:
        if gpu.parent_uuid is not None:
            slices.setdefault(gpu.parent_uuid, {})[gpu.gpu_uuid] = gpu.slices or 1
    return {board: Partition(board, held, limits_milliwatts[board]) for board, held in slices.items()}


def begin_split(before: Split, at_ms: int, monotonic_ms: int | None) -> Split:
    """Return the split of a new window: nothing is given out, what idle costs is remembered."""
    return Split(shared_at_ms=at_ms, shared_monotonic_ms=monotonic_ms, idle_milliwatts=before.idle_milliwatts)


def learn_idle(split: Split, reading: Reading) -> Split:
    """Keep the least power seen; a zero is a sensor that does not work."""
    power, least = reading.power_milliwatts, split.idle_milliwatts
    if not power or (least is not None and least <= power):
        return split
    return msgspec.structs.replace(split, idle_milliwatts=power)


def share_step(
    split: Split,
    partition: Partition,
    leased: AbstractSet[str],
    instances: Mapping[str, InstanceReading] | None,
    energy_millijoules: int,
    duration_ms: int,
) -> Split:
    """Add one step of the board's energy. ``instances`` are those present; ``None``: nobody looked."""
    seen = dict.fromkeys(leased, InstanceReading()) if instances is None else instances
    held = {uuid: partition.slices.get(uuid, 1) for uuid in seen}
    known = all(seen[uuid].activity_permille is not None for uuid in leased & seen.keys())
    if known:
        points = {uuid: held[uuid] * (each.activity_permille or 0) for uuid, each in seen.items()}
    else:
        points = {uuid: held[uuid] for uuid in leased & seen.keys()}
    whole = sum(points.values())
    idle = energy_millijoules
    if whole:
        idle = min(idle, _idle_power(split, partition) * duration_ms // _MS_PER_SECOND)
    rest = Part(energy_millijoules, BOARD_SLICES * duration_ms, 0)
    if instances is None:
        rest = msgspec.structs.replace(rest, busy_ms=None)
    parts = dict(split.parts)
    for uuid in sorted(leased | seen.keys()):
        if uuid in leased:
            weight = idle * held.get(uuid, 0) // BOARD_SLICES
            weight += (energy_millijoules - idle) * points.get(uuid, 0) // max(1, whole)
            busy_ms = _count_busy(seen[uuid], duration_ms) if uuid in seen else 0
            part = Part(weight, held.get(uuid, 0) * duration_ms, busy_ms)
            parts[uuid] = _add(parts.get(uuid, Part()), part)
            rest = Part(rest.weight_millijoules - weight, rest.slice_ms - part.slice_ms, rest.busy_ms)
        elif seen[uuid].activity_permille is not None or uuid not in partition.slices:
            # Nobody's instance, or one that another agent lets.
            rest = _add(rest, Part(busy_ms=_count_busy(seen[uuid], duration_ms)))
    parts[partition.board_uuid] = _add(parts.get(partition.board_uuid, Part()), rest)
    return msgspec.structs.replace(
        split,
        parts=parts,
        shared_millijoules=split.shared_millijoules + energy_millijoules,
        by_activity=split.by_activity and known,
    )


def split_energy(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Return integers that add up to ``total``, in proportion to ``weights``, by the largest remainder.

    Raises:
        ZeroDivisionError: there is no weight.
    """
    whole = sum(weights.values())
    parts = {name: total * weight // whole for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: (-(total * weights[name] % whole), name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def split_board(
    board: EnergyInterval, split: Split, *, idle_most_milliwatts: int, active_most_milliwatts: int
) -> dict[str, EnergyInterval]:
    """Return the part of each instance that was leased, and under the board's UUID what is the platform's.

    ``idle_most_milliwatts`` bounds the power of the idle board, ``active_most_milliwatts`` of a busy one.
    """
    weights = {uuid: part.weight_millijoules for uuid, part in split.parts.items()}
    if not any(weights.values()):
        weights = {uuid: part.slice_ms for uuid, part in split.parts.items()}
    if not any(weights.values()):
        weights[board.gpu_uuid] = 1
    energies = split_energy(board.energy_millijoules, weights)
    least, ceiling = board.energy_min_millijoules or 0, board.energy_max_millijoules or 0
    most = dict.fromkeys(weights, ceiling)
    for uuid, part in split.parts.items():
        if part.busy_ms is not None:
            idle = idle_most_milliwatts * part.slice_ms // BOARD_SLICES
            active = active_most_milliwatts * (part.busy_ms + LOOK_MS)
            most[uuid] = min(ceiling, (idle + active) // _MS_PER_SECOND + 1)
    together = sum(most.values())
    method: SplitMethod = "activity" if split.by_activity else "slices"
    found = {}
    for uuid, energy in energies.items():
        part_of_board = msgspec.structs.replace(
            board,
            gpu_uuid=uuid,
            energy_millijoules=energy,
            energy_min_millijoules=min(energy, max(0, least - (together - most[uuid]))),
            energy_max_millijoules=max(energy, most[uuid]),
            split=method,
        )
        if uuid != board.gpu_uuid:
            # Counter and integral are the board's: they stand once, beside what nobody leased.
            part_of_board = msgspec.structs.replace(
                part_of_board,
                parent_uuid=board.gpu_uuid,
                counter_start_millijoules=None,
                counter_end_millijoules=None,
                integral_millijoules=None,
            )
        found[uuid] = part_of_board
    return found


def _idle_power(split: Split, partition: Partition) -> int:
    most = partition.power_limit_milliwatts * MAX_IDLE_PERCENT // 100
    return most if split.idle_milliwatts is None else min(most, split.idle_milliwatts)


def _count_busy(instance: InstanceReading, duration_ms: int) -> int | None:
    """Return how long it can have been active: one more thousandth for rounding."""
    busy = instance.busy_permille
    return None if busy is None else min(1000, busy + 1) * duration_ms // 1000 + 1


def _add(one: Part, other: Part) -> Part:
    known = one.busy_ms is not None and other.busy_ms is not None
    return Part(
        one.weight_millijoules + other.weight_millijoules,
        one.slice_ms + other.slice_ms,
        (one.busy_ms or 0) + (other.busy_ms or 0) if known else None,
    )
