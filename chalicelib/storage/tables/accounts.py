"""Accounts, their keys, the installation."""

from typing import Any

from pynamodb.attributes import UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AccountsTable(Table):
    class Meta(TableMeta):
        table_name = "accounts"


class InstallationItem(AccountsTable):
    #: Under another name in the table: the index by account lists keys, and nothing else.
    account_id = UnicodeAttribute(attr_name="operator_account_id")
    operator_key_id = UnicodeAttribute()


class AccountItem(AccountsTable):
    name = UnicodeAttribute()
    currency = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    suspended_at_ms = IntegerAttribute(null=True)
    suspended_reason = UnicodeAttribute(null=True)
    closed_at_ms = IntegerAttribute(null=True)


class ApiKeyItem(AccountsTable):
    account_id = UnicodeAttribute()
    by_account = ByAccount()
    role = UnicodeAttribute()
    label = UnicodeAttribute()
    digest = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    host_id = UnicodeAttribute(null=True)
    revoked_at_ms = IntegerAttribute(null=True)
    #: None: all of the role. DynamoDB knows no empty set.
    permissions = UnicodeSetAttribute(null=True)
    networks = UnicodeSetAttribute(null=True)
    expires_at_ms = IntegerAttribute(null=True)
    last_used_at_ms = IntegerAttribute(null=True)
    predecessor_id = UnicodeAttribute(null=True)
    successor_id = UnicodeAttribute(null=True)
    issued_by = UnicodeAttribute(null=True)


class IssuedKeyItem(AccountsTable):
    """That somebody issued a key: found by who it was, consistently."""
