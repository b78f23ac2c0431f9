"""Whose spot rental gives way. All pure.

The cheapest set: of all hosts on which ending some spot rentals makes enough room, the one where the least is
lost. What is lost is the price that the victims pay, and among equals the work done since they started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

#: Of one host, so that every set can be looked at: 2**12 at most.
MAX_VICTIMS_PER_HOST = 12


@dataclass(frozen=True, slots=True)
class SpotStay:
    """A spot rental on a host, as the pool's list of them has it."""

    rental_id: str
    host_id: str
    gpu_count: int
    price_micros_per_gpu_hour: int
    started_at_ms: int


def choose_victims(
    needed_gpus: int, free_gpus: Mapping[str, int], stays: Sequence[SpotStay], now_ms: int
) -> tuple[str, tuple[SpotStay, ...]] | None:
    """Return a host and the spot rentals that must end there so that ``needed_gpus`` are free together.

    ``free_gpus`` is by host, of the hosts that may be offered. ``None``: no set of victims is enough.
    """
    best: tuple[tuple[int, int, int, str], tuple[SpotStay, ...]] | None = None
    for host_id, free in sorted(free_gpus.items()):
        here = sorted(
            (stay for stay in stays if stay.host_id == host_id),
            key=lambda stay: (stay.price_micros_per_gpu_hour * stay.gpu_count, -stay.started_at_ms),
        )[:MAX_VICTIMS_PER_HOST]
        if free >= needed_gpus or free + sum(stay.gpu_count for stay in here) < needed_gpus:
            continue
        for size in range(1, len(here) + 1):
            for chosen in combinations(here, size):
                if free + sum(stay.gpu_count for stay in chosen) < needed_gpus:
                    continue
                cost = (*_weigh(chosen, now_ms), host_id)
                if best is None or cost < best[0]:
                    best = (cost, chosen)
    return None if best is None else (best[0][-1], best[1])


def _weigh(chosen: Sequence[SpotStay], now_ms: int) -> tuple[int, int, int]:
    price = sum(stay.price_micros_per_gpu_hour * stay.gpu_count for stay in chosen)
    work_ms = sum((now_ms - stay.started_at_ms) * stay.gpu_count for stay in chosen)
    return price, work_ms, len(chosen)
