"""What a bucket asks of DynamoDB: one conditional update, no read, a bounded number of attempts."""

import json
import re
from io import BytesIO
from types import SimpleNamespace

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ConnectTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import Unavailable
from chalicelib.core.throttling import POLICIES, SECOND_US, Grant, RateQuota, take_tokens
from chalicelib.storage.bucket_store import MAX_ATTEMPTS, DynamoBucketStore
from chalicelib.wiring.throttling import rate_limiter
from tests.fakes.wiring import rewire
from tests.unit.storage.wire import Wire

NOW_US = 1_800_000_000 * SECOND_US
QUOTA = RateQuota(60)


def refuse(full_at_us=None):
    item = {} if full_at_us is None else {"Item": {"full_at_us": {"N": str(full_at_us)}}}
    error = {"Code": "ConditionalCheckFailedException", "Message": ""}
    return ClientError({"Error": error, **item}, "UpdateItem")


def answer(full_at_us):
    return {"Attributes": {"full_at_us": {"N": str(full_at_us)}}}


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def test_a_bucket_that_nobody_has_used_is_set_in_one_call(bound, wire):
    wire.answers = [answer(NOW_US + 4 * SECOND_US)]
    assert DynamoBucketStore(bound).take("actor#key_1#read", QUOTA, 4, NOW_US, 0) == Grant(
        4, NOW_US + 4 * SECOND_US
    )
    ((operation, arguments),) = wire.calls
    assert (operation, arguments["TableName"]) == ("UpdateItem", "prefix-limits")
    assert arguments["Key"]["pk"] == {"S": "BUCKET#actor#key_1#read"}
    assert arguments["ConditionExpression"] == "attribute_not_exists(full_at_us) OR full_at_us < :now"
    # Kept until it is full again and an hour longer: nothing counts on its removal.
    assert arguments["ExpressionAttributeValues"][":expires"] == {"N": str(1_800_000_000 + 60 + 3_600)}


def test_a_bucket_in_use_is_put_off_by_an_addition_as_far_as_its_room_goes(bound, wire):
    wire.answers = [answer(NOW_US + 9 * SECOND_US)]
    DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, NOW_US + 5 * SECOND_US)
    assert wire.last["UpdateExpression"].startswith("SET full_at_us = full_at_us + :taken")
    assert wire.last["ConditionExpression"] == "full_at_us BETWEEN :now AND :last"
    assert wire.last["ExpressionAttributeValues"][":last"] == {"N": str(NOW_US + 56 * SECOND_US)}


def test_a_wrong_guess_is_put_right_with_what_the_refusal_brought(bound, wire):
    """Two are left: they are taken, where four were asked for."""
    wire.answers = [refuse(NOW_US + 58 * SECOND_US), answer(NOW_US + 60 * SECOND_US)]
    assert DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, 0).tokens == 2
    assert [operation for operation, _ in wire.calls] == ["UpdateItem"] * 2


def test_an_empty_bucket_gives_nothing_and_is_not_asked_twice(bound, wire):
    wire.answers = [refuse(NOW_US + 60 * SECOND_US)]
    assert DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, 0) == Grant(0, NOW_US + 60 * SECOND_US)
    assert len(wire.calls) == 1


def test_attempts_are_bounded_and_then_nothing_is_given(bound, wire):
    wire.answers = [refuse(NOW_US + each) for each in range(9)]
    assert DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, 0).tokens == 0
    assert len(wire.calls) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="http://x"),
        ClientError(
            {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "UpdateItem"
        ),
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "UpdateItem"),
    ],
)
def test_a_store_that_does_not_answer_says_so(bound, wire, error):
    wire.answers = [error]
    with pytest.raises(Unavailable):
        DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, 0)


class OneItem:
    """An item that knows the two conditions of a bucket, as DynamoDB would decide them."""

    def __init__(self):
        self.full_at_us = None

    def update_item(self, **asked):
        values = {name: int(value["N"]) for name, value in asked["ExpressionAttributeValues"].items()}
        old, condition = self.full_at_us, asked["ConditionExpression"]
        if "BETWEEN" in condition:
            holds = old is not None and values[":now"] <= old <= values[":last"]
        else:
            assert re.fullmatch(r"attribute_not_exists\(\w+\) OR \w+ < :now", condition)
            holds = old is None or old < values[":now"]
        if not holds:
            raise refuse(old)
        self.full_at_us = old + values[":taken"] if "BETWEEN" in condition else values[":full"]
        return answer(self.full_at_us)


class Connection:
    def __init__(self, item):
        self.client = item


#: Pause, tokens asked for, and how many takings of others the caller has missed.
STEPS = st.lists(
    st.tuples(st.integers(0, 20 * SECOND_US), st.integers(1, 20), st.integers(0, 5)), max_size=40
)


@given(st.integers(1, 200), STEPS)
def test_whatever_a_caller_knows_it_gets_what_the_bucket_has(tokens, steps):
    quota, item, now_us, seen, expected = RateQuota(tokens), OneItem(), NOW_US, [0], 0
    store = DynamoBucketStore(Connection(item))
    for pause_us, most, missed in steps:
        now_us += pause_us
        known = seen[max(0, len(seen) - 1 - missed)]
        grant = store.take("b", quota, most, now_us, known)
        wanted = take_tokens(quota, expected, now_us, most)
        assert grant == wanted
        expected = wanted.full_at_us
        seen.append(expected)


def test_what_dynamodb_sends_with_a_failed_condition_is_understood(bound):
    """The item stands in the body of the error, as the service writes it."""
    body = {
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": {"full_at_us": {"N": str(NOW_US + 60 * SECOND_US)}},
    }

    class Raw(BytesIO):
        def stream(self, **_):
            yield self.read()

    def send(request, **_):
        headers = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 400, headers, Raw(json.dumps(body).encode()))

    bound.client.meta.events.register("before-send.dynamodb.UpdateItem", send)
    grant = DynamoBucketStore(bound).take("b", QUOTA, 4, NOW_US, 0)
    assert grant == Grant(0, NOW_US + 60 * SECOND_US)


def test_a_stage_multiplies_the_limits(bound, monkeypatch):
    told = SimpleNamespace(table_prefix="prefix", aws_region="us-east-1", rate_limit_factor=3)
    rewire(monkeypatch, settings=told)
    rate_limiter.cache_clear()
    limiter = rate_limiter()
    assert limiter.policies["read"].quotas["actor"].tokens == 3 * POLICIES["read"].quotas["actor"].tokens
    rate_limiter.cache_clear()
