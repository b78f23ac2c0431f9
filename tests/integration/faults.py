"""Faults of DynamoDB as its client meets them: a lost reply, a throttle, a transaction's conflict. Seeded.

They are put where botocore sends: what a reply that is lost answered has been written.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ReadTimeoutError

from chalicelib import wiring
from chalicelib.storage.connection import bind

#: Chances in a thousand: of each call, and of each transaction.
LOST_REPLIES, THROTTLES = 5, 5
LOST_COMMITS, CONFLICTS = 40, 40


@dataclass
class Faults:
    """Draws for each thread from a generator of its own; a thread that was given no name meets none."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    _local: threading.local = field(default_factory=threading.local)

    @contextmanager
    def meet(self, name: str) -> Iterator[None]:
        """Let the calls of this thread fail while inside."""
        self._local.random = random.Random(f"{self.seed}-{name}")
        try:
            yield
        finally:
            self._local.random = None

    def before(self, model: Any, params: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        rng = getattr(self._local, "random", None)
        if rng is None:
            return None
        drawn = rng.randrange(1000)
        if drawn < THROTTLES:
            self.counts["throttle"] += 1
            return _refuse("ProvisionedThroughputExceededException", "Slow down.")
        if model.name == "TransactWriteItems" and drawn < THROTTLES + CONFLICTS:
            self.counts["conflict"] += 1
            items = json.loads(params["body"])["TransactItems"]
            reasons = [{"Code": "None"} for _ in items]
            reasons[rng.randrange(len(items))] = {"Code": "TransactionConflict", "Message": "Others write."}
            return _refuse("TransactionCanceledException", "Cancelled.", CancellationReasons=reasons)
        return None

    def after(self, model: Any, **_: Any) -> None:
        rng = getattr(self._local, "random", None)
        chance = LOST_COMMITS if model.name == "TransactWriteItems" else LOST_REPLIES
        if rng is not None and rng.randrange(1000) < chance:
            self.counts["lost reply"] += 1
            self.counts[f"lost reply of {model.name}"] += 1
            raise ReadTimeoutError(endpoint_url="http://dynamodb")


def _refuse(code: str, message: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPHeaders": {}}, **more}
    return SimpleNamespace(status_code=400), parsed


@contextmanager
def inject(seed: int) -> Iterator[Faults]:
    """Put faults before and behind the process's one DynamoDB client."""
    events = bind(wiring.settings().table_prefix, wiring.settings().aws_region).client.meta.events
    faults = Faults(seed)
    events.register("before-call.dynamodb", faults.before)
    events.register("after-call.dynamodb", faults.after)
    try:
        yield faults
    finally:
        events.unregister("before-call.dynamodb", faults.before)
        events.unregister("after-call.dynamodb", faults.after)
