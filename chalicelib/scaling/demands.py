"""What is waited for and what is there, read from rentals and fleet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chalicelib.core.capacity import BillingClass, name_pool
from chalicelib.fleet.model import Host, HostGpu
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.queue import Ticket, is_expired
from chalicelib.scaling.model import Demand, HostUse, PoolSettings, Waiting

MAX_TICKETS = 100
#: A ticket that stands in several lines counts in the first; in each further one after so much more time.
NEXT_POOL_AFTER_MS = 10 * 60_000
#: A host that has just come has not shown yet what it is good for.
NEW_HOST_MS = 10 * 60_000
_FOREVER_MS = 2**53


def _promise_nothing(_pool: str, _now_ms: int) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class RentalDemands:
    """`Demands`. ``read_reserved_soon`` gives the GPUs of reservations that begin before a new host is up."""

    rentals: RentalPorts
    read_reserved_soon: Callable[[str, int], int] = _promise_nothing

    def read_demand(self, settings: PoolSettings, now_ms: int) -> Demand:
        pool = name_pool(settings.gpu_type, settings.region)
        prices = {
            price.billing_class: price.price_micros_per_gpu_hour
            for price in self.rentals.catalog.read_catalog().list_prices(now_ms)
            if (price.gpu_type, price.region) == (settings.gpu_type, settings.region)
        }
        waiting = tuple(
            Waiting(ticket.gpu_count, ticket.node_count, ticket.since_ms)
            for ticket in self.rentals.scheduling.list_tickets(pool, MAX_TICKETS)
            if is_served_by_a_host(ticket, pool, prices, now_ms)
        )
        hosts = tuple(
            self._read_use(host)
            for host in self.rentals.fleet.list_hosts(settings.gpu_type, settings.region)
            if host.state != "retired"
        )
        return Demand(waiting, self.read_reserved_soon(pool, now_ms), hosts)

    def _read_use(self, host: Host) -> HostUse:
        free, busy = host.free_gpus, host.gpu_count - host.free_gpus
        if host.state != "active":
            # Few are closed; of the others what is withheld passes for busy, which ends none too many.
            gpus = self.rentals.fleet.list_gpus(host.host_id)
            free, busy = 0, count(gpus, "leased") + count(gpus, "wiping")
        protected_until_ms = host.created_at_ms + NEW_HOST_MS
        # Somebody works on the machine, or has been promised it.
        held = host.maintenance is not None or (host.cordon is not None and not host.cordon.automatic)
        if held or host.draining or host.reservable:
            protected_until_ms = _FOREVER_MS
        return HostUse(host.host_id, host.gpu_count, free, busy, None, protected_until_ms)


def count(gpus: list[HostGpu], state: str) -> int:
    return sum(gpu.lease_state == state for gpu in gpus)


def is_served_by_a_host(ticket: Ticket, pool: str, prices: Mapping[BillingClass, int], now_ms: int) -> bool:
    """Say whether one more host in ``pool`` would end this wait. ``prices`` are in force, by class."""
    if ticket.pinned_host_id is not None or is_expired(ticket, now_ms):
        return False
    if ticket.preempting_until_ms > now_ms:
        # Room was made elsewhere, and is on its way.
        return False
    price, cap = prices.get(ticket.billing_class), ticket.max_price_micros_per_gpu_hour
    if price is None or (cap is not None and cap < price):
        return False
    turn = ticket.pools.index(pool) if pool in ticket.pools else 0
    return now_ms - ticket.since_ms >= turn * NEXT_POOL_AFTER_MS
