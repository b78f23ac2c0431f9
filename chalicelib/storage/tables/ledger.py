"""The books: journals and legs, balances, holds and budgets, what was used on which day."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class LedgerTable(Table):
    """Append only: the functions' roles may put and read here, never update or delete."""

    class Meta(TableMeta):
        table_name = "ledger"


class JournalItem(LedgerTable):
    source = UnicodeAttribute()
    source_id = UnicodeAttribute()
    kind = UnicodeAttribute()
    account_id = UnicodeAttribute()
    currency = UnicodeAttribute()
    fingerprint = UnicodeAttribute()
    legs: JSONAttribute = JSONAttribute()
    #: Keys of the rows of ``legs``, in the same order.
    leg_keys: JSONAttribute = JSONAttribute()
    details: JSONAttribute = JSONAttribute()
    reverses = UnicodeAttribute(null=True)
    posted_at_ms = IntegerAttribute()


class LegItem(LedgerTable):
    """``version``, ``balance_after_micros`` and the hashes are of customers' legs, which form a chain."""

    ledger_account = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    currency = UnicodeAttribute()
    journal_key = UnicodeAttribute()
    posted_at_ms = IntegerAttribute()
    version = IntegerAttribute(null=True)
    balance_after_micros = IntegerAttribute(null=True)
    previous_hash = UnicodeAttribute(null=True)
    hash = UnicodeAttribute(null=True)


class SealItem(LedgerTable):
    """A day's seal: the root over the heads of all chains, chained to the day before."""

    previous_root = UnicodeAttribute()
    sealed_at_ms = IntegerAttribute()
    parts: JSONAttribute = JSONAttribute()
    root = UnicodeAttribute()


class TamperingItem(LedgerTable):
    """A change of this table that was told once."""

    kind = UnicodeAttribute()
    key = UnicodeAttribute()
    old_fingerprint = UnicodeAttribute()
    new_fingerprint = UnicodeAttribute()


class BalancesTable(Table):
    class Meta(TableMeta):
        table_name = "balances"


class BalancesByDue(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_due"
        projection = AllProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    due_at_ms = IntegerAttribute(range_key=True)


class BalanceItem(BalancesTable):
    account_id = UnicodeAttribute()
    currency = UnicodeAttribute()
    posted_micros = IntegerAttribute()
    held_micros = IntegerAttribute()
    #: Stored because a condition cannot subtract: always posted - held.
    available_micros = IntegerAttribute()
    leg_version = IntegerAttribute(null=True)
    chain_hash = UnicodeAttribute(null=True)
    grants: JSONAttribute = JSONAttribute(null=True)
    burn_micros_per_hour = IntegerAttribute()
    spend_limit_micros_per_hour = IntegerAttribute(null=True)
    alert_level = IntegerAttribute(null=True)
    exhausted_at_ms = IntegerAttribute(null=True)
    paid_since_ms = IntegerAttribute(null=True)
    month = UnicodeAttribute(null=True)
    #: Stored for the same reason, where there is a limit: always limit - burn.
    spend_headroom_micros_per_hour = IntegerAttribute(null=True)
    #: How many budgets the account has; a start that knows of none is refused by it.
    budget_count = IntegerAttribute(null=True)
    #: Sparse: when a grant expires next.
    due_shard = UnicodeAttribute(null=True)
    due_at_ms = IntegerAttribute(null=True)
    by_due = BalancesByDue()


class HoldItem(BalancesTable):
    hold_id = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    captured_micros = IntegerAttribute()
    state = UnicodeAttribute()
    rate_micros_per_hour = IntegerAttribute()
    rental_id = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    label = UnicodeAttribute(null=True)
    budget_ids: JSONAttribute = JSONAttribute(null=True)


class BudgetItem(Table):
    class Meta(TableMeta):
        table_name = "budgets"

    budget_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    name = UnicodeAttribute()
    scope = UnicodeAttribute()
    scope_value = UnicodeAttribute()
    period = UnicodeAttribute()
    period_key = UnicodeAttribute()
    limit_micros = IntegerAttribute()
    hard_stop = IntegerAttribute()
    alert_percents: JSONAttribute = JSONAttribute()
    alerted_percent = IntegerAttribute()
    spent_micros = IntegerAttribute()
    held_micros = IntegerAttribute()
    #: Always limit - spent - held.
    remaining_micros = IntegerAttribute()
    created_at_ms = IntegerAttribute()


class MonthTable(Table):
    """A month of an account's books: the days that its stays were charged for, and all other journals."""

    class Meta(TableMeta):
        table_name = "usage"


class UsageItem(MonthTable):
    """One UTC day of one stay. It also has ``h<hour>s`` and ``h<hour>m``: seconds and micros by hour.

    Months are read by ten thousands of these: what does not change in a stay is one attribute, ``facts``: GPU
    type, GPU count, region and micros per GPU-hour; what is nothing is not there.
    """

    facts: JSONAttribute = JSONAttribute()
    label = UnicodeAttribute(null=True)
    seconds = IntegerAttribute()
    micros = IntegerAttribute()
    promo_micros = IntegerAttribute(null=True)
    overrun_micros = IntegerAttribute(null=True)


class EntryItem(MonthTable):
    facts: JSONAttribute = JSONAttribute()


class StatementsTable(Table):
    class Meta(TableMeta):
        table_name = "statements"


class StatementsByPending(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_pending"
        projection = KeysOnlyProjection()

    pending_shard = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class StatementItem(StatementsTable):
    """A month of an account's books from its first posting until its statement is issued."""

    currency = UnicodeAttribute()
    state = UnicodeAttribute()
    opened_at_ms = IntegerAttribute()
    opening: JSONAttribute = JSONAttribute()
    closed_at_ms = IntegerAttribute(null=True)
    closing: JSONAttribute = JSONAttribute(null=True)
    number = UnicodeAttribute(null=True)
    numbered_at_ms = IntegerAttribute(null=True)
    #: As it was when it was numbered.
    customer: JSONAttribute = JSONAttribute(null=True)
    #: SHA-256 by format.
    digests: JSONAttribute = JSONAttribute(null=True)
    #: Once it is issued: when the law asks for it no more.
    expires_at = IntegerAttribute(null=True)
    #: Sparse: until it is issued.
    pending_shard = UnicodeAttribute(null=True)
    by_pending = StatementsByPending()


class NumbersItem(StatementsTable):
    """The last number that was given in a year."""

    last = IntegerAttribute()


class BillingDetailsItem(StatementsTable):
    details: JSONAttribute = JSONAttribute()
