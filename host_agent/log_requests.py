"""The last of what a workload wrote, for the renter who asks: fetched from the runtime, told in heartbeats.

Nothing here is durable: an answer that is lost is asked for again. Several heartbeats repeat it, for any one
of them may be overtaken unsent.
"""

import msgspec

from chalicelib.wire.v1 import MAX_LOG_BYTES, LogExcerpt
from host_agent.clock import Clock
from host_agent.workloads.runtime import WorkloadRuntime

#: Three heartbeats of ten seconds.
TOLD_SECONDS = 30.0


class LogRequests:
    """Holds one request a rental; not thread-safe: callers hold one lock."""

    def __init__(self, runtime: WorkloadRuntime, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock
        self._asked: dict[str, str] = {}
        self._excerpts: dict[str, tuple[float, LogExcerpt]] = {}

    def ask(self, rental_id: str, command_id: str) -> bool:
        """Return whether this is news."""
        if self._asked.get(rental_id) == command_id:
            return False
        self._asked[rental_id] = command_id
        return True

    def advance(self) -> bool:
        """Fetch what is asked for; return whether there is something to tell. Raises OSError."""
        found = False
        for rental_id, command_id in list(self._asked.items()):
            data = self._runtime.read_log(rental_id, MAX_LOG_BYTES)
            if data is not None:
                text, cut = fit_text(data)
                excerpt = LogExcerpt(rental_id, command_id, self._clock.now_ms(), text, cut)
                self._excerpts[rental_id] = (self._clock.monotonic() + TOLD_SECONDS, excerpt)
                del self._asked[rental_id]
                found = True
        return found

    def take(self) -> list[LogExcerpt]:
        """Return what the next heartbeat tells: one at most, so that it stays a heartbeat's size."""
        now = self._clock.monotonic()
        self._excerpts = {rental: each for rental, each in self._excerpts.items() if each[0] > now}
        for rental_id in list(self._excerpts)[:1]:
            # To the back: every rental has its turn.
            self._excerpts[rental_id] = self._excerpts.pop(rental_id)
            return [self._excerpts[rental_id][1]]
        return []


def fit_text(data: bytes) -> tuple[str, bool]:
    """Return the end of a log as text that takes at most ``MAX_LOG_BYTES`` as JSON, and whether it was cut.

    Control characters take six bytes each as JSON: what fits as bytes may not fit as a message.
    """
    text = data.decode("utf-8", "replace")
    cut = len(data) >= MAX_LOG_BYTES
    while len(msgspec.json.encode(text)) > MAX_LOG_BYTES:
        text, cut = text[len(text) // 8 + 1 :], True
    return text, cut
