"""Buckets of the rate limits: who called how often of late."""

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class BucketItem(Table):
    class Meta(TableMeta):
        table_name = "limits"

    #: The instant from which the bucket is full, in microseconds; what is past is as good as absent.
    full_at_us = IntegerAttribute()
    expires_at = IntegerAttribute()
