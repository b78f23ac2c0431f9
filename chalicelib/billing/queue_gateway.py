"""The charge queue: FIFO, grouped by account, so that one account never races itself."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SqsChargeQueue:
    """``client`` is a botocore ``sqs`` client."""

    client: Any
    queue_url: str

    def request_charge(self, account_id: str, rental_id: str, deduplication_id: str) -> None:
        self.client.send_message(
            QueueUrl=self.queue_url,
            MessageBody=json.dumps({"rental_id": rental_id}),
            MessageGroupId=account_id,
            MessageDeduplicationId=deduplication_id,
        )
