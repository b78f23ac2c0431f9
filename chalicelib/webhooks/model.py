"""Endpoints, events and their deliveries: signatures, the schedule of attempts, who gets what. All pure.

An event is an outbox row of the transaction of its effect. To which endpoints it goes is decided when it is
dispatched. Each attempt is written down before it is made, so a crash leaves one whose end is not known.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from chalicelib.core.clock import format_instant

EventType = Literal[
    "rental.running",
    "rental.stopped",
    "rental.data_hold_ending",
    "rental.start_moved",
    "rental.terminated",
    "rental.failed",
    "rental.interruption_announced",
    "wallet.low",
    "wallet.recovered",
    "wallet.exhausted",
    "budget.threshold_reached",
    "budget.exhausted",
    "top_up.succeeded",
    "top_up.failed",
    "auto_top_up.paused",
    "credit.posted",
    "statement.issued",
    "key.leaked",
    "test",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
DeliveryState = Literal["pending", "delivered", "failed"]
#: Why a delivery ended without success.
FailureReason = Literal["gave_up", "endpoint_removed", "endpoint_disabled"]

MAX_ENDPOINTS = 10
SIGNATURE_HEADER = "Provocative-Signature"
EVENT_ID_HEADER = "Provocative-Event-Id"
#: Both secrets sign for so long after a rotation.
ROLL_MS = 24 * 3_600_000
RETRY_FOR_MS = 72 * 3_600_000
BASE_DELAY_MS = 60_000
MAX_DELAY_MS = 8 * 3_600_000
#: An attempt whose end was not written down by then is made again. Longer than any run of the dispatcher.
CLAIM_MS = 120_000
#: An endpoint that has failed is left alone for a quarter of the time for which it has been failing, one
#: that is merely slow for the shortest pause.
MIN_PAUSE_MS = 60_000
MAX_PAUSE_MS = 3_600_000
#: The schedule makes fewer; crashes may make more, of which the last are kept.
MAX_KEPT_ATTEMPTS = 30
EVENT_LIFETIME_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a renter wants events. ``event_types`` empty: all. Its secret is derived, never stored."""

    endpoint_id: str
    url: str
    event_types: frozenset[EventType]
    created_at_ms: int
    description: str = ""
    enabled: bool = True
    #: Of the secret: raised by each rotation.
    generation: int = 1
    rotated_at_ms: int | None = None
    #: Since when no attempt has succeeded; ``None`` while the last one did.
    failing_since_ms: int | None = None
    paused_until_ms: int | None = None
    #: When we, not its owner, switched it off.
    disabled_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All of one account, changed as a whole: the bound on their number needs no counter."""

    account_id: str
    items: tuple[Endpoint, ...] = ()
    #: 0: nothing is stored.
    version: int = 0

    def find(self, endpoint_id: str) -> Endpoint | None:
        return next((each for each in self.items if each.endpoint_id == endpoint_id), None)

    def put(self, endpoint: Endpoint) -> "Endpoints":
        """Return these with ``endpoint`` in the place of the one with its id, or at the end."""
        known = self.find(endpoint.endpoint_id) is not None
        kept = (endpoint if each.endpoint_id == endpoint.endpoint_id else each for each in self.items)
        items = tuple(kept) if known else (*self.items, endpoint)
        return replace(self, items=items, version=self.version + 1)

    def remove(self, endpoint_id: str) -> "Endpoints":
        items = tuple(each for each in self.items if each.endpoint_id != endpoint_id)
        return replace(self, items=items, version=self.version + 1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. ``duration_ms`` is ``None`` while it is under way, and for ever if it died on the way.

    ``status`` is the receiver's HTTP status, ``None`` where none came; ``error`` is a stable code.
    """

    number: int
    started_at_ms: int
    duration_ms: int | None = None
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event to one endpoint. ``since_ms``: when it was dispatched or last replayed."""

    endpoint_id: str
    state: DeliveryState
    since_ms: int
    next_attempt_at_ms: int | None
    attempts: tuple[Attempt, ...] = ()
    reason: FailureReason | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. ``data`` has ids and amounts only. ``deliveries`` is ``None`` until it is dispatched."""

    event_id: str
    account_id: str
    type: EventType
    created_at_ms: int
    data: dict[str, object] = field(default_factory=dict)
    #: Set: for this endpoint alone, whatever it subscribes to.
    only_endpoint_id: str | None = None
    deliveries: tuple[Delivery, ...] | None = None
    version: int = 1

    @property
    def due_at_ms(self) -> int | None:
        """When something is to be done next; ``None``: never, unless it is replayed."""
        if self.deliveries is None:
            return self.created_at_ms
        return min(
            (each.next_attempt_at_ms for each in self.deliveries if each.next_attempt_at_ms is not None),
            default=None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: with an HTTP status, or with the code of an error."""

    duration_ms: int
    status: int | None = None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event whose attempts are written down as begun, and the endpoints that they go to."""

    event: Event
    endpoints: tuple[Endpoint, ...]


def derive_secret(endpoint_id: str, generation: int, pepper: bytes) -> str:
    """Return the secret that an endpoint's owner is shown; derived, so that nothing secret is stored."""
    message = f"webhook-endpoint:{endpoint_id}:{generation}".encode()
    return f"whsec_{hmac.new(pepper, message, hashlib.sha256).hexdigest()}"


def list_secrets(endpoint: Endpoint, pepper: bytes, now_ms: int) -> list[str]:
    """Return the secrets that sign now, the newest first: two for a day after a rotation."""
    generations = [endpoint.generation]
    if endpoint.rotated_at_ms is not None and now_ms < endpoint.rotated_at_ms + ROLL_MS:
        generations.append(endpoint.generation - 1)
    return [derive_secret(endpoint.endpoint_id, each, pepper) for each in generations]


def sign(body: bytes, secrets: Sequence[str], now_ms: int) -> str:
    """Return ``t=<seconds>,v1=<hex>[,v1=<hex>]``: HMAC-SHA256 of ``<seconds>.<body>``, one a secret.

    Stripe's scheme, so that every verifier of it serves: https://docs.stripe.com/webhooks/signature.
    """
    seconds = now_ms // 1000
    signed = f"{seconds}.".encode() + body
    values = [hmac.new(each.encode(), signed, hashlib.sha256).hexdigest() for each in secrets]
    return ",".join([f"t={seconds}", *(f"v1={value}" for value in values)])


def encode_event(event: Event) -> bytes:
    """Return what is sent: the same bytes in every attempt."""
    body = {
        "id": event.event_id,
        "type": event.type,
        "account_id": event.account_id,
        "created_at": format_instant(event.created_at_ms),
        "data": event.data,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def compute_delay_ms(attempts: int, fraction: float) -> int:
    """Return how long to wait after so many failed attempts: 1 min doubled each time up to 8 h, ± 20 %.

    ``fraction`` in [0, 1) is the jitter.
    """
    delay_ms = min(MAX_DELAY_MS, BASE_DELAY_MS << min(attempts - 1, 20))
    return delay_ms * 4 // 5 + int(delay_ms * 2 // 5 * fraction)


def choose_next_attempt(delivery: Delivery, now_ms: int, fraction: float) -> int | None:
    """Return when to try again; ``None`` once it has been tried for 72 h. The last try is at their end."""
    ends_at_ms = delivery.since_ms + RETRY_FOR_MS
    if now_ms >= ends_at_ms:
        return None
    tried = sum(each.started_at_ms >= delivery.since_ms for each in delivery.attempts)
    return min(now_ms + compute_delay_ms(max(1, tried), fraction), ends_at_ms)


def wants(endpoint: Endpoint, event: Event) -> bool:
    if event.only_endpoint_id is not None:
        return endpoint.endpoint_id == event.only_endpoint_id
    return not endpoint.event_types or event.type in endpoint.event_types


def claim(event: Event, endpoints: Endpoints, now_ms: int) -> Claimed:
    """Return the event with an attempt begun for each delivery that is due, and where those go.

    Decides the first time who gets it. What goes to an endpoint that is no longer there, or is off, ends;
    what goes to one that is paused waits.
    """
    deliveries = event.deliveries
    if deliveries is None:
        deliveries = tuple(
            Delivery(each.endpoint_id, "pending", now_ms, now_ms)
            for each in endpoints.items
            if each.enabled and wants(each, event)
        )
    claimed = [_claim(delivery, endpoints.find(delivery.endpoint_id), now_ms) for delivery in deliveries]
    changed = replace(event, deliveries=tuple(each for each, _ in claimed), version=event.version + 1)
    return Claimed(changed, tuple(each for _, each in claimed if each is not None))


def _claim(delivery: Delivery, endpoint: Endpoint | None, now_ms: int) -> tuple[Delivery, Endpoint | None]:
    if delivery.next_attempt_at_ms is None or delivery.next_attempt_at_ms > now_ms:
        return delivery, None
    if endpoint is None:
        return _fail(delivery, "endpoint_removed"), None
    if not endpoint.enabled:
        return _fail(delivery, "endpoint_disabled"), None
    if endpoint.paused_until_ms is not None and now_ms < endpoint.paused_until_ms:
        if now_ms >= delivery.since_ms + RETRY_FOR_MS:
            return _fail(delivery, "gave_up"), None
        return replace(delivery, next_attempt_at_ms=endpoint.paused_until_ms), None
    number = delivery.attempts[-1].number + 1 if delivery.attempts else 1
    attempts = (*delivery.attempts, Attempt(number, now_ms))[-MAX_KEPT_ATTEMPTS:]
    return replace(delivery, next_attempt_at_ms=now_ms + CLAIM_MS, attempts=attempts), endpoint


def _fail(delivery: Delivery, reason: FailureReason) -> Delivery:
    return replace(delivery, state="failed", next_attempt_at_ms=None, reason=reason)


def settle(
    event: Event, endpoint_id: str, number: int, outcome: Outcome | None, now_ms: int, fraction: float
) -> Event:
    """Return the event with the end of one attempt written down; ``None``: it was not made after all.

    A delivery that was replayed meanwhile is tried anew, whatever came of the attempt.
    """
    deliveries = tuple(
        _settle(each, number, outcome, now_ms, fraction) if each.endpoint_id == endpoint_id else each
        for each in event.deliveries or ()
    )
    return replace(event, deliveries=deliveries, version=event.version + 1)


def _settle(
    delivery: Delivery, number: int, outcome: Outcome | None, now_ms: int, fraction: float
) -> Delivery:
    begun = next((each for each in delivery.attempts if each.number == number), None)
    if begun is None or begun.duration_ms is not None:
        return delivery
    replayed = delivery.since_ms > begun.started_at_ms
    if outcome is None:
        attempts = tuple(each for each in delivery.attempts if each.number != number)
        due_at_ms = delivery.next_attempt_at_ms if replayed else now_ms
        return replace(delivery, attempts=attempts, next_attempt_at_ms=due_at_ms)
    ended = replace(begun, duration_ms=outcome.duration_ms, status=outcome.status, error=outcome.error)
    attempts = tuple(ended if each.number == number else each for each in delivery.attempts)
    tried = replace(delivery, attempts=attempts)
    if replayed or delivery.state != "pending":
        return tried
    if outcome.delivered:
        return replace(tried, state="delivered", next_attempt_at_ms=None)
    next_ms = choose_next_attempt(tried, now_ms, fraction)
    return _fail(tried, "gave_up") if next_ms is None else replace(tried, next_attempt_at_ms=next_ms)


def replay(event: Event, endpoints: Endpoints, now_ms: int) -> Event:
    """Return the event as due now at every enabled endpoint that wants it, or had it; attempts are kept."""
    before = {each.endpoint_id: each for each in event.deliveries or ()}
    again = [
        Delivery(
            each.endpoint_id,
            "pending",
            now_ms,
            now_ms,
            before[each.endpoint_id].attempts if each.endpoint_id in before else (),
        )
        for each in endpoints.items
        if each.enabled and (each.endpoint_id in before or wants(each, event))
    ]
    fresh = {each.endpoint_id for each in again}
    kept = [each for each in before.values() if each.endpoint_id not in fresh]
    return replace(event, deliveries=(*kept, *again), version=event.version + 1)


def note_outcome(endpoint: Endpoint, *, delivered: bool, slow: bool, now_ms: int) -> Endpoint:
    """Return the endpoint after its last attempt: well, paused, or switched off after 72 h without a success.

    ``slow``: it has used up the time that one endpoint gets of a round; others come first for a while.
    """
    if delivered:
        paused_until_ms = now_ms + MIN_PAUSE_MS if slow else None
        return replace(endpoint, failing_since_ms=None, paused_until_ms=paused_until_ms)
    since_ms = endpoint.failing_since_ms
    if since_ms is None:
        since_ms = now_ms
    if now_ms - since_ms >= RETRY_FOR_MS:
        return replace(endpoint, enabled=False, disabled_at_ms=now_ms, paused_until_ms=None)
    pause_ms = min(MAX_PAUSE_MS, max(MIN_PAUSE_MS, (now_ms - since_ms) // 4))
    return replace(endpoint, failing_since_ms=since_ms, paused_until_ms=now_ms + pause_ms)
