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
    state: str
    data_kept_until: str | None


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


class SealPart(TypedDict):
    size: int
    root: str


class Seal(TypedDict):
    """A day's root over all wallets, chained to the day before."""

    day: str
    previous_root: str
    sealed_at_ms: int
    parts: list[SealPart]
    root: str


class LedgerProof(TypedDict):
    """At which entry the ledger stood when the day was sealed, and the way from there to the seal."""

    account_id: str
    version: int
    hash: str
    part: int
    index: int
    path: list[str]
    seal: Seal


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


class WebPage(TypedDict):
    url: str


class PaymentMethod(TypedDict):
    payment_method_id: str
    kind: str
    brand: str | None
    last4: str | None
    expires: str | None


class PaymentMethods(TypedDict):
    items: list[PaymentMethod]


class AutoTopUp(TypedDict):
    state: str
    paused_reason: str | None
    threshold_micros: int
    amount_micros: int
    monthly_limit_micros: int
    month_micros: int
    currency: str
    payment_method_id: str
    top_up_id: str | None


class RemovalSettings(TypedDict):
    """Whether removals are bought for each month's residual emissions, and for how much at most."""

    enabled: bool
    max_micros_per_month: int
    currency: str
    beneficiary_name: str | None
    next_month: str | None


class RemovalDelivery(TypedDict):
    delivered_at: str
    mass_mg: int
    supplier: str
    country: str | None
    registry_url: str | None


class RemovalPurchase(TypedDict):
    """A line of its own: nothing in it is taken off emissions."""

    month: str
    state: str
    reason: str | None
    residual_mg: int
    quantity_mg: int
    limited: bool
    price_micros: int
    returned_micros: int
    currency: str
    beneficiary_name: str | None
    product_id: str | None
    product_name: str | None
    order_id: str | None
    delivery_year: int | None
    certificate_url: str | None
    deliveries: list[RemovalDelivery]
    planned_at: str
    charged_at: str | None


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


class BillingDetails(TypedDict):
    name: str
    address_lines: list[str]
    country: str
    tax_id: str


class StatementHead(TypedDict):
    month: str
    state: str
    number: str | None
    issued_at: str | None
    currency: str
    digests: dict[str, str]


class StatementBalance(TypedDict):
    paid_micros: int
    promo_micros: int
    entry_version: int | None
    chain_hash: str | None


class StatementCharges(TypedDict):
    gpu_seconds: int
    charge_micros: int
    from_paid_micros: int
    from_promo_micros: int
    borne_by_platform_micros: int


class StatementStay(TypedDict):
    rental_id: str
    segment: int
    gpu_type: str
    gpu_count: int
    region: str
    label: str | None
    price_micros_per_gpu_hour: int
    first_day: str
    last_day: str
    seconds: int
    charge_micros: int
    from_paid_micros: int
    from_promo_micros: int
    borne_by_platform_micros: int


class StatementMovement(TypedDict):
    posted_at: str
    kind: str
    paid_micros: int
    promo_micros: int
    tax_micros: int
    journal_key: str
    note: str


class StatementTotal(TypedDict):
    kind: str
    paid_micros: int
    promo_micros: int


class Statement(TypedDict):
    month: str
    state: str
    number: str | None
    issued_at: str | None
    currency: str
    digests: dict[str, str]
    account_id: str
    seller: BillingDetails
    customer: BillingDetails
    opening: StatementBalance
    closing: StatementBalance
    charges: StatementCharges
    totals: list[StatementTotal]
    tax_micros: int
    stays: list[StatementStay]
    stay_count: int
    movements: list[StatementMovement]
    movement_count: int


class Link(TypedDict):
    url: str
    expires_at: str
