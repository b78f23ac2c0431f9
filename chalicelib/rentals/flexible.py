"""Places flexible starts in time: plans one, looks at it again before it is due, opens further regions.

A planned start stands in no line before its hour; `rentals.due` calls `start_as_planned` then.
"""

from dataclasses import asdict, replace

from chalicelib.core.clock import format_instant
from chalicelib.rentals.flexibility import (
    Flexibility,
    StartChoice,
    StartPlan,
    begin_plan,
    check_window,
    list_allowed,
    may_replan,
    replan,
    widen,
)
from chalicelib.rentals.life import build_ticket, wait_in_line
from chalicelib.rentals.model import Rental
from chalicelib.rentals.placing import find_prices
from chalicelib.rentals.ports import SYSTEM_ACTOR, RentalPorts, add_audit, add_event
from chalicelib.rentals.queue import build_ticket_key


def plan_start(ports: RentalPorts, rental: Rental, flexibility: Flexibility, now_ms: int) -> Rental:
    """Return a rental that was asked for with the start that is planned for it.

    Raises:
        InvalidInput: ``deadline_passed``, ``deadline_too_early``, ``window_too_long``, ``unknown_region`` or
            ``unknown_gpu_type``.
    """
    check_window(flexibility, now_ms)
    prices = _read_prices(ports, rental, now_ms)
    known = replace(flexibility, regions=list_allowed(flexibility.regions, list(prices)))
    plan = begin_plan(known, _choose(ports, rental, known, prices, now_ms), now_ms)
    later = plan.choice.start_at_ms > now_ms
    policies = replace(
        rental.policies,
        max_duration_seconds=known.duration_seconds,
        start_at_ms=plan.choice.start_at_ms if later else None,
    )
    return replace(rental, start_plan=plan, policies=policies)


def start_as_planned(ports: RentalPorts, rental: Rental, plan: StartPlan, now_ms: int) -> None:
    """Put a rental whose start is due in line, or move it by what is forecast by now.

    Raises:
        Unavailable: it changed at the same time.
    """
    if may_replan(plan, now_ms):
        prices = _read_prices(ports, rental, now_ms)
        plan = replan(plan, _choose(ports, rental, plan.flexibility, prices, now_ms), now_ms)
        if plan.choice.start_at_ms > now_ms:
            _keep_plan(ports, rental, plan)
            return
    elif now_ms >= plan.widens_at_ms:
        plan = widen(plan)
    scheduled = replace(rental, start_plan=plan, policies=replace(rental.policies, start_at_ms=None))
    # Its age in line is from the planned start on, also where it stands only now.
    since_ms = min(now_ms, plan.choice.start_at_ms)
    built = build_ticket(ports, scheduled, now_ms, rental.priority)
    ticket_key = build_ticket_key(built.priority, since_ms, built.ticket_id)
    ticket = replace(built, since_ms=since_ms, ticket_key=ticket_key)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, wait_in_line(scheduled, ticket, "no_capacity"))
    ports.scheduling.add_ticket(tx, ticket)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.queued", describe(plan))
    tx.commit()


def open_regions(ports: RentalPorts, rental: Rental, plan: StartPlan, now_ms: int) -> None:
    """Take a rental out of the line of the best region, so that it stands in those of all that are allowed.

    It is due again at once: a crash after this leaves it so for the next minute.

    Raises:
        Unavailable: it was placed, or changed, at the same time.
    """
    assert rental.waiting is not None, "it waits for its best region"
    policies = replace(rental.policies, start_at_ms=now_ms)
    left = replace(rental, state="queued", waiting=None, start_plan=widen(plan), policies=policies)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, left)
    ports.scheduling.remove_ticket(tx, rental.waiting.pools, rental.waiting.ticket_key)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.regions_opened")
    tx.commit()


def describe(plan: StartPlan) -> dict[str, object]:
    """Return what the audit trail keeps of a plan."""
    choice = plan.choice
    return {
        "start_at_ms": choice.start_at_ms,
        "regions": list(choice.regions),
        "why": choice.why,
        "forecast": None if choice.forecast is None else asdict(choice.forecast),
    }


def _keep_plan(ports: RentalPorts, rental: Rental, plan: StartPlan) -> None:
    policies = replace(rental.policies, start_at_ms=plan.choice.start_at_ms)
    tx = ports.transactions()
    moved = replace(rental, start_plan=plan, policies=policies)
    ports.store.replace_rental(tx, rental, moved)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.start_moved", describe(plan))
    told = {"planned_start_at": format_instant(plan.choice.start_at_ms)}
    add_event(ports, tx, "rental.start_moved", moved, told)
    tx.commit()


def _read_prices(ports: RentalPorts, rental: Rental, now_ms: int) -> dict[str, int]:
    """Return what a GPU-hour costs the account in each region that it could go to, the cheapest first."""
    anywhere = replace(rental, start_plan=None)
    found = ports.cached_catalog.ask(
        lambda catalog: find_prices(catalog.of_account(rental.account_id), anywhere, now_ms)
    )
    return {price.region: price.price_micros_per_gpu_hour for price in found}


def _choose(
    ports: RentalPorts, rental: Rental, flexibility: Flexibility, prices: dict[str, int], now_ms: int
) -> StartChoice:
    """Ask the planner; what is above the cap now is passed over, unless everything is."""
    cap, regions = rental.max_price_micros_per_gpu_hour, flexibility.regions
    within = tuple(each for each in regions if cap is None or prices.get(each, cap + 1) <= cap)
    return ports.planner.plan_start(flexibility, within or regions, now_ms)
