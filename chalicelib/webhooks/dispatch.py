"""Delivers what is due: claims it, sends, writes down what came of it.

At least once to the outside, under one event id. A claim is a write before the attempt: two dispatchers at
once do not both send, and what a crash interrupts is due again when its claim is over.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.ports import Clock
from chalicelib.webhooks.model import (
    EVENT_ID_HEADER,
    SIGNATURE_HEADER,
    Claimed,
    Endpoint,
    Event,
    Outcome,
    claim,
    encode_event,
    list_secrets,
    note_outcome,
    settle,
    sign,
)
from chalicelib.webhooks.service import MAX_ATTEMPTS, WebhookStore

SHARDS = 8
#: Events of one round: at 10 endpoints each, 5 s an attempt and 32 at a time it ends well within a claim.
ROUND_EVENTS = 10
#: Of the attempts at one endpoint in a round. One that needs more is paused, and what is left over waits.
ENDPOINT_BUDGET_MS = 10_000
#: A round that begins by then ends before the function is stopped.
SWEEP_BUDGET_MS = 15_000
#: The clock that wrote an event may be ahead of ours.
CLOCK_TOLERANCE_MS = 5_000

Job = Callable[[], None]


class Sender(Protocol):
    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """POST once. Whatever goes wrong outside is an outcome, never an exception."""
        ...


@dataclass(frozen=True, slots=True)
class DispatchPorts:
    """``run_all`` does jobs side by side and returns when all are done; ``draw_fraction`` is the jitter."""

    store: WebhookStore
    sender: Sender
    clock: Clock
    read_pepper: Callable[[], bytes]
    draw_fraction: Callable[[], float]
    run_all: Callable[[Sequence[Job]], None]


@dataclass(frozen=True, slots=True)
class Dispatched:
    """Of one round or sweep."""

    events: int = 0
    delivered: int = 0
    failed: int = 0

    def __add__(self, other: "Dispatched") -> "Dispatched":
        return Dispatched(
            self.events + other.events, self.delivered + other.delivered, self.failed + other.failed
        )


@dataclass(slots=True)
class _Post:
    """One attempt that was claimed. ``outcome`` stays ``None`` when it is not made."""

    event: Event
    endpoint: Endpoint
    number: int
    outcome: Outcome | None = field(default=None)


def deliver(ports: DispatchPorts, references: Iterable[tuple[str, str]]) -> Dispatched:
    """Make the attempts that are due of some events, (account id, event id) each; the others are left alone.

    Attempts at one endpoint come one after the other: after one that fails the rest waits.

    Raises:
        Unavailable, or what the store raises: some may be done; the others come again.
    """
    # First: without it nothing may be claimed.
    pepper = ports.read_pepper()
    claimed = [
        each for each in (_claim(ports, *ref) for ref in dict.fromkeys(references)) if each is not None
    ]
    by_endpoint: dict[tuple[str, str], list[_Post]] = {}
    for each in claimed:
        numbers = {delivery.endpoint_id: delivery for delivery in each.event.deliveries or ()}
        for endpoint in each.endpoints:
            number = numbers[endpoint.endpoint_id].attempts[-1].number
            key = (each.event.account_id, endpoint.endpoint_id)
            by_endpoint.setdefault(key, []).append(_Post(each.event, endpoint, number))
    ports.run_all([_build_job(ports, posts, pepper) for posts in by_endpoint.values()])
    for (account_id, endpoint_id), posts in by_endpoint.items():
        _note(ports, account_id, endpoint_id, [each.outcome for each in posts if each.outcome is not None])
    for each in claimed:
        of_event = [post for posts in by_endpoint.values() for post in posts if post.event is each.event]
        if of_event:
            _settle(ports, each.event, of_event)
    made = [post.outcome for posts in by_endpoint.values() for post in posts if post.outcome is not None]
    delivered = sum(each.delivered for each in made)
    return Dispatched(len(claimed), delivered, len(made) - delivered)


def sweep(ports: DispatchPorts) -> Dispatched:
    """Deliver what is due, retries and what the stream has lost, round by round in turn of the shards."""
    started_ms, done = ports.clock.now_ms(), Dispatched()
    while ports.clock.now_ms() - started_ms < SWEEP_BUDGET_MS:
        before = done
        for shard in range(SHARDS):
            due = ports.store.list_due(shard, ports.clock.now_ms(), ROUND_EVENTS)
            if due and ports.clock.now_ms() - started_ms < SWEEP_BUDGET_MS:
                done += deliver(ports, due)
        if done.events == before.events:
            break
    return done


def measure_overdue_ms(ports: DispatchPorts) -> int:
    """Return for how long the most overdue event has been due; 0 where nothing is."""
    due = [ports.store.find_oldest_due_ms(shard) for shard in range(SHARDS)]
    now_ms = ports.clock.now_ms()
    return max((now_ms - each for each in due if each is not None and each < now_ms), default=0)


def _claim(ports: DispatchPorts, account_id: str, event_id: str) -> Claimed | None:
    """Return what is to be sent of an event; ``None``: not due, or somebody else has it."""
    event = ports.store.get_event(account_id, event_id)
    now_ms = ports.clock.now_ms()
    if event is None or event.due_at_ms is None or event.due_at_ms > now_ms + CLOCK_TOLERANCE_MS:
        return None
    claimed = claim(event, ports.store.get_endpoints(account_id), max(now_ms, event.due_at_ms))
    return claimed if ports.store.keep_event(event, claimed.event) else None


def _build_job(ports: DispatchPorts, posts: list[_Post], pepper: bytes) -> Job:
    def post_all() -> None:
        started_ms = ports.clock.now_ms()
        for post in posts:
            post.outcome = _send(ports, post, pepper)
            if not post.outcome.delivered or ports.clock.now_ms() - started_ms > ENDPOINT_BUDGET_MS:
                return

    return post_all


def _send(ports: DispatchPorts, post: _Post, pepper: bytes) -> Outcome:
    body, now_ms = encode_event(post.event), ports.clock.now_ms()
    headers = {
        "Content-Type": "application/json",
        EVENT_ID_HEADER: post.event.event_id,
        SIGNATURE_HEADER: sign(body, list_secrets(post.endpoint, pepper, now_ms), now_ms),
    }
    return ports.sender.send(post.endpoint.url, body, headers)


def _settle(ports: DispatchPorts, event: Event, posts: Sequence[_Post]) -> None:
    """Write down what came of an event's attempts; what others have written meanwhile is kept.

    Where it changes all the time the claim stays, and the attempts are made again.
    """
    current: Event | None = event
    for _ in range(MAX_ATTEMPTS):
        if current is None:
            return
        settled, now_ms = current, ports.clock.now_ms()
        for post in posts:
            settled = settle(
                settled, post.endpoint.endpoint_id, post.number, post.outcome, now_ms, ports.draw_fraction()
            )
        if ports.store.keep_event(current, settled):
            return
        current = ports.store.get_event(event.account_id, event.event_id)


def _note(ports: DispatchPorts, account_id: str, endpoint_id: str, outcomes: Sequence[Outcome]) -> None:
    """Keep how the endpoint is: a write only when that changes. A hint: whoever is beaten to it leaves it."""
    if not outcomes:
        return
    slow = sum(each.duration_ms for each in outcomes) > ENDPOINT_BUDGET_MS
    for _ in range(MAX_ATTEMPTS):
        endpoints = ports.store.get_endpoints(account_id)
        before = endpoints.find(endpoint_id)
        if before is None or not before.enabled:
            return
        after = note_outcome(before, delivered=outcomes[-1].delivered, slow=slow, now_ms=ports.clock.now_ms())
        if after == before or ports.store.keep_endpoints(endpoints, endpoints.put(after)):
            return
