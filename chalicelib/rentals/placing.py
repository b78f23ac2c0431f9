"""Puts waiting rentals on GPUs: one transaction for a rental, or for all nodes of a cluster.

Slots, leases, rental, hold, quota, price, line, command and audit entry are written together or not at all.
Losing a race for a GPU tries another candidate, then reads the candidates again, a bounded number of times;
hosts that were not tried come first then.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.catalog.model import Catalog, Price
from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import Conflict, InvalidInput, NotFound
from chalicelib.core.leases import Lease
from chalicelib.core.money import StayHold, compute_charge_micros
from chalicelib.core.ports import Transaction
from chalicelib.core.workloads import Workload
from chalicelib.fleet.model import SUSPECT_AFTER_MS, HostCommand
from chalicelib.fleet.placement import (
    Candidate,
    choose_leases,
    compute_spread,
    list_choices,
    order_candidates,
)
from chalicelib.fleet.service import MAX_CANDIDATES, CapacityTaken
from chalicelib.rentals.allowances import find_allowance
from chalicelib.rentals.model import RUNWAY_SECONDS, Placement, Rental, list_unwiped_hosts, place
from chalicelib.rentals.ports import (
    NoCapacity,
    RentalPorts,
    SpreadTaken,
    add_audit,
    name_hold,
)
from chalicelib.rentals.preemption import SpotStay
from chalicelib.rentals.queue import Ticket
from chalicelib.rentals.volumes import list_kept
from chalicelib.reservations.model import Reservation

#: Each round reads the candidates again and tries up to ATTEMPTS_PER_ROUND of them.
ROUNDS = 4
ATTEMPTS_PER_ROUND = 3
#: A cluster's transaction writes about 14 items a node, and takes 100.
MAX_NODES = 6


@dataclass(frozen=True, slots=True)
class Start:
    """Rentals that start together: one, or the nodes of a cluster. ``ticket``: their place in line, if any.

    ``add`` puts what else belongs to the transaction, and gets the rentals as they will be.
    """

    rentals: tuple[Rental, ...]
    workloads: tuple[Workload, ...]
    actor: str
    is_new: bool
    ticket: Ticket | None = None
    pinned_host_id: str | None = None
    add: Callable[[Transaction, tuple[Rental, ...]], None] | None = field(default=None, repr=False)

    @property
    def first(self) -> Rental:
        return self.rentals[0]


def find_prices(catalog: Catalog, rental: Rental, now_ms: int) -> list[Price]:
    """Return the prices that a rental could pay, cheapest first or as its start is planned, whatever its cap.

    Raises:
        InvalidInput: ``unknown_gpu_type`` or ``unknown_region``.
    """
    if rental.gpu_type not in catalog.gpu_types:
        raise InvalidInput("There is no such GPU type.", code="unknown_gpu_type")
    prices = catalog.find_prices(rental.gpu_type, rental.wanted_region, rental.billing_class, at_ms=now_ms)
    regions = rental.open_regions
    if regions is not None:
        prices = [price for region in regions for price in prices if price.region == region]
    if not prices:
        raise InvalidInput("This GPU type is not offered in that region.", code="unknown_region")
    return prices


def choose_affordable(prices: Sequence[Price], rental: Rental) -> list[Price]:
    """Raises Conflict (``price_cap``): each price is above the rental's cap."""
    cap = rental.max_price_micros_per_gpu_hour
    affordable = [price for price in prices if cap is None or price.price_micros_per_gpu_hour <= cap]
    if not affordable:
        raise Conflict("Every offer costs more than max_price_micros_per_gpu_hour.", code="price_cap")
    return affordable


def place_now(ports: RentalPorts, start: Start, region: str | None = None) -> tuple[Rental, ...]:
    """Place the rentals, in ``region`` alone if one is named.

    Raises:
        InvalidInput: ``unknown_gpu_type`` or ``unknown_region``.
        NoCapacity: nowhere are that many GPUs free together.
        LineAhead: others wait for them.
        QuotaExceeded: the account may not have that many GPUs.
        Conflict: ``price_cap``.
        InsufficientFunds: the wallet cannot cover the holds.
        AccountSuspended: also when it was suspended or closed this moment.
    """
    if start.first.billing_class == "reserved":
        return redeem_now(ports, start)
    return _place_anywhere(ports, start, region)


def _place_anywhere(ports: RentalPorts, start: Start, region: str | None) -> tuple[Rental, ...]:
    tried = Counter[str]()
    for round_number in range(ROUNDS):
        # A price that changed under us shows as a failed check: read the catalogue anew then.
        prices = choose_affordable(_list_prices(ports, start.first, fresh=round_number > 0), start.first)
        attempts = 0
        for price in prices:
            if region not in {None, price.region}:
                continue
            # The index does not know who fell silent: the tightest fits may be no use, round after round.
            for nodes in sorted(_find_nodes(ports, start, price), key=lambda each: _count_tries(tried, each)):
                attempts += 1
                try:
                    return _commit(ports, start, _agree(ports, price), nodes)
                except (CapacityTaken, SpreadTaken):
                    tried.update(node.host_id for node in nodes)
                    if attempts >= ATTEMPTS_PER_ROUND:
                        break
                except Conflict as conflict:
                    if conflict.code != "price_changed":
                        raise
                    break
        if attempts == 0:
            break
    raise NoCapacity("No host has that many free GPUs now.", extra={"why": "no_capacity"})


def _list_prices(ports: RentalPorts, rental: Rental, *, fresh: bool) -> list[Price]:
    now_ms = ports.clock.now_ms()
    return ports.cached_catalog.ask(
        lambda catalog: find_prices(catalog.of_account(rental.account_id), rental, now_ms), fresh=fresh
    )


def _count_tries(tried: Counter[str], nodes: tuple[Candidate, ...]) -> int:
    return sum(tried[node.host_id] for node in nodes)


def _find_nodes(ports: RentalPorts, start: Start, price: Price) -> list[tuple[Candidate, ...]]:
    """Return where the rentals could go together, best first; spot is lent nothing that is soon used."""
    rental, now_ms = start.first, ports.clock.now_ms()
    found = _find_room(ports, start, price)
    if rental.billing_class != "spot":
        return found
    return [nodes for nodes in found if all(each.count_lent(now_ms) >= rental.gpu_count for each in nodes)]


def _find_room(ports: RentalPorts, start: Start, price: Price) -> list[tuple[Candidate, ...]]:
    rental = start.first
    unwiped = list_unwiped_hosts(rental)
    if start.pinned_host_id is not None:
        pinned = ports.fleet.get_candidate(start.pinned_host_id)
        owes = start.pinned_host_id in unwiped
        fits = pinned is not None and not owes and len(pinned.free_leases) >= rental.gpu_count
        return [(pinned,)] if pinned is not None and fits else []
    if len(start.rentals) > 1:
        return ports.fleet.find_clusters(
            price.gpu_type,
            price.region,
            rental.gpu_count,
            len(start.rentals),
            MAX_CANDIDATES,
            rental_id=rental.rental_id,
            billing_class=rental.billing_class,
        )
    fabric_id = find_fabric(ports, rental)
    if fabric_id is not None:
        found = ports.fleet.list_fabric(fabric_id, price.gpu_type, price.region, rental.billing_class)
    else:
        found = _find_candidates(ports, rental, price)
    # The index may lag behind the host's own map: what it lists must still be enough.
    fitting = [
        each for each in found if len(each.free_leases) >= rental.gpu_count and each.host_id not in unwiped
    ]
    ordered = order_candidates(fitting, rental.rental_id, rental.gpu_count)
    if fabric_id is not None:
        ordered = [each for each in ordered[:MAX_CANDIDATES] if not _has_node(ports, each, rental.cluster_id)]
    return [(each,) for each in ordered]


def find_fabric(ports: RentalPorts, rental: Rental) -> str | None:
    """Return the fabric of a cluster's node that had a stay: it is placed again beside the others.

    Nodes start together on one fabric, and a host stays in its own: where it was last says it.
    """
    if rental.cluster_id is None or not rental.placements:
        return None
    host = ports.fleet.get_host(rental.placements[-1].host_id)
    return None if host is None else host.fabric_id


def _has_node(ports: RentalPorts, candidate: Candidate, cluster_id: str | None) -> bool:
    """Say whether a node of the cluster is on this host: nodes are different hosts."""
    held = {gpu.rental_id for gpu in ports.fleet.list_gpus(candidate.host_id) if gpu.rental_id is not None}
    there = [ports.store.get_rental(rental_id) for rental_id in sorted(held)]
    return any(each is not None and each.cluster_id == cluster_id for each in there)


def _find_candidates(ports: RentalPorts, rental: Rental, price: Price) -> list[Candidate]:
    return ports.fleet.find_candidates(
        price.gpu_type,
        price.region,
        rental.gpu_count,
        MAX_CANDIDATES,
        start=compute_spread(rental.rental_id),
        billing_class=rental.billing_class,
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a stay costs, and what its transaction requires for that.

    A price is required once for all nodes; a reservation, which has an end, by each.
    """

    price_micros_per_gpu_hour: int
    require: Callable[[Transaction, Rental], None]
    reserved_until_ms: int | None = None


def _agree(ports: RentalPorts, price: Price) -> Terms:
    return Terms(price.price_micros_per_gpu_hour, lambda tx, _rental: ports.catalog.require_price(tx, price))


def redeem_now(ports: RentalPorts, start: Start) -> tuple[Rental, ...]:
    """Place rentals on the hosts of the reservation that they redeem, at its price.

    Raises:
        NotFound: there is no such reservation, or it is another account's.
        Conflict: ``reservation_not_redeemable``: it is over, of another GPU type, or its GPUs are in use.
        NoCapacity: its GPUs are not free yet, as what runs there was told to go, or its host is silent.
    """
    first, now_ms = start.first, ports.clock.now_ms()
    reservation = find_reservation(ports, first)
    terms = Terms(
        reservation.price_micros_per_gpu_hour,
        lambda tx, rental: ports.reservations.redeem(
            tx,
            reservation.reservation_id,
            str(rental.host_id),
            rental.rental_id,
            rental.gpu_count,
            now_ms,
        ),
        reservation.ends_at_ms,
    )
    unwiped = list_unwiped_hosts(first)
    hosts = [each.host_id for each in reservation.bookings if each.state == "open"]
    found = [ports.fleet.get_candidate(host_id) for host_id in hosts if host_id not in unwiped]
    free = [each for each in found if each is not None and len(each.free_leases) >= first.gpu_count]
    for nodes in list_choices(free, len(start.rentals)):
        # A host that fell silent is not the reservation's end: it is waited for, or another of it serves.
        with contextlib.suppress(CapacityTaken):
            return _commit(ports, start, terms, nodes)
    raise NoCapacity("The GPUs of the reservation are not free yet.", extra={"why": "no_capacity"})


def find_reservation(ports: RentalPorts, rental: Rental) -> Reservation:
    """Raises NotFound or Conflict, as `redeem_now`."""
    found = None
    if rental.reservation_id is not None:
        found = ports.reservations.get_reservation(rental.reservation_id)
    if found is None or found.account_id != rental.account_id:
        raise NotFound("There is no such reservation.")
    if found.gpu_type != rental.gpu_type or found.state not in {"confirmed", "active"}:
        raise Conflict(
            f"A reservation of {found.gpu_type} that is {found.state} is not redeemed by this rental.",
            code="reservation_not_redeemable",
        )
    return found


def _commit(
    ports: RentalPorts, start: Start, terms: Terms, nodes: tuple[Candidate, ...]
) -> tuple[Rental, ...]:
    pool = name_pool(start.first.gpu_type, nodes[0].region)
    placed = tuple(
        _put_on(ports, rental, candidate, terms)
        for rental, candidate in zip(start.rentals, nodes, strict=True)
    )
    tx = ports.transactions()
    # First, the idempotency key: of several failed conditions, the answered request explains the others.
    if start.add is not None:
        start.add(tx, placed)
    for before, after, workload in zip(start.rentals, placed, start.workloads, strict=True):
        if start.is_new:
            ports.store.add_rental(tx, after, workload)
        else:
            ports.store.replace_rental(tx, before, after)
        _add_stay(ports, tx, after, workload, pool)
        details = {"segment": after.segment, "host_id": after.host_id}
        action = "rental.created" if start.is_new else "rental.placed"
        add_audit(ports, tx, after, start.actor, action, details)
    account_id = start.first.account_id
    ports.standings.require(tx, account_id)
    allowance = find_allowance(ports, account_id)
    limit = None if allowance is None else allowance.spend_limit_micros_per_hour
    holds = [build_hold(rental) for rental in placed]
    ports.wallets.add_holds(tx, account_id, holds, ports.clock.now_ms(), limit)
    ports.scheduling.take_quota(tx, account_id, sum(rental.gpu_count for rental in placed), allowance)
    for rental in placed if terms.reserved_until_ms is not None else placed[:1]:
        terms.require(tx, rental)
    if start.ticket is None and terms.reserved_until_ms is None:
        ports.scheduling.require_no_line(tx, pool)
    elif start.ticket is not None:
        ports.scheduling.remove_ticket(tx, start.ticket.pools, start.ticket.ticket_key)
    tx.commit()
    return placed


def _put_on(ports: RentalPorts, rental: Rental, candidate: Candidate, terms: Terms) -> Rental:
    free = choose_leases(candidate, rental.gpu_count, rental.rental_id)
    placement = Placement(
        rental.segment + 1, candidate.host_id, candidate.region, tuple(lease.advance() for lease in free)
    )
    placed = place(rental, placement, terms.price_micros_per_gpu_hour, terms.reserved_until_ms)
    prices = ports.cached_catalog.get().volume_prices_micros if rental.has_volume else {}
    return replace(
        placed,
        kept=list_kept(rental, ports.clock.now_ms()),
        volume_price_micros_per_gib_hour=prices.get(candidate.region, 0),
    )


def _add_stay(ports: RentalPorts, tx: Transaction, rental: Rental, workload: Workload, pool: str) -> None:
    placement, now_ms = rental.placement, ports.clock.now_ms()
    assert placement is not None, "it was just placed"
    free = [Lease(lease.gpu_uuid, lease.epoch - 1) for lease in placement.leases]
    ports.fleet.take_leases(tx, placement.host_id, rental.rental_id, free, now_ms - SUSPECT_AFTER_MS)
    add_start_command(ports, tx, rental, workload)
    if rental.spread_group is not None:
        ports.scheduling.take_spread(
            tx, rental.account_id, rental.spread_group, placement.host_id, rental.rental_id
        )
    if rental.billing_class == "spot":
        assert rental.price_micros_per_gpu_hour is not None
        ports.scheduling.add_stay(
            tx,
            pool,
            SpotStay(
                rental.rental_id,
                placement.host_id,
                rental.gpu_count,
                rental.price_micros_per_gpu_hour,
                now_ms,
            ),
        )


def add_start_command(ports: RentalPorts, tx: Transaction, rental: Rental, workload: Workload) -> None:
    """Add to ``tx`` the order to start the rental's present stay."""
    assert rental.host_id is not None
    ports.fleet.add_command(
        tx,
        HostCommand(
            command_id=ports.ids.new_id("cmd"),
            kind="start",
            host_id=rental.host_id,
            rental_id=rental.rental_id,
            leases=rental.leases,
            issued_at_ms=ports.clock.now_ms(),
            workload=workload,
        ),
    )


def build_hold(rental: Rental) -> StayHold:
    """Return what the present stay sets aside before it starts: `RUNWAY_SECONDS` of its price."""
    price = rental.price_micros_per_gpu_hour
    assert price is not None
    return StayHold(
        name_hold(rental.rental_id, rental.segment),
        compute_charge_micros(
            price_micros_per_gpu_hour=price, gpu_count=rental.gpu_count, seconds=RUNWAY_SECONDS
        ),
        price * rental.gpu_count,
        rental.rental_id,
        rental.gpu_type,
        rental.label,
    )
