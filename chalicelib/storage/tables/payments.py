"""Top-ups and their keys, customers at Stripe, Stripe's events."""

from typing import Any

from pynamodb.attributes import UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class TopUpsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


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


class StripeEventItem(PaymentsTable):
    type = UnicodeAttribute()
    payment_id = UnicodeAttribute(null=True)
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


class ReconciledItem(PaymentsTable):
    total_cents = IntegerAttribute()
