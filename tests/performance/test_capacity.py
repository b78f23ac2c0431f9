"""The arithmetic of capacity units, on figures worked out by hand."""

import pytest

from tests.performance.capacity import (
    compute_index_units,
    compute_item_bytes,
    compute_read_units,
    compute_write_units,
)
from tests.performance.consumption import widen

KEY = ("pool", "rank")


def sized(size):
    return {"a": {"S": "x" * (size - 1)}}


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"pk": {"S": "ab"}}, 4),
        ({"name": {"S": "é"}}, 6),
        ({"n": {"N": "0"}}, 2),
        ({"n": {"N": "27"}}, 3),
        ({"n": {"N": "-27"}}, 4),
        ({"n": {"N": "1800000000000"}}, 3),
        ({"n": {"N": "1234567890123"}}, 9),
        ({"b": {"BOOL": True}, "z": {"NULL": True}}, 4),
        ({"m": {"M": {"GPU-1": {"N": "7"}}}}, 1 + 3 + 1 + 5 + 2),
        ({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}, 1 + 3 + 2 + 3),
        ({"s": {"SS": ["ab", "c"]}, "b": {"B": b"xyz"}}, 1 + 3 + 1 + 3),
    ],
)
def test_an_item_weighs_its_names_and_values(item, size):
    assert compute_item_bytes(item) == size


def test_reads_are_paid_by_four_kilobytes_together_and_half_when_they_may_be_old():
    assert compute_read_units([], consistent=False) == 0.5
    assert compute_read_units([sized(4096)], consistent=True) == 1
    assert compute_read_units([sized(4097)], consistent=True) == 2
    assert compute_read_units([sized(700)] * 8, consistent=False) == 1


def test_writes_are_paid_by_the_larger_kilobyte_and_twice_in_a_transaction():
    assert compute_write_units(None, sized(1024), transactional=False) == 1
    assert compute_write_units(sized(1025), sized(10), transactional=False) == 2
    assert compute_write_units(sized(1025), None, transactional=True) == 4


def test_an_index_pays_for_what_changes_in_it_and_twice_for_a_key():
    low = {"pool": {"S": "p"}, "rank": {"N": "1"}, "x": {"S": "y"}}
    high, other = low | {"rank": {"N": "2"}}, low | {"x": {"S": "z"}}
    assert compute_index_units(low, low, KEY) == 0
    assert compute_index_units(low, other, KEY) == 1
    assert compute_index_units(low, high, KEY) == 2
    assert compute_index_units(None, low, KEY) == 1
    assert compute_index_units(low, None, KEY) == 1
    assert compute_index_units(sized(9), sized(10), KEY) == 0


def test_a_read_is_paid_for_whole_and_before_its_filter():
    asked = {
        "TableName": "t",
        "KeyConditionExpression": "#0 = :0 AND #10 < :1",
        "FilterExpression": "#2 = :2",
        "ProjectionExpression": "#1, #3",
        "ExpressionAttributeNames": {"#0": "pk", "#1": "a", "#2": "b", "#3": "c", "#10": "sk"},
        "ExpressionAttributeValues": {":0": {"S": "p"}, ":1": {"S": "s"}, ":2": {"N": "1"}},
        "Limit": 3,
    }
    assert widen(asked) == {
        "TableName": "t",
        "KeyConditionExpression": "#0 = :0 AND #10 < :1",
        "ExpressionAttributeNames": {"#0": "pk", "#10": "sk"},
        "ExpressionAttributeValues": {":0": {"S": "p"}, ":1": {"S": "s"}},
        "Limit": 3,
    }
    assert widen({"TableName": "t", "Key": {}, "ExpressionAttributeNames": {"#0": "a"}}) == {
        "TableName": "t",
        "Key": {},
    }
