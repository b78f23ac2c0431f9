"""Token buckets in DynamoDB. One conditional update takes tokens; where it fails, it brings what is there.

A bucket that is not full is put off by an addition under the condition that its room is enough, one that is
full (or absent) is set: so no two callers can take the same token, and nobody reads first.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.connection import Connection

from chalicelib.core.errors import Unavailable
from chalicelib.core.throttling import SECOND_US, Grant, RateQuota, take_tokens
from chalicelib.storage import keys
from chalicelib.storage.tables.limits import BucketItem

#: An attempt fails only if somebody else took of the bucket in between, or the first one guessed wrong.
MAX_ATTEMPTS = 4
#: How long a full bucket stays before it may be removed: an hour of clocks that are wrong.
KEPT_SECONDS = 3_600


class DynamoBucketStore:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, bucket: str, quota: RateQuota, most: int, now_us: int, full_at_us: int) -> Grant:
        """Implements `chalicelib.runtime.throttling.BucketStore`."""
        for _ in range(MAX_ATTEMPTS):
            grant = take_tokens(quota, full_at_us, now_us, most)
            if grant.tokens == 0:
                break
            try:
                answer = self._connection.client.update_item(
                    **_build_update(bucket, quota, grant, now_us, full_at_us)
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise Unavailable("The limits could not be read.") from error
                full_at_us = _read_instant(error.response.get("Item"))
            except BotoCoreError as error:
                raise Unavailable("The limits could not be read.") from error
            else:
                return Grant(grant.tokens, _read_instant(answer.get("Attributes")))
        # Empty, or so many take of it that it is nearly so.
        return Grant(0, full_at_us)


def _build_update(
    bucket: str, quota: RateQuota, grant: Grant, now_us: int, full_at_us: int
) -> dict[str, Any]:
    taken_us = grant.tokens * quota.interval_us
    values = {":now": now_us, ":expires": (now_us + quota.span_us) // SECOND_US + KEPT_SECONDS}
    if full_at_us < now_us:
        update = "SET full_at_us = :full, expires_at = :expires"
        condition = "attribute_not_exists(full_at_us) OR full_at_us < :now"
        values[":full"] = now_us + taken_us
    else:
        update = "SET full_at_us = full_at_us + :taken, expires_at = :expires"
        condition = "full_at_us BETWEEN :now AND :last"
        values |= {":taken": taken_us, ":last": now_us + quota.span_us - taken_us}
    return {
        "TableName": BucketItem.Meta.table_name,
        "Key": {"pk": {"S": keys.bucket(bucket)}, "sk": {"S": keys.BUCKET}},
        "UpdateExpression": update,
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {name: {"N": str(value)} for name, value in values.items()},
        "ReturnValues": "UPDATED_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _read_instant(item: dict[str, Any] | None) -> int:
    return int(item["full_at_us"]["N"]) if item and "full_at_us" in item else 0
