"""Top-ups and their keys, customers at Stripe, Stripe's events, removals that are bought."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta
from chalicelib.storage.tables.reports import MarksTable


class TopUpsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class OrdersByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_order"
        projection = KeysOnlyProjection()

    order_shard = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class PaymentsTable(Table):
    class Meta(TableMeta):
        table_name = "payments"


class TopUpItem(PaymentsTable):
    top_up_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    created_key = UnicodeAttribute()
    by_account = TopUpsByAccount()
    kind = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    currency = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    state = UnicodeAttribute()
    attempt = IntegerAttribute()
    checkout_url = UnicodeAttribute(null=True)
    session_id = UnicodeAttribute(null=True)
    payment_id = UnicodeAttribute(null=True)
    failure_code = UnicodeAttribute(null=True)
    receipt_url = UnicodeAttribute(null=True)
    tax_micros = IntegerAttribute()
    refunded_micros = IntegerAttribute()
    disputed_micros = IntegerAttribute()
    version = IntegerAttribute()


class TopUpKeyItem(PaymentsTable):
    """Of an Idempotency-Key, for ever: what it paid must not be paid again."""

    top_up_id = UnicodeAttribute()
    fingerprint = UnicodeAttribute()


class CustomerItem(PaymentsTable):
    customer_id = UnicodeAttribute()


class OrderItem(PaymentsTable):
    """An account's auto top-up; ``order_shard`` is there while it is on or has an attempt."""

    by_order = OrdersByAccount()
    order_shard = UnicodeAttribute(null=True)
    currency = UnicodeAttribute()
    threshold_micros = IntegerAttribute()
    amount_micros = IntegerAttribute()
    monthly_limit_micros = IntegerAttribute()
    method_id = UnicodeAttribute()
    enabled = IntegerAttribute()
    paused = UnicodeAttribute(null=True)
    open_top_up_id = UnicodeAttribute(null=True)
    open_method_id = UnicodeAttribute(null=True)
    attempted_at_ms = IntegerAttribute()
    month = UnicodeAttribute(null=True)
    month_micros = IntegerAttribute()
    version = IntegerAttribute()


class StripeEventItem(PaymentsTable):
    type = UnicodeAttribute()
    subject_id = UnicodeAttribute(null=True)
    received_at_ms = IntegerAttribute()
    done = IntegerAttribute()
    expires_at = IntegerAttribute()


class CursorItem(PaymentsTable):
    at_ms = IntegerAttribute()


class MovementItem(PaymentsTable):
    """A balance transaction that stands in both books."""

    kind = UnicodeAttribute()
    source_id = UnicodeAttribute()
    amount_cents = IntegerAttribute()
    fee_cents = IntegerAttribute()


class UnmatchedItem(MarksTable):
    """A balance transaction that no book of ours has; looked for again with each run."""

    kind = UnicodeAttribute()
    currency = UnicodeAttribute()
    source_id = UnicodeAttribute()
    amount_cents = IntegerAttribute()
    fee_cents = IntegerAttribute()


class ReconciledItem(PaymentsTable):
    total_cents = IntegerAttribute()


class RemovalSettingsItem(PaymentsTable):
    """``order_shard`` is there while the account buys."""

    by_order = OrdersByAccount()
    order_shard = UnicodeAttribute(null=True)
    enabled = IntegerAttribute()
    max_micros_per_month = IntegerAttribute()
    beneficiary_name = UnicodeAttribute(null=True)
    next_month = UnicodeAttribute(null=True)
    version = IntegerAttribute()


class PurchaseItem(PaymentsTable):
    """``order_shard`` is there until the purchase is final."""

    by_order = OrdersByAccount()
    order_shard = UnicodeAttribute(null=True)
    currency = UnicodeAttribute()
    residual_mg = IntegerAttribute()
    planned_at_ms = IntegerAttribute()
    state = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    quantity_mg = IntegerAttribute()
    price_micros = IntegerAttribute()
    limited = IntegerAttribute()
    product_id = UnicodeAttribute(null=True)
    product_name = UnicodeAttribute(null=True)
    beneficiary_name = UnicodeAttribute(null=True)
    charged_at_ms = IntegerAttribute()
    attempt = IntegerAttribute()
    order_id = UnicodeAttribute(null=True)
    delivery_year = IntegerAttribute(null=True)
    certificate_url = UnicodeAttribute(null=True)
    deliveries: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()
