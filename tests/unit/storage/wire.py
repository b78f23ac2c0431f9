"""DynamoDB as tests of stores see it: what was asked, and answers that the test lined up."""

from chalicelib.storage.transaction import DynamoTransaction, Retry


class Wire:
    """Answers calls with what the test lined up, and remembers them."""

    def __init__(self, bound, monkeypatch):
        self.calls, self.answers = [], []
        monkeypatch.setattr(bound.client, "_make_api_call", self.call)
        self.tx = DynamoTransaction(bound, "token", Retry(lambda _: None, lambda: 1.0))

    def call(self, operation, arguments):
        self.calls.append((operation, arguments))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        count = len(answer.get("Items", []))
        return {"Attributes": {}, "Items": [], "Count": count, "ScannedCount": count} | answer

    @property
    def last(self):
        return self.calls[-1][1]


def fill(text, arguments):
    """The expression with its names filled in."""
    names = arguments.get("ExpressionAttributeNames", {})
    # "#10" before "#1".
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def list_writes(arguments):
    return {
        (kind, write["TableName"].removeprefix("prefix-")): write
        for item in arguments["TransactItems"]
        for kind, write in item.items()
    }
