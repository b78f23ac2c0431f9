"""What placing rentals needs to read of the fleet, and what reservations need of it."""

from typing import Protocol

from chalicelib.core.capacity import BillingClass
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import Host, ReservableHost
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


class ReservableHosts(Protocol):
    def list_reservable(self, gpu_type: str, region: str, limit: int) -> list[ReservableHost]:
        """Hosts of a pool that are kept for reservations and not closed. One index query; may be stale."""
        ...

    def list_impaired(self, gpu_type: str, region: str) -> list[str]:
        """Ids of a pool's hosts that are kept for reservations and are closed, or have a GPU with a fault.

        Reads each host of the sub-pools: for schedules.
        """
        ...

    def require_reservable(self, tx: Transaction, host: ReservableHost) -> None:
        """Fails with CapacityTaken unless the host is active, kept for reservations, its GPUs as given."""

    def set_reservable(self, tx: Transaction, host: Host, *, reservable: bool) -> None:
        """Move a host to or from the sub-pool of reservations.

        Fails with Conflict (``host_in_use``) while any GPU of a host that becomes reservable is not free, and
        with Unavailable when it has moved since it was read.
        """

    def keep_free(self, tx: Transaction, host_id: str, gpus: int, until_ms: int) -> None:
        """Lend so many of a host's free GPUs to nobody until then: whoever reserved them comes."""
