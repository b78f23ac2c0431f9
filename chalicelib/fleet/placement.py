"""Which host and which of its GPUs a rental gets: pure, over what one read of the index shows.

Invariants: never more than is free, never a GPU twice; of two hosts the one with fewer free GPUs that still
fits (best fit); of two sets of GPUs the one that spans fewer link groups, then the one that leaves the
largest joined blocks. Equal ones are spread by a hash of the rental, so parallel starts seldom collide.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chalicelib.core.capacity import BillingClass
from chalicelib.core.leases import Lease

#: A host's rank in its pool's index is its free GPUs times this, plus its spread.
RANK_STEP = 2**32
#: Which hosts each class is placed on, in this order: False the shared ones, True those kept for reservations.
#: Spot takes those last: whoever redeems a reservation then has the fewest to preempt.
SUB_POOLS: dict[BillingClass, tuple[bool, ...]] = {
    "on_demand": (False,),
    "spot": (False, True),
    "reserved": (True,),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that may have room: read from an index, so it is only a hint until the transaction holds."""

    host_id: str
    region: str
    free_leases: tuple[Lease, ...]


#: Reads hosts by rank, both bounds included, lowest first, as many as a search may want at once.
ReadRanks = Callable[[int, int], list[Candidate]]


@dataclass(slots=True)
class Crowds:
    """Where the last search met a crowd. Only a hint: a wrong one costs one further read."""

    known: set[tuple[str, int]] = field(default_factory=set)


def compute_spread(text: str) -> int:
    """Return a number below `RANK_STEP`, the same for the same text and even over all texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def compute_rank(free_gpus: int, host_id: str) -> int:
    return free_gpus * RANK_STEP + compute_spread(host_id)


def search(
    read: ReadRanks, pool: str, gpu_count: int, limit: int, start: int, crowds: Crowds
) -> list[Candidate]:
    """Return up to ``limit`` hosts with at least ``gpu_count`` free, fewest first, in one read or two.

    Where more hosts have the same number free than fit a page, the page begins at ``start`` and wraps around:
    parallel searches then see different hosts. A crowd that was met before is read at ``start`` at once.
    """
    exact = (pool, gpu_count)
    further: list[Candidate] | None = None
    if exact in crowds.known:
        further = read(*_bound(gpu_count, start))[:limit]
        if len(further) == limit:
            return further
    page = read(gpu_count * RANK_STEP, RANK_STEP * RANK_STEP)[:limit]
    level = len(page[0].free_leases) if page else 0
    crowded = len(page) == limit and len(page[-1].free_leases) == level
    if not crowded or level > gpu_count:
        crowds.known.discard(exact)
        further = None
    else:
        crowds.known.add(exact)
    if not crowded:
        return page
    if further is None:
        further = read(*_bound(level, start))[:limit]
    seen = {each.host_id for each in further}
    return [*further, *(each for each in page if each.host_id not in seen)][:limit]


def _bound(free_gpus: int, start: int) -> tuple[int, int]:
    return free_gpus * RANK_STEP + start, (free_gpus + 1) * RANK_STEP - 1


def order_candidates(candidates: Sequence[Candidate], rental_id: str) -> list[Candidate]:
    """Best fit first: the host with the fewest free GPUs that still fits, equal ones spread by rental."""

    def rank(candidate: Candidate) -> tuple[int, bytes]:
        return len(candidate.free_leases), _hash(rental_id, candidate.host_id)

    return sorted(candidates, key=rank)


def choose_leases(candidate: Candidate, gpu_count: int, rental_id: str) -> tuple[Lease, ...]:
    """Return ``gpu_count`` of the candidate's free leases.

    The choice is spread by the rental's id: parallel starts on one host then mostly want different GPUs.
    """

    def rank(lease: Lease) -> bytes:
        return _hash(rental_id, lease.gpu_uuid)

    chosen = sorted(candidate.free_leases, key=rank)[:gpu_count]
    return tuple(sorted(chosen, key=lambda lease: lease.gpu_uuid))


def _hash(rental_id: str, name: str) -> bytes:
    return hashlib.sha256(f"{rental_id}:{name}".encode()).digest()
