"""The charge queue: FIFO, grouped by account, so that one account never races itself."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import ChargeRequest

#: What SQS takes in one call.
BATCH = 10
#: Calls at once: a minute's 10,000 requests are sent in seconds.
WORKERS = 8
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class SqsChargeQueue:
    """``client`` is a botocore ``sqs`` client, which threads may share."""

    client: Any
    queue_url: str

    def request_charges(self, requests: Iterable[ChargeRequest]) -> int:
        batches = list(_split(requests))
        if len(batches) <= 1:
            return sum(self._send(batch) for batch in batches)
        with ThreadPoolExecutor(WORKERS) as pool:
            return sum(pool.map(self._send, batches))

    def _send(self, batch: Sequence[ChargeRequest]) -> int:
        entries = [
            {
                "Id": str(number),
                "MessageBody": json.dumps({"rental_id": each.rental_id}),
                "MessageGroupId": each.account_id,
                "MessageDeduplicationId": each.deduplication_id,
            }
            for number, each in enumerate(batch)
        ]
        for _ in range(MAX_ATTEMPTS):
            answer = self.client.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
            refused = {each["Id"] for each in answer.get("Failed", ())}
            entries = [each for each in entries if each["Id"] in refused]
            if not entries:
                return len(batch)
        raise Unavailable(f"The charge queue did not take {len(entries)} requests.")


def _split(requests: Iterable[ChargeRequest]) -> Iterator[list[ChargeRequest]]:
    rest = iter(requests)
    while batch := list(islice(rest, BATCH)):
        yield batch
