"""What the keys of persons ask of DynamoDB: a tombstone over the key, and no second key."""

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.privacy.key_store import DynamoPersonKeys
from chalicelib.privacy.model import PersonKey
from tests.unit.storage.wire import Wire, fill

STORE = DynamoPersonKeys()
KEY = PersonKey("usr_1", b"\x00wrapped\xff", 5)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def failure(operation, code):
    return ClientError({"Error": {"Code": code, "Message": ""}}, operation)


def test_a_key_comes_back_as_it_went_and_is_read_consistently(wire):
    assert STORE.add_key(KEY)
    assert fill(wire.last["ConditionExpression"], wire.last) == "attribute_not_exists (pk)"
    wire.answers.append({"Item": wire.last["Item"]})
    assert STORE.get_key("usr_1") == KEY
    assert wire.last["ConsistentRead"] is True
    assert STORE.get_key("usr_2") is None


def test_a_second_key_is_refused_and_a_failure_is_no_refusal(wire):
    wire.answers.append(failure("PutItem", "ConditionalCheckFailedException"))
    assert not STORE.add_key(KEY)
    wire.answers.append(failure("PutItem", "InternalServerError"))
    with pytest.raises(Unavailable):
        STORE.add_key(KEY)


def test_destroying_takes_the_wrapped_key_out_and_keeps_the_first_instant(wire):
    STORE.destroy_key("usr_1", 9)
    asked = fill(wire.last["UpdateExpression"], wire.last)
    assert "REMOVE wrapped" in asked
    assert "destroyed_at_ms = if_not_exists (destroyed_at_ms" in asked
    assert "ConditionExpression" not in wire.last
    wire.answers.append(failure("UpdateItem", "InternalServerError"))
    with pytest.raises(Unavailable):
        STORE.destroy_key("usr_1", 9)
