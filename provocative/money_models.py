"""What the API sends of money."""

from typing import TypedDict


class Grant(TypedDict):
    remaining_micros: int
    expires_at: str | None


class Wallet(TypedDict):
    account_id: str
    currency: str
    posted_micros: int
    held_micros: int
    available_micros: int
    paid_micros: int
    promo_micros: int
    grants: list[Grant]
    burn_micros_per_hour: int
    spend_limit_micros_per_hour: int | None
    seconds_left: int | None
    alert: str


class LedgerEntry(TypedDict):
    version: int
    kind: str
    purse: str
    amount_micros: int
    balance_after_micros: int
    posted_at: str
    journal_key: str
    reverses: str | None
    details: dict[str, object]
    hash: str
    previous_hash: str


class UsageSum(TypedDict):
    start: str
    group: str | None
    seconds: int
    gpu_seconds: int
    charge_micros: int


class Usage(TypedDict):
    bucket: str
    group_by: str
    currency: str
    items: list[UsageSum]
    total_gpu_seconds: int
    total_charge_micros: int


class TopUp(TypedDict):
    top_up_id: str
    account_id: str
    kind: str
    state: str
    amount_micros: int
    currency: str
    tax_micros: int
    refunded_micros: int
    disputed_micros: int
    checkout_url: str | None
    failure_code: str | None
    receipt_url: str | None
    created_at: str


class Budget(TypedDict):
    budget_id: str
    name: str
    scope: str
    scope_value: str
    period: str
    period_key: str
    limit_micros: int
    spent_micros: int
    held_micros: int
    remaining_micros: int
    hard_stop: bool
    alert_percents: list[int]
    alerted_percent: int
    created_at: str
