"""What is waited for and what is there, read from rentals and fleet."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.catalog.model import Catalog, Price
from chalicelib.core.capacity import BillingClass, name_pool
from chalicelib.fleet.model import Host, HostGpu
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.queue import Ticket, is_expired
from chalicelib.scaling.model import ENROL_WITHIN_MS, Demand, HostUse, PoolSettings, Waiting

MAX_TICKETS = 100
#: Spot stays of a pool that are looked at for those in a reservation's way.
MAX_STAYS = 1000
#: A ticket that stands in several lines counts in the first; in each further one after so much more time.
NEXT_POOL_AFTER_MS = 10 * 60_000
#: A host that has just come has not shown yet what it is good for.
NEW_HOST_MS = 10 * 60_000
_FOREVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class RentalDemands:
    """`Demands`.

    ``count_starting`` (GPU type, region, instant) gives the GPUs that reservations take by then, by host.
    """

    rentals: RentalPorts
    count_starting: Callable[[str, str, int], Mapping[str, int]]

    def read_demand(self, settings: PoolSettings, now_ms: int) -> Demand:
        pool = name_pool(settings.gpu_type, settings.region)
        catalog = self.rentals.catalog.read_catalog()
        prices = {
            price.billing_class: price
            for price in catalog.list_prices(now_ms)
            if (price.gpu_type, price.region) == (settings.gpu_type, settings.region)
        }
        # Hosts first: what is placed between the two reads is a host that looks free, not one more to buy.
        there = self.rentals.fleet.list_hosts(settings.gpu_type, settings.region)
        hosts = tuple(self._read_use(host) for host in there if host.state != "retired")
        waiting = tuple(
            Waiting(ticket.gpu_count, ticket.node_count, ticket.since_ms)
            for ticket in self.rentals.scheduling.list_tickets(pool, MAX_TICKETS)
            if is_served_by_a_host(ticket, pool, _agree(catalog, prices, ticket, now_ms), now_ms)
        )
        return Demand(waiting, self._count_displaced(settings, pool, there, now_ms), hosts)

    def _count_displaced(self, settings: PoolSettings, pool: str, hosts: Sequence[Host], now_ms: int) -> int:
        """Return the GPUs of work that must make way for reservations before a host ordered now would be up.

        A reservation has its hosts already (ADR 24): what is wanted is another place for the spot work on
        them, and one for the reservation itself where its host is closed.
        """
        until_ms = now_ms + ENROL_WITHIN_MS
        starting = self.count_starting(settings.gpu_type, settings.region, until_ms)
        if not starting:
            return 0
        spot: Counter[str] = Counter()
        for stay in self.rentals.scheduling.list_stays(pool, MAX_STAYS):
            spot[stay.host_id] += stay.gpu_count
        fit = {host.host_id: host.gpu_count - spot[host.host_id] for host in hosts if host.state == "active"}
        return sum(max(0, gpus - fit.get(host_id, 0)) for host_id, gpus in starting.items())

    def _read_use(self, host: Host) -> HostUse:
        free, busy = host.free_gpus, host.gpu_count - host.free_gpus
        if host.reservable:
            # What waits found no room there, or may not go there.
            free, busy = 0, host.gpu_count
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


def _agree(
    catalog: Catalog, prices: Mapping[BillingClass, Price], ticket: Ticket, now_ms: int
) -> dict[BillingClass, int]:
    """Return ``prices`` in micros per GPU-hour, as the ticket's account has them."""
    agreement, agreed = catalog.agreements.get(ticket.account_id), list(prices.values())
    if agreement is not None:
        agreed = [agreement.apply(price, now_ms) for price in agreed]
    return {price.billing_class: price.price_micros_per_gpu_hour for price in agreed}


def count(gpus: list[HostGpu], state: str) -> int:
    return sum(gpu.lease_state == state for gpu in gpus)


def is_served_by_a_host(ticket: Ticket, pool: str, prices: Mapping[BillingClass, int], now_ms: int) -> bool:
    """Say whether one more host in ``pool`` would end this wait. ``prices`` are in force, by class."""
    if ticket.is_bound or is_expired(ticket, now_ms):
        return False
    if ticket.preempting_until_ms > now_ms:
        # Room was made elsewhere, and is on its way.
        return False
    price, cap = prices.get(ticket.billing_class), ticket.max_price_micros_per_gpu_hour
    if price is None or (cap is not None and cap < price):
        return False
    turn = ticket.pools.index(pool) if pool in ticket.pools else 0
    return now_ms - ticket.since_ms >= turn * NEXT_POOL_AFTER_MS
