"""SQS batches: each message stands alone, a poison one goes to the dead-letter queue with its reason.

Invariant: a message is acknowledged only when its effect is stored, or when it stands in the dead-letter
queue. Anything else is reported as a batch item failure and comes again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.runtime.observability import get_logger


class Rejected(Exception):
    """The message is wrong and will be wrong again. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Message:
    """One SQS message. ``sent_at_ms`` is the queue's own clock (SentTimestamp), never the sender's."""

    message_id: str
    body: str
    sent_at_ms: int
    #: Who sent it, by AWS's word: the id of a role and, after a colon, the name of its session.
    sender_id: str = ""
    #: Of a FIFO queue; empty on any other.
    group_id: str = ""

    @property
    def sender_session(self) -> str:
        """The session's name, empty for a sender that has none."""
        return self.sender_id.partition(":")[2]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """A dead-letter queue. ``client`` is a botocore ``sqs`` client."""

    client: Any
    queue_url: str

    def put(self, message: Message, rejected: Rejected) -> None:
        attributes = {
            "reason": rejected.reason,
            "detail": rejected.detail[:512],
            "message_id": message.message_id,
        }
        order: dict[str, str] = {}
        if self.queue_url.endswith(".fifo"):
            # One that is put aside twice, for its acknowledgement was lost, is one.
            group_id = message.group_id or message.message_id
            order = {"MessageGroupId": group_id, "MessageDeduplicationId": message.message_id}
        self.client.send_message(
            QueueUrl=self.queue_url,
            MessageBody=message.body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value or "-"}
                for name, value in attributes.items()
            },
            **order,
        )


def read_messages(event: Mapping[str, Any]) -> list[Message]:
    return [
        Message(
            record["messageId"],
            record["body"],
            int(record["attributes"]["SentTimestamp"]),
            record["attributes"].get("SenderId", ""),
            record["attributes"].get("MessageGroupId", ""),
        )
        for record in event["Records"]
    ]


def consume(
    messages: Sequence[Message], handle: Callable[[Message], None], dead_letters: DeadLetters
) -> dict[str, list[dict[str, str]]]:
    """Handle each message on its own and return SQS's partial batch response.

    ``handle`` raises `Rejected` for poison; any other exception makes that message come again.
    """
    failures: list[dict[str, str]] = []
    rejections = 0
    for message in messages:
        try:
            handle(message)
        except Rejected as rejected:
            rejections += 1
            try:
                dead_letters.put(message, rejected)
            except Exception:
                get_logger().exception("dead-letter queue did not answer")
                failures.append({"itemIdentifier": message.message_id})
        except Exception:
            get_logger().exception("message failed", extra={"message_id": message.message_id})
            failures.append({"itemIdentifier": message.message_id})
    get_logger().info(
        "batch", extra={"messages": len(messages), "failures": len(failures), "rejections": rejections}
    )
    return {"batchItemFailures": failures}
