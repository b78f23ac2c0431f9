"""Which host and which of its GPUs a rental gets: pure, over what one read of the index shows.

Invariants: never more than is free, never a GPU twice; of two hosts the one with fewer free GPUs that still
fits (best fit); of two sets of GPUs the one that spans fewer link groups, then the one that leaves the
largest joined blocks. Equal ones are spread by a hash of the rental, so parallel starts seldom collide.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.capacity import BillingClass
from chalicelib.core.leases import Lease

#: A host's rank in its pool's index is its free GPUs times this, plus its spread.
RANK_STEP = 2**32
#: Which hosts each class is searched for on, in this order: shared (False), kept for reservations (True).
#: Spot takes those last: whoever redeems a reservation then has the fewest to preempt. Who redeems one goes
#: to its hosts by name: a search could find GPUs that are promised to another.
SUB_POOLS: dict[BillingClass, tuple[bool, ...]] = {
    "on_demand": (False,),
    "spot": (False, True),
    "reserved": (),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that may have room: read from an index, so it is only a hint until the transaction holds."""

    host_id: str
    region: str
    free_leases: tuple[Lease, ...]
    #: The link group of each GPU, where groups are known; GPUs of one group reach each other fast.
    link_groups: Mapping[str, int] = field(default_factory=dict)
    #: See `fleet.model.Host`.
    fabric_id: str | None = None
    reservable: bool = False
    #: So many are lent to nobody until then: a reservation begins.
    kept_gpus: int = 0
    kept_until_ms: int = 0

    def count_lent(self, now_ms: int) -> int:
        """Return how many of the free GPUs spot may have."""
        return len(self.free_leases) - (self.kept_gpus if now_ms < self.kept_until_ms else 0)

    def name_block(self, gpu_uuid: str) -> str:
        """A GPU without a group is alone, unless no GPU has one: then nothing speaks against joining all."""
        if not self.link_groups:
            return ""
        group = self.link_groups.get(gpu_uuid)
        return gpu_uuid if group is None else str(group)


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


def order_candidates(candidates: Sequence[Candidate], rental_id: str, gpu_count: int = 1) -> list[Candidate]:
    """Best fit first: the fewest free GPUs that still fit; of equal ones those that join what is wanted.

    What is equal in this too is spread by rental.
    """

    def rank(candidate: Candidate) -> tuple[int, int, bytes]:
        spanned = _count_spanned(candidate, gpu_count)
        return len(candidate.free_leases), spanned, _hash(rental_id, candidate.host_id)

    return sorted(candidates, key=rank)


def choose_leases(candidate: Candidate, gpu_count: int, rental_id: str) -> tuple[Lease, ...]:
    """Return ``gpu_count`` of the candidate's free leases, or all when there are fewer.

    They span as few link groups as can be. Of the choices that do, this one leaves the largest joined block,
    then the second largest, and so on. Equal groups and GPUs are spread by the rental's id: parallel starts
    on one host then mostly want different GPUs.
    """
    groups = _list_blocks(candidate, rental_id)
    left = gpu_count
    to_span = _count_needed([len(group) for group in groups], gpu_count)
    chosen: list[Lease] = []
    for index, group in enumerate(groups):
        # The largest block stays whole wherever smaller ones, no more of them, are enough.
        smaller = sum(len(each) for each in groups[index + 1 : index + 1 + to_span])
        if to_span == 0 or smaller >= left:
            continue
        # What is left over stays in the last group: it is smaller than any that is taken from.
        taken = group if to_span > 1 else group[:left]
        chosen += taken
        left -= len(taken)
        to_span -= 1
    return tuple(sorted(chosen, key=lambda lease: lease.gpu_uuid))


def list_clusters(
    candidates: Sequence[Candidate], gpu_count: int, node_count: int, rental_id: str, limit: int
) -> list[tuple[Candidate, ...]]:
    """Return choices of ``node_count`` hosts of one fabric with ``gpu_count`` free on each, best first.

    Of the fabrics that have enough, the one with the fewest such hosts to spare comes first; in it the
    tightest fits. After the best of each fabric come its others: hosts to spare in the place of some of the
    best, so that one that cannot be had does not cost the whole fabric. A host that says no fabric is joined
    to nothing, and serves a cluster of one.
    """
    fitting = [each for each in candidates if len(each.free_leases) >= gpu_count]
    if node_count == 1:
        return [(each,) for each in order_candidates(fitting, rental_id, gpu_count)[:limit]]
    fabrics: dict[str, dict[str, Candidate]] = {}
    for each in fitting:
        if each.fabric_id is not None:
            fabrics.setdefault(each.fabric_id, {})[each.host_id] = each
    enough = [name for name, hosts in fabrics.items() if len(hosts) >= node_count]
    enough.sort(key=lambda name: (len(fabrics[name]), _hash(rental_id, name)))
    ordered = [order_candidates(list(fabrics[name].values()), rental_id, gpu_count) for name in enough]
    choices = [list_choices(hosts, node_count) for hosts in ordered]
    best = [each[0] for each in choices]
    return [*best, *(other for each in choices for other in each[1:])][:limit]


def list_choices(hosts: Sequence[Candidate], node_count: int) -> list[tuple[Candidate, ...]]:
    """Return the first ``node_count`` hosts, and choices that between them do without each of those.

    Nothing when there are fewer, and nothing but the first when none is to spare.
    """
    spare = hosts[node_count : 2 * node_count]
    swapped = [
        (*hosts[:first], *hosts[first + len(spare) : node_count], *spare[: node_count - first])
        for first in range(0, node_count if spare else 0, len(spare) or 1)
    ]
    return [tuple(hosts[:node_count]), *swapped] if len(hosts) >= node_count else []


def pack_groups(gpus: Sequence[tuple[str, str | None]]) -> list[list[str]]:
    """Return the link groups of a host's (GPU, group), as its item keeps them: lists of short names of GPUs.

    Nothing where there is nothing to choose: all GPUs in one group, or no group known. Short names because
    every change of the host is paid by the kilobyte; two GPUs with one name would only be taken as joined.
    """
    groups: dict[str, list[str]] = {}
    for gpu_uuid, group in gpus:
        if group is not None:
            groups.setdefault(group, []).append(_shorten(gpu_uuid))
    alone = any(group is None for _, group in gpus)
    return list(groups.values()) if len(groups) > 1 or (groups and alone) else []


def unpack_groups(packed: Sequence[Sequence[str]], leases: Sequence[Lease]) -> dict[str, int]:
    """Return the number of the group of each GPU that has one, see `pack_groups`."""
    numbers = {name: number for number, names in enumerate(packed) for name in names}
    short = {lease.gpu_uuid: _shorten(lease.gpu_uuid) for lease in leases}
    return {gpu_uuid: numbers[name] for gpu_uuid, name in short.items() if name in numbers}


def _shorten(gpu_uuid: str) -> str:
    return f"{compute_spread(gpu_uuid):08x}"


def _list_blocks(candidate: Candidate, rental_id: str) -> list[list[Lease]]:
    """Return the free GPUs that are joined, largest block first; equal ones as the rental's hash has it."""
    blocks: dict[str, list[Lease]] = {}
    for lease in sorted(candidate.free_leases, key=lambda each: _hash(rental_id, each.gpu_uuid)):
        blocks.setdefault(candidate.name_block(lease.gpu_uuid), []).append(lease)
    # A block's first GPU stands for it: they were sorted by hash, and so are equal blocks.
    return sorted(blocks.values(), key=lambda block: -len(block))


def _count_spanned(candidate: Candidate, gpu_count: int) -> int:
    sizes = Counter(candidate.name_block(lease.gpu_uuid) for lease in candidate.free_leases)
    return _count_needed(sorted(sizes.values(), reverse=True), gpu_count)


def _count_needed(sizes: Sequence[int], gpu_count: int) -> int:
    """Return how many blocks, largest first, it takes to have ``gpu_count``; all, if that is too few."""
    total = 0
    for needed, size in enumerate(sizes):
        if total >= gpu_count:
            return needed
        total += size
    return len(sizes)


def _hash(rental_id: str, name: str) -> bytes:
    return hashlib.sha256(f"{rental_id}:{name}".encode()).digest()
