"""Use cases of the wallet: what is in it, what is reserved in it, what bounds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.billing.budget import (
    DEFAULT_ALERTS,
    Budget,
    Period,
    Scope,
    find_alert,
    find_remaining,
    find_spent,
    name_period,
)
from chalicelib.billing.charging import name_usage
from chalicelib.billing.model import USAGE, Broken, ChainedLeg, Journal, Leg, enter_month, verify_chain
from chalicelib.billing.ports import MAX_ATTEMPTS, BillingPorts, Wallet
from chalicelib.billing.posting import find_balance, find_wallet, turn_month
from chalicelib.core.errors import InvalidInput, NotFound, Unavailable
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.metering.model import Meter
from chalicelib.organisations.projects import require_project

HTTP_CREATED = 201
CHAIN_PAGE = 1000


def read_wallet(ports: BillingPorts, account_id: str) -> Wallet:
    """Return the wallet; one that was never credited is empty."""
    return find_wallet(ports, account_id)


@dataclass(frozen=True, slots=True)
class PostedLeg:
    """One leg of a wallet, with the journal that says why."""

    leg: ChainedLeg
    journal: Journal


def list_entries(ports: BillingPorts, account_id: str, limit: int, start: str | None) -> Page[PostedLeg]:
    """Return the wallet's legs with their journals, newest first."""
    page = ports.ledger.list_entries(account_id, limit, start)
    journals = ports.ledger.list_journals([leg.journal_key for leg in page.items])
    return Page([PostedLeg(leg, journals[leg.journal_key]) for leg in page.items], page.next_key)


def check_chain(ports: BillingPorts, account_id: str) -> Broken | None:
    """Return the first fault in the account's chain of legs, ``None`` when it holds."""
    legs: list[tuple[ChainedLeg, str]] = []
    start: str | None = None
    # The balance first: legs that come between are more than it knows, and are left out.
    balance = find_wallet(ports, account_id).balance
    while True:
        page = ports.ledger.list_chain(account_id, CHAIN_PAGE, start)
        legs += page.items
        start = page.next_key
        if start is None:
            return verify_chain(legs[: balance.leg_version], balance)


def end_month(ports: BillingPorts, account_id: str, now_ms: int) -> None:
    """End the month of the account's books that is over, if nothing was posted since that would have.

    Raises:
        Unavailable: too much contention; try again.
    """
    for _ in range(MAX_ATTEMPTS):
        balance = find_balance(ports, account_id)
        month = enter_month(balance, now_ms)
        if month == balance.month:
            return
        tx = ports.rentals.transactions()
        turn_month(ports, tx, balance, month, now_ms)
        ports.wallets.move_balance(tx, balance, replace(balance, month=month))
        try:
            tx.commit()
        except Unavailable:
            continue
        return
    raise Unavailable("The account changes all the time; try again.")


def read_usage_legs(ports: BillingPorts, meter: Meter) -> list[Leg]:
    """Return every leg that the charges of this stay left in the accounts."""
    return [
        leg
        for seq in range(meter.charge_seq)
        for leg in ports.ledger.read_legs(USAGE, name_usage(meter, seq))
    ]


def set_spend_limit(ports: BillingPorts, principal: Principal, limit_micros_per_hour: int | None) -> Wallet:
    """Bound what all running stays may cost an hour; ``None`` lifts it. What runs goes on.

    Raises:
        Unavailable: too much contention; try again.
    """
    for _ in range(MAX_ATTEMPTS):
        wallet = find_wallet(ports, principal.account_id)
        tx = ports.rentals.transactions()
        ports.wallets.set_spend_limit(tx, wallet.balance, limit_micros_per_hour)
        details = {"limit_micros_per_hour": limit_micros_per_hour}
        _add_audit(ports, tx, principal, "wallet.spend_limit_set", principal.account_id, details)
        try:
            tx.commit()
        except Unavailable:
            continue
        balance = replace(wallet.balance, spend_limit_micros_per_hour=limit_micros_per_hour)
        return replace(wallet, balance=balance)
    raise Unavailable("The account changes all the time; try again.")


@dataclass(frozen=True, slots=True)
class CreateBudget:
    """A budget as it was asked for. ``render`` gives the answer's bytes, stored for replays."""

    name: str
    scope: Scope
    scope_value: str
    period: Period
    limit_micros: int
    hard_stop: bool
    idempotency_key: str
    fingerprint: str
    render: Callable[[Budget], str] = field(repr=False)
    alert_percents: Sequence[int] = DEFAULT_ALERTS


@dataclass(frozen=True, slots=True)
class Created:
    status: int
    body: str
    replayed: bool


def create_budget(ports: BillingPorts, principal: Principal, command: CreateBudget) -> Created:
    """Create a budget, once per key. What is spent from now on counts.

    Raises:
        InvalidInput: a label or a rental is named where the scope has none, or the other way round.
        NotFound: there is no such rental, or project.
        Conflict: ``too_many_budgets``; ``project_archived``: the label is a project's.
        IdempotencyMismatch: the key was used for another request.
    """
    if (command.scope == "account") == bool(command.scope_value):
        raise InvalidInput("Name the label or the rental, and nothing for the account.", code="invalid_scope")
    if command.scope == "label":
        require_project(ports.rentals.projects, principal.account_id, command.scope_value)
    if command.scope == "rental":
        rental = ports.rentals.store.get_rental(command.scope_value)
        if rental is None or rental.account_id != principal.account_id:
            raise NotFound("There is no such rental.")
    now_ms = ports.rentals.clock.now_ms()
    budget = Budget(
        budget_id=ports.rentals.ids.new_id("bud"),
        account_id=principal.account_id,
        name=command.name,
        scope=command.scope,
        scope_value=command.scope_value,
        period=command.period,
        limit_micros=command.limit_micros,
        hard_stop=command.hard_stop,
        alert_percents=tuple(sorted(set(command.alert_percents))),
        period_key=name_period(command.period, now_ms),
        created_at_ms=now_ms,
        remaining_micros=command.limit_micros,
    )
    body = command.render(budget)
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    tx = ports.rentals.transactions()
    ports.rentals.idempotency.add(tx, record, now_ms)
    ports.budgets.add_budget(tx, budget, ports.rentals.currency)
    _add_audit(ports, tx, principal, "budget.created", budget.budget_id, _describe(budget))
    try:
        tx.commit()
    except AlreadyAnswered as answered:
        stored = check_replay(answered.record, command.fingerprint)
        return Created(stored.status, stored.body, replayed=True)
    return Created(HTTP_CREATED, body, replayed=False)


def list_budgets(ports: BillingPorts, account_id: str) -> list[Budget]:
    """Return an account's budgets as they stand now: a new month has spent nothing yet."""
    now_ms = ports.rentals.clock.now_ms()
    found = sorted(find_wallet(ports, account_id).budgets, key=lambda each: each.budget_id)
    return [_roll(each, now_ms) for each in found]


def get_budget(ports: BillingPorts, account_id: str, budget_id: str) -> Budget:
    """Raises NotFound."""
    for budget in list_budgets(ports, account_id):
        if budget.budget_id == budget_id:
            return budget
    raise NotFound("There is no such budget.")


def _roll(budget: Budget, now_ms: int) -> Budget:
    spent = find_spent(budget, now_ms)
    return replace(
        budget,
        period_key=name_period(budget.period, now_ms),
        remaining_micros=find_remaining(budget, now_ms),
        alerted_percent=budget.alerted_percent if spent == budget.spent_micros else 0,
        spent_micros=spent,
    )


@dataclass(frozen=True, slots=True)
class ChangeBudget:
    """``None`` leaves as it is."""

    limit_micros: int | None = None
    hard_stop: bool | None = None
    alert_percents: Sequence[int] | None = None


def change_budget(
    ports: BillingPorts,
    principal: Principal,
    budget_id: str,
    command: ChangeBudget,
    check: Check[Budget] = accept_any,
) -> Budget:
    """Change a budget. What is above a lower limit is stopped with its next charge.

    Raises:
        NotFound: no such budget.
        PreconditionFailed: as ``check`` raises it of the budget as `get_budget` shows it.
        Unavailable: too much contention; try again.
    """
    for _ in range(MAX_ATTEMPTS):
        stored = _find_stored(ports, principal.account_id, budget_id)
        check(_roll(stored, ports.rentals.clock.now_ms()))
        limit = stored.limit_micros if command.limit_micros is None else command.limit_micros
        percents = stored.alert_percents if command.alert_percents is None else command.alert_percents
        changed = replace(
            stored,
            limit_micros=limit,
            hard_stop=stored.hard_stop if command.hard_stop is None else command.hard_stop,
            alert_percents=tuple(sorted(set(percents))),
            remaining_micros=stored.remaining_micros + limit - stored.limit_micros,
        )
        # What the new figures have passed already is not told again.
        changed = replace(changed, alerted_percent=find_alert(changed, changed.spent_micros, 0))
        tx = ports.rentals.transactions()
        ports.budgets.replace_budget(tx, stored, changed, exact=check is not accept_any)
        _add_audit(ports, tx, principal, "budget.changed", budget_id, _describe(changed))
        try:
            tx.commit()
        except Unavailable:
            continue
        return _roll(changed, ports.rentals.clock.now_ms())
    raise Unavailable("The budget changes all the time; try again.")


def remove_budget(
    ports: BillingPorts, principal: Principal, budget_id: str, check: Check[Budget] = accept_any
) -> None:
    """Raises NotFound; PreconditionFailed and Unavailable as `change_budget` does."""
    for _ in range(MAX_ATTEMPTS):
        budget = _find_stored(ports, principal.account_id, budget_id)
        check(_roll(budget, ports.rentals.clock.now_ms()))
        tx = ports.rentals.transactions()
        ports.budgets.remove_budget(tx, budget, ports.rentals.currency, exact=check is not accept_any)
        _add_audit(ports, tx, principal, "budget.removed", budget_id, {})
        try:
            tx.commit()
        except Unavailable:
            continue
        return
    raise Unavailable("The budget changes all the time; try again.")


def _find_stored(ports: BillingPorts, account_id: str, budget_id: str) -> Budget:
    for budget in find_wallet(ports, account_id).budgets:
        if budget.budget_id == budget_id:
            return budget
    raise NotFound("There is no such budget.")


def _describe(budget: Budget) -> dict[str, object]:
    return {
        "scope": budget.scope,
        "period": budget.period,
        "limit_micros": budget.limit_micros,
        "hard_stop": budget.hard_stop,
    }


def _add_audit(
    ports: BillingPorts,
    tx: Transaction,
    principal: Principal,
    action: str,
    subject: str,
    details: Mapping[str, object],
) -> None:
    entry = AuditEntry(
        ports.rentals.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        subject,
        ports.rentals.clock.now_ms(),
        dict(details),
    )
    ports.rentals.audit.add_entry(tx, entry)
