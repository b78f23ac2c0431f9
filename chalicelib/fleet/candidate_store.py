"""Hosts that may have room, in DynamoDB: what is read to place a rental or a cluster.

Access: ``by_pool`` (pool, free_rank); hosts by key; hosts of a fabric by its key. What is read is the same
however many hosts there are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chalicelib.core.capacity import BillingClass
from chalicelib.core.leases import Lease
from chalicelib.fleet.placement import (
    RANK_STEP,
    SUB_POOLS,
    Candidate,
    Crowds,
    compute_spread,
    list_clusters,
    search,
    unpack_groups,
)
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import FabricHostItem, HostItem

_CAPACITY_HOSTS = 100
#: Hosts that are read at first for a cluster.
CLUSTER_PAGE = 100
#: If too few of them share a fabric: so many fabrics are then looked at, and so many hosts of each.
FABRICS_TRIED = 3
FABRIC_PAGE = 100


class DynamoCandidateStore:
    def __init__(self) -> None:
        self.crowds = Crowds()

    def find_candidates(
        self,
        gpu_type: str,
        region: str,
        gpu_count: int,
        limit: int,
        *,
        start: int,
        billing_class: BillingClass = "on_demand",
    ) -> list[Candidate]:
        for pool in _list_pools(gpu_type, region, billing_class):
            found = search(_build_reader(pool, limit), pool, gpu_count, limit, start, self.crowds)
            if found:
                return found
        return []

    def get_candidate(self, host_id: str) -> Candidate | None:
        try:
            item = HostItem.get(keys.host(host_id), keys.HOST, consistent_read=True)
        except HostItem.DoesNotExist:
            return None
        return _read_candidate(item) if item.state == "active" else None

    def find_clusters(
        self,
        gpu_type: str,
        region: str,
        gpu_count: int,
        node_count: int,
        limit: int,
        *,
        rental_id: str,
        billing_class: BillingClass = "on_demand",
    ) -> list[tuple[Candidate, ...]]:
        start = compute_spread(rental_id)
        for pool in _list_pools(gpu_type, region, billing_class):
            page = _read_from(pool, gpu_count, start)
            found = list_clusters(page, gpu_count, node_count, rental_id, limit)
            if found:
                return found
            seen = Counter(each.fabric_id for each in page if each.fabric_id is not None)
            for fabric_id, _ in seen.most_common(FABRICS_TRIED):
                members = _read_fabric(fabric_id, [pool])
                found = list_clusters(members, gpu_count, node_count, rental_id, limit)
                if found:
                    return found
        return []

    def list_fabric(
        self, fabric_id: str, gpu_type: str, region: str, billing_class: BillingClass
    ) -> list[Candidate]:
        return _read_fabric(fabric_id, _list_pools(gpu_type, region, billing_class))

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        return [item.free_gpus for item in _list_free(keys.pool(gpu_type, region), _CAPACITY_HOSTS)]

    def count_free(self, gpu_type: str, region: str) -> int:
        pools = (keys.pool(gpu_type, region), keys.reservable_pool(gpu_type, region))
        return sum(item.free_gpus for pool in pools for item in _list_free(pool))


def _list_pools(gpu_type: str, region: str, billing_class: BillingClass) -> list[str]:
    return [
        (keys.reservable_pool if reservable else keys.pool)(gpu_type, region)
        for reservable in SUB_POOLS[billing_class]
    ]


def _list_free(pool: str, limit: int | None = None) -> Iterable[HostItem]:
    """The hosts of a sub-pool with a free GPU, most free first."""
    return HostItem.by_pool.query(
        pool,
        HostItem.free_rank >= RANK_STEP,
        scan_index_forward=False,
        limit=limit,
        attributes_to_get=["free_gpus"],
    )


def _build_reader(pool: str, limit: int) -> Callable[[int, int], list[Candidate]]:
    def read(low: int, high: int) -> list[Candidate]:
        ranks = HostItem.free_rank.between(low, high)
        found = HostItem.by_pool.query(pool, ranks, limit=limit, page_size=limit)
        return _read_candidates(found)

    return read


def _read_from(pool: str, gpu_count: int, start: int) -> list[Candidate]:
    """Return a page of hosts that fit, from the rank of ``start`` on, and then those before it."""
    read, lowest = _build_reader(pool, CLUSTER_PAGE), gpu_count * RANK_STEP
    page = read(lowest + start, RANK_STEP * RANK_STEP)
    if len(page) < CLUSTER_PAGE and start:
        page += read(lowest, lowest + start - 1)[: CLUSTER_PAGE - len(page)]
    return page


def _read_fabric(fabric_id: str, pools: Sequence[str]) -> list[Candidate]:
    members = FabricHostItem.query(keys.fabric(fabric_id), limit=FABRIC_PAGE)
    wanted = [(keys.host(member.host_id), keys.HOST) for member in members]
    hosts = HostItem.batch_get(wanted) if wanted else ()
    return _read_candidates(host for host in hosts if host.pool in pools)


def _read_candidates(items: Iterable[HostItem]) -> list[Candidate]:
    return [_read_candidate(item) for item in items]


def _read_candidate(item: HostItem) -> Candidate:
    free: Any = item.free_leases
    leases = tuple(Lease(gpu_uuid, int(epoch)) for gpu_uuid, epoch in free.as_dict().items())
    groups = unpack_groups(item.link_groups or (), leases)
    return Candidate(
        item.host_id,
        item.region,
        leases,
        groups,
        item.fabric_id,
        bool(item.reservable),
        item.kept_gpus or 0,
        item.kept_until_ms or 0,
    )
