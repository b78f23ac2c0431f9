"""A write that nobody answered is told as that, also where its condition might have failed."""

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from pynamodb.exceptions import PynamoDBException, UpdateError

from chalicelib.fleet.health_store import DynamoHealthStore
from chalicelib.fleet.watch_store import DynamoWatchStore
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.store import DynamoRentalStore
from chalicelib.storage.failures import find_code, is_condition_failure
from tests.unit.storage.wire import Wire

LOST = ReadTimeoutError(endpoint_url="http://store")
REFUSED = ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")

WRITES = {
    "log": lambda: DynamoRentalStore().keep_log("rnt_1", LogExcerpt(1, "text", truncated=False)),
    "watch": lambda: DynamoWatchStore().mark_suspect("hst_1", 1),
    "capabilities": lambda: DynamoHealthStore().store_capabilities("hst_1", "GPU-1", {}, 1),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_reply_was_lost_is_no_bug_and_no_success(bound, monkeypatch, write):
    wire = Wire(bound, monkeypatch)
    wire.answers = [LOST] * 9
    with pytest.raises(PynamoDBException) as raised:
        WRITES[write]()
    assert raised.value.cause is LOST
    assert not is_condition_failure(raised.value)


def test_a_code_is_read_where_there_is_one():
    assert find_code(UpdateError("lost", LOST)) is None
    assert find_code(UpdateError("none")) is None
    assert find_code(UpdateError("refused", REFUSED)) == "ConditionalCheckFailedException"
    assert is_condition_failure(UpdateError("refused", REFUSED))
