"""What the authorization server keeps: each record as one text, beside it what keys and indexes need."""

from typing import Any

from pynamodb.attributes import UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ClientsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class GrantsByUser(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_user"
        projection = AllProjection()

    user_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class OAuthItem(Table):
    class Meta(TableMeta):
        table_name = "oauth"

    by_account = ClientsByAccount()
    by_user = GrantsByUser()
    #: JSON of the record; its version stands outside, where conditions reach it.
    record = UnicodeAttribute()
    version = IntegerAttribute()
    #: Of clients and of grants alone.
    account_id = UnicodeAttribute(null=True)
    user_id = UnicodeAttribute(null=True)
    #: Seconds, for TTL. Expiry is checked in code too.
    expires_at = IntegerAttribute(null=True)
