"""What we rely on in the embedded DynamoDB; a MiniStack upgrade that breaks one of these is caught here."""

import time
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.conformance.conftest import run_threads

THREADS, ROUNDS, START = 8, 40, 1000


def key(name: str, sort: str = "-") -> dict[str, dict[str, str]]:
    return {"pk": {"S": name}, "sk": {"S": sort}}


def read_number(dynamodb, table: str, name: str) -> int:
    item = dynamodb.get_item(TableName=table, Key=key(name), ConsistentRead=True)["Item"]
    return int(item["n"]["N"])


def build_add(table: str, name: str, amount: int, *, floor: int | None = None) -> dict:
    update = {
        "TableName": table,
        "Key": key(name),
        "UpdateExpression": "ADD n :amount",
        "ExpressionAttributeValues": {":amount": {"N": str(amount)}},
    }
    if floor is not None:
        update["ConditionExpression"] = "n >= :floor"
        update["ExpressionAttributeValues"][":floor"] = {"N": str(floor)}
    return {"Update": update}


def test_transactions_from_many_threads_lose_no_update(aws, table):
    dynamodb = aws.client("dynamodb")
    for name, value in (("a", START), ("b", 0)):
        dynamodb.put_item(TableName=table, Item={**key(name), "n": {"N": str(value)}})

    def move(_: int) -> None:
        for _ in range(ROUNDS):
            transfer = [build_add(table, "a", -1, floor=1), build_add(table, "b", 1)]
            try:
                dynamodb.transact_write_items(TransactItems=transfer)
            except dynamodb.exceptions.TransactionCanceledException:
                continue

    assert run_threads(THREADS, move) == []
    moved = read_number(dynamodb, table, "b")
    assert moved > 0
    assert read_number(dynamodb, table, "a") + moved == START


def test_of_many_transactions_that_take_the_last_one_only_one_succeeds(aws, table):
    dynamodb = aws.client("dynamodb")
    dynamodb.put_item(TableName=table, Item={**key("last"), "n": {"N": "1"}})
    raised = run_threads(
        THREADS,
        lambda _: dynamodb.transact_write_items(TransactItems=[build_add(table, "last", -1, floor=1)]),
    )
    assert len(raised) == THREADS - 1
    assert {error.response["Error"]["Code"] for error in raised} == {"TransactionCanceledException"}
    assert read_number(dynamodb, table, "last") == 0


def test_a_client_token_makes_a_transaction_happen_once(aws, table):
    dynamodb = aws.client("dynamodb")
    dynamodb.put_item(TableName=table, Item={**key("once"), "n": {"N": "0"}})
    token = str(uuid.uuid4())
    for _ in range(3):
        dynamodb.transact_write_items(TransactItems=[build_add(table, "once", 1)], ClientRequestToken=token)
    assert read_number(dynamodb, table, "once") == 1
    with pytest.raises(dynamodb.exceptions.IdempotentParameterMismatchException):
        dynamodb.transact_write_items(TransactItems=[build_add(table, "once", 2)], ClientRequestToken=token)
    assert read_number(dynamodb, table, "once") == 1


def test_a_failed_condition_says_which_one_and_what_stood_there(aws, table):
    dynamodb = aws.client("dynamodb")
    dynamodb.put_item(TableName=table, Item={**key("taken"), "owner": {"S": "first"}})
    put = {
        "TableName": table,
        "Item": {**key("taken"), "owner": {"S": "second"}},
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    other = {"Put": {"TableName": table, "Item": key("other")}}
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as caught:
        dynamodb.transact_write_items(TransactItems=[other, {"Put": put}])
    first, second = caught.value.response["CancellationReasons"]
    assert first["Code"] == "None"
    assert second["Code"] == "ConditionalCheckFailed"
    assert second["Item"]["owner"] == {"S": "first"}
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key("other"))
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.put_item(**{name: put[name] for name in ("TableName", "Item", "ConditionExpression")})


def test_a_transaction_of_a_hundred_items_is_taken_and_one_more_is_refused(aws, table):
    dynamodb = aws.client("dynamodb")
    puts = [{"Put": {"TableName": table, "Item": key("many", f"{n:03}")}} for n in range(101)]
    with pytest.raises(ClientError):
        dynamodb.transact_write_items(TransactItems=puts)
    dynamodb.transact_write_items(TransactItems=puts[:100])
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "many"}},
        Limit=60,
    )
    assert found["Count"] == 60
    rest = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "many"}},
        ExclusiveStartKey=found["LastEvaluatedKey"],
    )
    assert rest["Count"] == 40


def test_an_index_answers_a_range_of_numbers_in_order(aws, table):
    dynamodb = aws.client("dynamodb")
    for free in (10, 2, 8, 0):
        item = {**key(f"host-{free}"), "pool": {"S": "h100"}, "free_gpus": {"N": str(free)}}
        dynamodb.put_item(TableName=table, Item=item)
    dynamodb.put_item(TableName=table, Item=key("not-in-the-index"))
    found = dynamodb.query(
        TableName=table,
        IndexName="by_pool",
        KeyConditionExpression="#pool = :pool AND free_gpus >= :free",
        ExpressionAttributeNames={"#pool": "pool"},
        ExpressionAttributeValues={":pool": {"S": "h100"}, ":free": {"N": "2"}},
    )
    assert [item["free_gpus"]["N"] for item in found["Items"]] == ["2", "8", "10"]


def test_an_item_past_its_expiry_can_still_be_read(aws, table):
    """As on AWS, where removal takes days: whoever reads has to look at the time."""
    dynamodb = aws.client("dynamodb")
    old = str(int(time.time()) - 3600)
    dynamodb.put_item(TableName=table, Item={**key("old"), "expires_at": {"N": old}})
    assert dynamodb.get_item(TableName=table, Key=key("old"))["Item"]["expires_at"] == {"N": old}


def test_sums_are_exact_beyond_any_amount_of_micros(aws, table):
    """To 28 digits; AWS keeps 38. An account of 10^18 micros is a million million dollars."""
    dynamodb = aws.client("dynamodb")
    exact = "1234567890123456789012345678"
    dynamodb.put_item(TableName=table, Item={**key("big"), "n": {"N": exact}})
    dynamodb.transact_write_items(TransactItems=[build_add(table, "big", -1)])
    assert read_number(dynamodb, table, "big") == int(exact) - 1
