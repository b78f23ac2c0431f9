"""The queue of Stripe's events that are to be worked on."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SqsEventQueue:
    """``client`` is a botocore ``sqs`` client."""

    client: Any
    queue_url: str

    def request(self, event_id: str) -> None:
        self.client.send_message(QueueUrl=self.queue_url, MessageBody=event_id)
