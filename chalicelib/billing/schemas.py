"""Bodies of the billing routes."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.billing.budget import DEFAULT_ALERTS, Budget, Period, Scope
from chalicelib.billing.model import WalletState, find_state
from chalicelib.billing.ports import Wallet, find_data_hold_end
from chalicelib.billing.posting import ALERT_NAMES
from chalicelib.billing.seals import Proof
from chalicelib.billing.service import PostedLeg
from chalicelib.billing.usage import UsageSum
from chalicelib.core.clock import format_instant
from chalicelib.core.paging import Page, encode_cursor
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody

#: 1,000,000 units of the currency in one credit or budget, or an hour.
MAX_CREDIT_MICROS = 10**12

Micros = Annotated[int, Field(ge=1, le=MAX_CREDIT_MICROS)]
Percents = Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=10)]


class CreditRequest(RequestBody):
    """``promo`` is spent before what was paid, and may expire."""

    amount_micros: Micros
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["paid", "promo"] = "paid"
    expires_at: Instant | None = None


class ChargeRequest(RequestBody):
    """A one-off line; ``reason`` is what the renter reads in the ledger and the statement."""

    amount_micros: Micros
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class ReversalRequest(RequestBody):
    journal_key: Annotated[str, Field(min_length=3, max_length=300)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class SpendLimitRequest(RequestBody):
    #: What all running stays together may cost an hour; ``null`` lifts the limit.
    limit_micros_per_hour: Micros | None


class BudgetRequest(RequestBody):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scope: Scope = "account"
    #: The label, or the rental's id; empty for the whole account.
    scope_value: Annotated[str, Field(max_length=100)] = ""
    period: Period = "month"
    limit_micros: Micros
    hard_stop: bool = True
    alert_percents: Percents = Field(default_factory=lambda: list(DEFAULT_ALERTS))


class BudgetChange(RequestBody):
    limit_micros: Micros | None = None
    hard_stop: bool | None = None
    alert_percents: Percents | None = None


class GrantBody(ResponseBody):
    remaining_micros: int
    expires_at: str | None


class WalletBody(ResponseBody):
    account_id: str
    currency: str
    posted_micros: int
    held_micros: int
    #: What a new start may hold: posted - held.
    available_micros: int
    #: What was paid, and promotional credit, which is spent first.
    paid_micros: int
    promo_micros: int
    grants: list[GrantBody]
    #: What all stays that hold money cost an hour.
    burn_micros_per_hour: int
    spend_limit_micros_per_hour: int | None
    #: Until nothing is left at the present burn; ``null`` while nothing runs.
    seconds_left: int | None
    #: Less than a day, four hours, one hour is left: ``info``, ``warning``, ``critical``.
    alert: str
    #: ``active``, ``low``, ``stopped``: what runs is being stopped, ``data_hold``: it has; ``delinquent``.
    state: WalletState
    #: Of ``stopped`` and ``data_hold``: volumes of what was stopped for want of money are kept until then.
    data_kept_until: str | None


class BudgetBody(ResponseBody):
    budget_id: str
    name: str
    scope: Scope
    scope_value: str
    period: Period
    #: ``yyyy-mm`` (UTC), or ``total``.
    period_key: str
    limit_micros: int
    spent_micros: int
    #: Set aside for the runway of what runs.
    held_micros: int
    remaining_micros: int
    hard_stop: bool
    alert_percents: list[int]
    alerted_percent: int
    created_at: str


class BudgetsBody(ResponseBody):
    items: list[BudgetBody]


class EntryBody(ResponseBody):
    #: Counts from 1 without a hole.
    version: int
    kind: str
    purse: Literal["paid", "promo"]
    amount_micros: int
    balance_after_micros: int
    posted_at: str
    journal_key: str
    reverses: str | None
    #: Why: rental and seconds of a charge, evidence of a service credit, reason of a credit.
    details: dict[str, object]
    #: SHA-256 over this entry and the one before.
    hash: str
    previous_hash: str


class EntriesBody(ResponseBody):
    items: list[EntryBody]
    next_cursor: str | None


class SealPartBody(ResponseBody):
    size: int
    root: str


class SealBody(ResponseBody):
    """``root``: SHA-256 of the JSON ``[previous_root, day, sealed_at_ms, [[size, root], ...]]``."""

    day: str
    previous_root: str
    sealed_at_ms: int
    parts: list[SealPartBody]
    root: str


class ProofBody(ResponseBody):
    """The leaf is the JSON ``[account_id, version, hash]``; trees, prefixes and paths as in RFC 9162."""

    account_id: str
    version: int
    hash: str
    part: int
    index: int
    path: list[str]
    seal: SealBody


class UsageSumBody(ResponseBody):
    #: The hour, day or month (UTC) that it is of.
    start: str
    #: The rental, label or GPU type; ``null`` where there is no label, or all is one group.
    group: str | None
    seconds: int
    gpu_seconds: int
    charge_micros: int


class UsageBody(ResponseBody):
    bucket: str
    group_by: str
    currency: str
    items: list[UsageSumBody]
    total_gpu_seconds: int
    total_charge_micros: int


def render_usage(found: list[UsageSum], bucket: str, group_by: str, currency: str) -> UsageBody:
    items = [
        UsageSumBody(
            start=each.start,
            group=each.group,
            seconds=each.seconds,
            gpu_seconds=each.gpu_seconds,
            charge_micros=each.micros,
        )
        for each in found
    ]
    return UsageBody(
        bucket=bucket,
        group_by=group_by,
        currency=currency,
        items=items,
        total_gpu_seconds=sum(each.gpu_seconds for each in items),
        total_charge_micros=sum(each.charge_micros for each in items),
    )


def render_wallet(wallet: Wallet) -> WalletBody:
    balance = wallet.balance
    kept_until_ms = find_data_hold_end(balance)
    return WalletBody(
        account_id=balance.account_id,
        currency=balance.currency,
        posted_micros=balance.posted_micros,
        held_micros=balance.held_micros,
        available_micros=balance.available_micros,
        paid_micros=balance.paid_micros,
        promo_micros=balance.promo_micros,
        grants=[
            GrantBody(
                remaining_micros=each.remaining_micros,
                expires_at=None if each.expires_at_ms is None else format_instant(each.expires_at_ms),
            )
            for each in balance.grants
        ],
        burn_micros_per_hour=balance.burn_micros_per_hour,
        spend_limit_micros_per_hour=balance.spend_limit_micros_per_hour,
        seconds_left=balance.seconds_left,
        alert=ALERT_NAMES[balance.alert_level],
        state=find_state(balance),
        data_kept_until=None if kept_until_ms is None else format_instant(kept_until_ms),
    )


def render_budget(budget: Budget) -> BudgetBody:
    return BudgetBody(
        budget_id=budget.budget_id,
        name=budget.name,
        scope=budget.scope,
        scope_value=budget.scope_value,
        period=budget.period,
        period_key=budget.period_key,
        limit_micros=budget.limit_micros,
        spent_micros=budget.spent_micros,
        held_micros=budget.held_micros,
        remaining_micros=budget.remaining_micros,
        hard_stop=budget.hard_stop,
        alert_percents=list(budget.alert_percents),
        alerted_percent=budget.alerted_percent,
        created_at=format_instant(budget.created_at_ms),
    )


def render_entries(page: Page[PostedLeg]) -> EntriesBody:
    return EntriesBody(
        items=[_render_entry(each) for each in page.items], next_cursor=encode_cursor(page.next_key)
    )


def render_proof(proof: Proof) -> ProofBody:
    head, seal = proof.head, proof.seal
    return ProofBody(
        account_id=head.account_id,
        version=head.version,
        hash=head.hash,
        part=proof.part,
        index=proof.index,
        path=list(proof.path),
        seal=SealBody(
            day=seal.day,
            previous_root=seal.previous_root,
            sealed_at_ms=seal.sealed_at_ms,
            parts=[SealPartBody(size=each.size, root=each.root) for each in seal.parts],
            root=seal.root,
        ),
    )


def _render_entry(entry: PostedLeg) -> EntryBody:
    leg, journal = entry.leg, entry.journal
    return EntryBody(
        version=leg.version,
        kind=journal.kind,
        purse="promo" if leg.ledger_account.endswith(":promo") else "paid",
        amount_micros=leg.amount_micros,
        balance_after_micros=leg.balance_after_micros,
        posted_at=format_instant(leg.posted_at_ms),
        journal_key=journal.key,
        reverses=journal.reverses,
        details=dict(journal.details),
        hash=leg.hash,
        previous_hash=leg.previous_hash,
    )
