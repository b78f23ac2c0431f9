"""Use cases of webhooks: where a renter wants events, what happened, and sending it again.

Whoever changes something writes its event in the same transaction (`Outbox`); `dispatch` delivers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from chalicelib.core.errors import Conflict, NotFound, Unavailable
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.webhooks.addresses import Reach, check_url
from chalicelib.webhooks.model import (
    MAX_ENDPOINTS,
    Endpoint,
    Endpoints,
    Event,
    EventType,
    derive_secret,
    replay,
)

HTTP_CREATED = 201
#: A renter's change meets those of other renters of the account, and of the dispatcher.
MAX_ATTEMPTS = 4


class Outbox(Protocol):
    """What a writer of events needs: no read, one row."""

    def add_event(self, tx: Transaction, event: Event) -> None:
        """Write ``event`` in the same transaction as its effect."""


class WebhookStore(Outbox, Protocol):
    def get_endpoints(self, account_id: str) -> Endpoints: ...
    def replace_endpoints(self, tx: Transaction, old: Endpoints, new: Endpoints) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def keep_endpoints(self, old: Endpoints, new: Endpoints) -> bool:
        """As `replace_endpoints`, by itself; ``False``, and nothing changed, where that fails."""
        ...

    def get_event(self, account_id: str, event_id: str) -> Event | None: ...
    def list_events(self, account_id: str, limit: int, start: str | None) -> Page[Event]:
        """Newest first."""
        ...

    def list_due(self, shard: int, now_ms: int, limit: int) -> list[tuple[str, str]]:
        """(account id, event id) of what is due by now, most overdue first. An index: a hint."""
        ...

    def find_oldest_due_ms(self, shard: int) -> int | None: ...
    def replace_event(self, tx: Transaction, old: Event, new: Event) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def keep_event(self, old: Event, new: Event) -> bool:
        """As `replace_event`, by itself; ``False``, and nothing changed, where that fails."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookPorts:
    store: WebhookStore
    idempotency: IdempotencyStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    read_pepper: Callable[[], bytes]
    reach: Reach


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    url: str
    event_types: frozenset[EventType]
    description: str
    idempotency_key: str
    fingerprint: str
    #: Gives the answer's bytes, without the secret; they are stored for replays.
    render: Callable[[Endpoint], str] = field(repr=False)
    #: Reads the id back from such bytes.
    read_id: Callable[[str], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedEndpoint:
    """``body`` as it was rendered; whoever repeats the request with its key sees the secret again."""

    body: str
    secret: str = field(repr=False)
    replayed: bool


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """``None``: as it is."""

    url: str | None = None
    event_types: frozenset[EventType] | None = None
    description: str | None = None
    enabled: bool | None = None


def create_endpoint(ports: WebhookPorts, principal: Principal, request: EndpointRequest) -> CreatedEndpoint:
    """Add an endpoint, once per key.

    Raises:
        InvalidInput: ``invalid_webhook_url``.
        Conflict: ``webhook_endpoint_limit``.
        IdempotencyMismatch: the key was used for another request.
    """
    check_url(request.url, ports.reach)
    now_ms = ports.clock.now_ms()
    account_id = principal.account_id
    answered = ports.idempotency.find(account_id, request.idempotency_key, now_ms)
    for _ in range(MAX_ATTEMPTS):
        if answered is not None:
            # First: who repeats the tenth create is not at the limit.
            body = check_replay(answered, request.fingerprint).body
            return CreatedEndpoint(body, _derive(ports, request.read_id(body), 1), replayed=True)
        endpoints = ports.store.get_endpoints(account_id)
        if len(endpoints.items) >= MAX_ENDPOINTS:
            raise Conflict(
                f"An account has {MAX_ENDPOINTS} endpoints at most.", code="webhook_endpoint_limit"
            )
        endpoint = Endpoint(
            ports.ids.new_id("whe"), request.url, request.event_types, now_ms, request.description
        )
        body = request.render(endpoint)
        record = IdempotencyRecord(
            account_id,
            request.idempotency_key,
            request.fingerprint,
            HTTP_CREATED,
            body,
            now_ms + LIFETIME_MS,
        )
        tx = ports.transactions()
        ports.idempotency.add(tx, record, now_ms)
        ports.store.replace_endpoints(tx, endpoints, endpoints.put(endpoint))
        _add_audit(ports, tx, principal, "webhook_endpoint.created", endpoint.endpoint_id)
        try:
            tx.commit()
        except AlreadyAnswered as error:
            answered = error.record
        except Unavailable:
            continue
        else:
            return CreatedEndpoint(body, _derive(ports, endpoint.endpoint_id, 1), replayed=False)
    raise Unavailable("The endpoints change all the time; try again.")


def get_endpoint(ports: WebhookPorts, principal: Principal, endpoint_id: str) -> Endpoint:
    """Raises NotFound: there is no such endpoint, or it is another account's."""
    return _find(ports.store.get_endpoints(principal.account_id), endpoint_id)


def change_endpoint(
    ports: WebhookPorts,
    principal: Principal,
    endpoint_id: str,
    change: EndpointChange,
    check: Check[Endpoint] = accept_any,
) -> Endpoint:
    """Change what is given. One that is switched on is tried at once, whatever it did before.

    Raises:
        NotFound: as `get_endpoint`.
        InvalidInput: ``invalid_webhook_url``.
        PreconditionFailed: as ``check`` raises it.
    """
    if change.url is not None:
        check_url(change.url, ports.reach)

    def apply(before: Endpoint) -> Endpoint:
        check(before)
        after = replace(
            before,
            url=before.url if change.url is None else change.url,
            event_types=before.event_types if change.event_types is None else change.event_types,
            description=before.description if change.description is None else change.description,
            enabled=before.enabled if change.enabled is None else change.enabled,
        )
        if change.enabled or after.url != before.url:
            after = replace(after, failing_since_ms=None, paused_until_ms=None)
        return replace(after, disabled_at_ms=None) if after.enabled else after

    return _change(ports, principal, endpoint_id, "webhook_endpoint.changed", apply)


def remove_endpoint(
    ports: WebhookPorts, principal: Principal, endpoint_id: str, check: Check[Endpoint] = accept_any
) -> None:
    """Remove an endpoint; what waits for it ends.

    Raises:
        NotFound: as `get_endpoint`, also the second time.
        PreconditionFailed: as ``check`` raises it.
    """
    for _ in range(MAX_ATTEMPTS):
        endpoints = ports.store.get_endpoints(principal.account_id)
        check(_find(endpoints, endpoint_id))
        tx = ports.transactions()
        ports.store.replace_endpoints(tx, endpoints, endpoints.remove(endpoint_id))
        _add_audit(ports, tx, principal, "webhook_endpoint.removed", endpoint_id)
        try:
            tx.commit()
        except Unavailable:
            continue
        return
    raise Unavailable("The endpoints change all the time; try again.")


def rotate_secret(ports: WebhookPorts, principal: Principal, endpoint_id: str) -> RotatedSecret:
    """Give the endpoint a new secret; the one before it signs too for another 24 h, and no earlier one.

    Raises:
        NotFound: as `get_endpoint`.
    """
    now_ms = ports.clock.now_ms()

    def apply(before: Endpoint) -> Endpoint:
        return replace(before, generation=before.generation + 1, rotated_at_ms=now_ms)

    endpoint = _change(ports, principal, endpoint_id, "webhook_endpoint.secret_rotated", apply)
    return RotatedSecret(endpoint, _derive(ports, endpoint_id, endpoint.generation))


def send_test(ports: WebhookPorts, principal: Principal, endpoint_id: str) -> Event:
    """Write an event of type ``test`` for one endpoint, whatever it subscribes to.

    Raises:
        NotFound: as `get_endpoint`.
        Conflict: ``webhook_endpoint_disabled``.
    """
    endpoint = get_endpoint(ports, principal, endpoint_id)
    if not endpoint.enabled:
        raise Conflict("The endpoint is switched off; enable it first.", code="webhook_endpoint_disabled")
    event = Event(
        ports.ids.new_id("evt"),
        principal.account_id,
        "test",
        ports.clock.now_ms(),
        {"endpoint_id": endpoint_id},
        only_endpoint_id=endpoint_id,
    )
    tx = ports.transactions()
    ports.store.add_event(tx, event)
    _add_audit(ports, tx, principal, "webhook_endpoint.tested", endpoint_id, {"event_id": event.event_id})
    tx.commit()
    return event


def get_event(ports: WebhookPorts, principal: Principal, event_id: str) -> Event:
    """Raises NotFound: there is no such event, it is another account's, or it is older than 30 days."""
    event = ports.store.get_event(principal.account_id, event_id)
    if event is None:
        raise NotFound("There is no such event.")
    return event


def replay_event(ports: WebhookPorts, principal: Principal, event_id: str) -> Event:
    """Deliver an event again, under its own id, to every enabled endpoint that wants it or had it.

    Raises:
        NotFound: as `get_event`.
        Conflict: ``no_webhook_endpoint``: nobody would get it.
    """
    for _ in range(MAX_ATTEMPTS):
        event = get_event(ports, principal, event_id)
        endpoints = ports.store.get_endpoints(principal.account_id)
        again = replay(event, endpoints, ports.clock.now_ms())
        if again.due_at_ms is None:
            raise Conflict("No enabled endpoint wants this event.", code="no_webhook_endpoint")
        tx = ports.transactions()
        ports.store.replace_event(tx, event, again)
        _add_audit(ports, tx, principal, "webhook_event.replayed", event_id)
        try:
            tx.commit()
        except Unavailable:
            continue
        return again
    raise Unavailable("The event changes all the time; try again.")


def _change(
    ports: WebhookPorts,
    principal: Principal,
    endpoint_id: str,
    action: str,
    apply: Callable[[Endpoint], Endpoint],
) -> Endpoint:
    for _ in range(MAX_ATTEMPTS):
        endpoints = ports.store.get_endpoints(principal.account_id)
        before = _find(endpoints, endpoint_id)
        after = apply(before)
        if after == before:
            return before
        tx = ports.transactions()
        ports.store.replace_endpoints(tx, endpoints, endpoints.put(after))
        _add_audit(ports, tx, principal, action, endpoint_id)
        try:
            tx.commit()
        except Unavailable:
            continue
        return after
    raise Unavailable("The endpoint changes all the time; try again.")


def _find(endpoints: Endpoints, endpoint_id: str) -> Endpoint:
    found = endpoints.find(endpoint_id)
    if found is None:
        raise NotFound("There is no such endpoint.")
    return found


def _derive(ports: WebhookPorts, endpoint_id: str, generation: int) -> str:
    return derive_secret(endpoint_id, generation, ports.read_pepper())


def _add_audit(
    ports: WebhookPorts,
    tx: Transaction,
    principal: Principal,
    action: str,
    subject: str,
    details: Mapping[str, object] | None = None,
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        subject,
        ports.clock.now_ms(),
        dict(details or {}),
    )
    ports.audit.add_entry(tx, entry)
