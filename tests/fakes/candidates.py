"""What is read of hosts to place on them, in memory."""

from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.core.capacity import BillingClass
from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.fleet.model import Host, HostGpu, Liveness, ReservableHost
from chalicelib.fleet.placement import (
    SUB_POOLS,
    Candidate,
    Crowds,
    compute_rank,
    list_clusters,
    pack_groups,
    search,
    unpack_groups,
)
from chalicelib.fleet.service import CapacityTaken
from tests.fakes.database import MemoryStore


@dataclass
class FakeCandidateStore(MemoryStore):
    crowds: Crowds = field(default_factory=Crowds)

    def get_host(self, host_id: str) -> Host | None:
        return self.db.table("hosts").get(host_id)

    def get_liveness(self, host_id: str) -> Liveness | None:
        return self.db.table("liveness").get(host_id)

    def list_gpus(self, host_id: str) -> list[HostGpu]:
        return [row for (host, _), row in self.db.table("gpus").items() if host == host_id]

    def list_hosts(self, gpu_type: str, region: str) -> list[Host]:
        hosts = self.db.table("hosts").values()
        return [host for host in hosts if (host.gpu_type, host.region) == (gpu_type, region)]

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
        with self.db.lock:
            for reservable in SUB_POOLS[billing_class]:
                ranked = self._rank(gpu_type, region, reservable=reservable)

                def read(low: int, high: int, ranked: Any = ranked) -> list[Candidate]:
                    return [each for rank, each in ranked if low <= rank <= high][:limit]

                pool = f"{gpu_type}#{region}#{reservable}"
                found = search(read, pool, gpu_count, limit, start, self.crowds)
                if found:
                    return found
            return []

    def _rank(self, gpu_type: str, region: str, *, reservable: bool) -> list[tuple[int, Candidate]]:
        """The index: the hosts that may be offered, by rank."""
        ranked = []
        for host in self._list_offered(gpu_type, region, reservable=reservable):
            candidate = self.get_candidate(host.host_id)
            assert candidate is not None
            ranked.append((compute_rank(len(candidate.free_leases), host.host_id), candidate))
        return sorted(ranked, key=lambda each: each[0])

    def get_candidate(self, host_id: str) -> Candidate | None:
        host = self.get_host(host_id)
        if host is None or host.state != "active":
            return None
        free = [gpu for gpu in self.list_gpus(host_id) if gpu.lease_state == "free"]
        leases = tuple(Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in free)
        rows = [
            (row.gpu.gpu_uuid, row.gpu.link_group or row.gpu.parent_uuid) for row in self.list_gpus(host_id)
        ]
        groups = unpack_groups(pack_groups(rows), leases)
        kept = self.db.table("kept").get(host_id, (0, 0))
        return Candidate(host_id, host.region, leases, groups, host.fabric_id, host.reservable, *kept)

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
        """Sees every host, where the real one reads a page."""
        with self.db.lock:
            for reservable in SUB_POOLS[billing_class]:
                offered = [each for _, each in self._rank(gpu_type, region, reservable=reservable)]
                found = list_clusters(offered, gpu_count, node_count, rental_id, limit)
                if found:
                    return found
            return []

    def list_fabric(
        self, fabric_id: str, gpu_type: str, region: str, billing_class: BillingClass
    ) -> list[Candidate]:
        with self.db.lock:
            offered = [
                each
                for reservable in SUB_POOLS[billing_class]
                for _, each in self._rank(gpu_type, region, reservable=reservable)
            ]
            return [each for each in offered if each.fabric_id == fabric_id]

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        offered = self._list_offered(gpu_type, region, reservable=False)
        return sorted([host.free_gpus for host in offered if host.free_gpus], reverse=True)

    def count_free(self, gpu_type: str, region: str) -> int:
        hosts = [host for host in self.list_hosts(gpu_type, region) if host.state == "active"]
        return sum(host.free_gpus for host in hosts)

    def _list_offered(self, gpu_type: str, region: str, *, reservable: bool) -> list[Host]:
        hosts = self.list_hosts(gpu_type, region)
        return [host for host in hosts if host.state == "active" and host.reservable == reservable]

    def list_reservable(self, gpu_type: str, region: str, limit: int) -> list[ReservableHost]:
        with self.db.lock:
            found = self._list_offered(gpu_type, region, reservable=True)
        found.sort(key=lambda host: host.free_gpus)
        return [
            ReservableHost(host.host_id, host.gpu_count, host.fabric_id, host.faulty_gpus)
            for host in found[:limit]
        ]

    def list_impaired(self, gpu_type: str, region: str) -> list[str]:
        with self.db.lock:
            hosts = list(self.db.table("hosts").values())
        kept = [
            host for host in hosts if host.reservable and (host.gpu_type, host.region) == (gpu_type, region)
        ]
        impaired = [host for host in kept if host.state != "active" or host.faulty_gpus]
        return [host.host_id for host in impaired if host.state != "retired"]

    def require_reservable(self, tx: Any, host: ReservableHost) -> None:
        def check() -> DomainError | None:
            stored = self.db.table("hosts")[host.host_id]
            there = stored.state == "active" and stored.reservable
            same = (stored.gpu_count, stored.faulty_gpus) == (host.gpu_count, host.faulty_gpus)
            return None if there and same else CapacityTaken("not reservable")

        tx.add(check, lambda: None)

    def keep_free(self, tx: Any, host_id: str, gpus: int, until_ms: int) -> None:
        kept = self.db.table("kept")
        tx.add(lambda: None, lambda: kept.update({host_id: (gpus, until_ms)}))

    def set_reservable(self, tx: Any, host: Host, *, reservable: bool) -> None:
        rows = self.db.table("hosts")

        def check() -> DomainError | None:
            stored = rows[host.host_id]
            if reservable and stored.free_gpus != stored.gpu_count:
                return Conflict("in use", code="host_in_use")
            return None if stored.health_version == host.health_version else Unavailable("host")

        def effect() -> None:
            version = host.health_version + 1
            rows[host.host_id] = replace(rows[host.host_id], reservable=reservable, health_version=version)

        tx.add(check, effect)
