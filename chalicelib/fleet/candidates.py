"""What placing rentals needs to read of the fleet."""

from typing import Protocol

from chalicelib.core.capacity import BillingClass
from chalicelib.fleet.placement import Candidate


class CandidateReader(Protocol):
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
        """Hosts with at least ``gpu_count`` free, fewest first, from the index; may be stale.

        Of more equal ones than ``limit``, those from the spread ``start`` on. On demand is placed on the
        shared hosts, spot on those and then on reservable ones; reserved is never searched for.
        """
        ...

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
        """Up to ``limit`` choices of so many hosts of one fabric with ``gpu_count`` free on each, best first.

        Reads a bounded number of hosts.
        """
        ...

    def list_fabric(
        self, fabric_id: str, gpu_type: str, region: str, billing_class: BillingClass
    ) -> list[Candidate]:
        """The hosts of a fabric that are offered to a class, a page at most; may be stale."""
        ...

    def get_candidate(self, host_id: str) -> Candidate | None:
        """One host as it is now; ``None`` when it may not be offered."""
        ...

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        """Free GPUs of the hosts of a pool that have any, most first, at most a page of hosts."""
        ...

    def count_free(self, gpu_type: str, region: str) -> int:
        """Every free GPU of a pool's open hosts, reservable ones too. Reads each of them: for schedules."""
        ...
