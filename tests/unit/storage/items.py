"""A few DynamoDB calls over items in memory, at the point where the models would call botocore.

Knows the conditions that the catalogue's stores use, and refuses every other one.
"""

import re
from typing import Any

from botocore.exceptions import ClientError
from pynamodb.exceptions import CancellationReason, VerboseClientError

_TOKEN = re.compile(
    r"\s*(attribute_exists|attribute_not_exists|BETWEEN|AND|OR|<=|>=|<|>|=|\(|\)|#\w+|:\w+)\s*"
)


def evaluate(expression: str, names: dict[str, str], values: dict[str, Any], item: dict[str, Any]) -> bool:
    """Say whether an item fits an expression; an absent attribute compares as false."""
    parts, position, text = [], 0, expression
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, f"unknown in {expression!r}: {text[position:]!r}"
        parts.append(match[1])
        position = match.end()
    words = _rewrite_between(parts)
    scope = {
        "attribute_exists": lambda found: found.value is not None,
        "attribute_not_exists": lambda found: found.value is None,
    }
    python = " ".join(_translate(word, names, values, item) for word in words)
    return bool(eval(python, {"__builtins__": {}}, scope | {"Value": Value}))


class Value:
    """Compares as DynamoDB does: with something absent, nothing holds."""

    def __init__(self, raw: dict[str, str] | None) -> None:
        ((kind, text),) = raw.items() if raw else ((None, None),)
        self.value = int(text) if kind == "N" else text

    def compare(self, other: "Value", holds: Any) -> bool:
        return None not in (self.value, other.value) and holds(self.value, other.value)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Value)
        return self.compare(other, lambda left, right: left == right)

    def __lt__(self, other: "Value") -> bool:
        return self.compare(other, lambda left, right: left < right)

    def __le__(self, other: "Value") -> bool:
        return self.compare(other, lambda left, right: left <= right)

    __hash__ = None


def _rewrite_between(parts: list[str]) -> list[str]:
    words: list[str] = []
    while parts:
        if len(parts) > 1 and parts[1] == "BETWEEN":
            subject, _, low, conjunction, high, *parts = parts
            assert conjunction == "AND"
            words += ["(", low, "<=", subject, "<=", high, ")"]
        else:
            words.append(parts.pop(0))
    return words


def _translate(word: str, names: dict[str, str], values: dict[str, Any], item: dict[str, Any]) -> str:
    if word.startswith("#"):
        raw = item.get(names[word])
    elif word.startswith(":"):
        raw = values[word]
    else:
        return {"AND": "and", "OR": "or", "=": "=="}.get(word, word)
    return f"Value({raw!r})"


class Items:
    """Stands in for a connection's ``_make_api_call``; remembers the calls it got."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: What an index still shows although the table has moved on, by primary key.
        self.stale: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, operation: str, arguments: dict[str, Any], *_: Any) -> dict[str, Any]:
        self.calls.append((operation, arguments))
        answer: dict[str, Any] = getattr(self, f"_{operation}")(arguments)
        return answer

    def _table(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        return self.tables.setdefault(name, {})

    def _GetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        assert arguments["ConsistentRead"]
        item = self._table(arguments["TableName"]).get(_key(arguments["Key"]))
        return {} if item is None else {"Item": item}

    def _BatchGetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        ((name, request),) = arguments["RequestItems"].items()
        assert request["ConsistentRead"]
        found = [self._table(name).get(_key(key)) for key in request["Keys"]]
        return {"Responses": {name: [item for item in found if item is not None]}, "UnprocessedKeys": {}}

    def _Query(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        index = arguments.get("IndexName")
        rows = self._table(arguments["TableName"])
        order = "created_key" if index else "sk"
        # An index has the items that have both of its keys.
        shown = {key: item for key, item in (rows | self.stale if index else rows).items() if order in item}
        names, values = arguments["ExpressionAttributeNames"], arguments["ExpressionAttributeValues"]
        condition = arguments["KeyConditionExpression"]
        found = [item for item in shown.values() if evaluate(condition, names, values, item)]
        found.sort(key=lambda item: item[order]["S"], reverse=not arguments.get("ScanIndexForward", True))
        page = found[: arguments.get("Limit")]
        return {"Items": page, "Count": len(page), "ScannedCount": len(page)}

    def _PutItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if not self._holds("Put", arguments):
            response = {"Error": {"Code": "ConditionalCheckFailedException"}}
            raise VerboseClientError(response, "PutItem", {})
        self._table(arguments["TableName"])[_key(arguments["Item"])] = arguments["Item"]
        return {}

    def _TransactWriteItems(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        writes = [next(iter(write.items())) for write in arguments["TransactItems"]]
        assert {kind for kind, _ in writes} <= {"ConditionCheck", "Put"}
        failed = [not self._holds(kind, write) for kind, write in writes]
        if any(failed):
            reasons = [CancellationReason("ConditionalCheckFailed") if each else None for each in failed]
            response = {"Error": {"Code": "TransactionCanceledException"}}
            error = ClientError(response, "TransactWriteItems")
            raise VerboseClientError(error.response, "TransactWriteItems", {}, cancellation_reasons=reasons)
        for kind, write in writes:
            if kind == "Put":
                self._table(write["TableName"])[_key(write["Item"])] = write["Item"]
        return {}

    def _holds(self, kind: str, write: dict[str, Any]) -> bool:
        key = _key(write["Item"] if kind == "Put" else write["Key"])
        if "ConditionExpression" not in write:
            return True
        old = self._table(write["TableName"]).get(key, {})
        values = write.get("ExpressionAttributeValues", {})
        return evaluate(write["ConditionExpression"], write["ExpressionAttributeNames"], values, old)


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]
