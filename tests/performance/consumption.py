"""Watches this process's calls to DynamoDB and says what each consumed, by call and by partition key.

The embedded DynamoDB answers ReturnConsumedCapacity by count of items, not by their sizes; so items are read
before and after each write, uncounted, and priced by `tests.performance.capacity`; what a read took a part of
is read whole. One thread writes; several may read.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from chalicelib import wiring
from chalicelib.storage.connection import bind
from tests.performance.capacity import Item, compute_index_units, compute_read_units, compute_write_units

Call = Callable[[str, dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class _Write:
    table: str
    key: Item
    #: Written to: a check is paid as a write, and changes no index.
    changes: bool = True


@dataclass
class Consumption:
    """What was consumed inside the ``with``. Keys are ``table:partition`` and ``table/index:partition``."""

    calls: list[str] = field(default_factory=list)
    read_units: float = 0.0
    write_units: int = 0
    write_units_by_key: Counter[str] = field(default_factory=Counter)
    _paused: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def units(self) -> float:
        return self.read_units + self.write_units

    @contextmanager
    def pause(self) -> Iterator[None]:
        """For what a bench does beside what it measures."""
        self._paused = True
        yield
        self._paused = False

    def add_read(self, units: float) -> None:
        with self._lock:
            self.read_units += units

    def add_write(self, key: str, units: int) -> None:
        self.write_units += units
        self.write_units_by_key[key] += units


@contextmanager
def watch_consumption() -> Iterator[Consumption]:
    client = bind(wiring.settings().table_prefix, wiring.settings().aws_region).client
    make_call: Call = client._make_api_call
    consumed, tables = Consumption(), _Tables(make_call)

    def watched(operation: str, arguments: dict[str, Any]) -> Any:
        if consumed._paused:
            return make_call(operation, arguments)
        consumed.calls.append(operation)
        writes = _list_writes(operation, arguments)
        before = [tables.read(write) for write in writes]
        answer = make_call(operation, arguments)
        whole = widen(arguments) if operation in {"GetItem", "Query"} else arguments
        seen = answer if whole == arguments else make_call(operation, whole)
        consumed.add_read(_price_read(operation, arguments, seen))
        transactional = operation == "TransactWriteItems"
        for write, old in zip(writes, before, strict=True):
            new = tables.read(write) if write.changes else old
            pk = write.key["pk"]["S"]
            units = compute_write_units(old, new, transactional=transactional)
            consumed.add_write(f"{write.table}:{pk}", units)
            for name, key in tables.list_indexes(write.table):
                moved = compute_index_units(old, new, key)
                if moved:
                    partition = (new or old or {}).get(key[0]) or (old or {})[key[0]]
                    consumed.add_write(f"{write.table}/{name}:{partition['S']}", moved)
        return answer

    with mock.patch.object(client, "_make_api_call", watched):
        yield consumed


class _Tables:
    """Reads items, and the keys of indexes, around the count."""

    def __init__(self, make_call: Call) -> None:
        self._make_call = make_call
        self._indexes: dict[str, list[tuple[str, tuple[str, ...]]]] = {}

    def read(self, write: _Write) -> Item | None:
        wanted = {"TableName": write.table, "Key": write.key, "ConsistentRead": True}
        found: Item | None = self._make_call("GetItem", wanted).get("Item")
        return found

    def list_indexes(self, table: str) -> list[tuple[str, tuple[str, ...]]]:
        if table not in self._indexes:
            described = self._make_call("DescribeTable", {"TableName": table})["Table"]
            self._indexes[table] = [
                (index["IndexName"], tuple(part["AttributeName"] for part in index["KeySchema"]))
                for index in described.get("GlobalSecondaryIndexes", ())
            ]
        return self._indexes[table]


def _list_writes(operation: str, arguments: dict[str, Any]) -> list[_Write]:
    if operation == "TransactWriteItems":
        return [_read_write(kind, each) for item in arguments["TransactItems"] for kind, each in item.items()]
    if operation == "BatchWriteItem":
        return [
            _Write(table, _cut_key(each.get("PutRequest", {}).get("Item") or each["DeleteRequest"]["Key"]))
            for table, requests in arguments["RequestItems"].items()
            for each in requests
        ]
    kinds = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete"}
    return [_read_write(kinds[operation], arguments)] if operation in kinds else []


def _read_write(kind: str, asked: dict[str, Any]) -> _Write:
    key = asked["Item"] if kind == "Put" else asked["Key"]
    return _Write(asked["TableName"], _cut_key(key), kind != "ConditionCheck")


def _cut_key(item: Item) -> Item:
    return {name: item[name] for name in ("pk", "sk")}


def widen(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a read's arguments without what leaves a part of it out: whole items are paid for, found or not.

    Source: AWS, Amazon DynamoDB Developer Guide, "Read and write operations": consumption of Query.
    """
    whole = {
        name: value
        for name, value in arguments.items()
        if name not in {"ProjectionExpression", "FilterExpression"}
    }
    left = whole.get("KeyConditionExpression", "")
    for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        # What no expression names is refused.
        kept = {
            key: value
            for key, value in whole.pop(name, {}).items()
            if re.search(rf"{re.escape(key)}\b", left)
        }
        if kept:
            whole[name] = kept
    return whole


def _price_read(operation: str, arguments: dict[str, Any], answer: Any) -> float:
    consistent = bool(arguments.get("ConsistentRead"))
    if operation == "GetItem":
        return compute_read_units([answer["Item"]] if "Item" in answer else [], consistent=consistent)
    if operation == "Query":
        return compute_read_units(answer["Items"], consistent=consistent)
    if operation == "BatchGetItem":
        return sum(
            compute_read_units(
                [item], consistent=bool(arguments["RequestItems"][table].get("ConsistentRead"))
            )
            for table, items in answer["Responses"].items()
            for item in items
        )
    return 0.0
