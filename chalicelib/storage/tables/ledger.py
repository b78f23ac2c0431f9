"""The books: journals and legs, balances and holds."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class LedgerTable(Table):
    """Append only: the functions' roles may put and read here, never update or delete."""

    class Meta(TableMeta):
        table_name = "ledger"


class JournalItem(LedgerTable):
    source = UnicodeAttribute()
    source_id = UnicodeAttribute()
    kind = UnicodeAttribute()
    fingerprint = UnicodeAttribute()
    legs: JSONAttribute = JSONAttribute()
    leg_version = IntegerAttribute()
    posted_at_ms = IntegerAttribute()


class LegItem(LedgerTable):
    ledger_account = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    currency = UnicodeAttribute()
    journal_key = UnicodeAttribute()
    posted_at_ms = IntegerAttribute()
    balance_after_micros = IntegerAttribute(null=True)


class BalancesTable(Table):
    class Meta(TableMeta):
        table_name = "balances"


class BalanceItem(BalancesTable):
    currency = UnicodeAttribute()
    posted_micros = IntegerAttribute()
    held_micros = IntegerAttribute()
    #: Stored because a condition cannot subtract: always posted - held.
    available_micros = IntegerAttribute()
    leg_version = IntegerAttribute()


class HoldItem(BalancesTable):
    hold_id = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    state = UnicodeAttribute()
