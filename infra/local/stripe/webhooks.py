"""Deliveries: signed, at least once, in no order, with the disorder that a test asks for."""

import hashlib
import hmac
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args
from urllib.parse import urlsplit

from infra.local.stripe.errors import Object
from infra.local.stripe.world import World

# As live mode: more and more slowly, for three days (https://docs.stripe.com/webhooks#retries).
BACKOFF_SECONDS = (60, 300, 1_800, 7_200, 18_000, 36_000, *[43_200] * 4)
_TIMEOUT_SECONDS = 10
_STALE_SECONDS = 301
_MAX_ATTEMPTS_KEPT = 10_000

Transport = Callable[[str, bytes, dict[str, str]], int]
"""Hands a body with headers to a URL and returns the status; it raises OSError when nothing answers."""

Forgery = Literal["wrong_secret", "old", "future", "reserialised", "tampered", "unsigned", "v0_only"]


@dataclass(slots=True)
class Endpoint:
    """Where events go. ``secrets`` are the newest first; each signs while a roll lasts."""

    url: str
    secrets: list[str]
    events: frozenset[str] = frozenset({"*"})
    id: str = ""


@dataclass(frozen=True, slots=True)
class Disorder:
    """Chances from 0 to 1, and seconds. A lost event never comes; it is only in the list of events."""

    duplicate: float = 0.0
    loss: float = 0.0
    forge: float = 0.0
    reorder: bool = False
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery as it went: ``status`` is None when nothing answered."""

    event: str
    endpoint: str
    number: int
    at: int
    status: int | None


@dataclass(slots=True)
class Webhooks:
    """Endpoints and their deliveries. Nothing is sent under the world's lock: receivers may call back."""

    world: World
    transport: Transport
    disorder: Disorder = field(default_factory=Disorder)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def register(self, url: str, *secrets: str, events: frozenset[str] = frozenset({"*"})) -> Endpoint:
        with self.world.lock:
            endpoint = Endpoint(url, list(secrets), events, self.world.issue("we"))
            self.endpoints[endpoint.id] = endpoint
            return endpoint

    def queue(self, event: Object) -> None:
        """Have a new event delivered to the endpoints that want it. The caller holds the lock."""
        draw = self.world.random.random
        for endpoint in self.endpoints.values():
            if not endpoint.events & {"*", event["type"]}:
                continue
            event["pending_webhooks"] += 1
            if draw() < self.disorder.loss:
                continue
            body = encode(event)
            for _ in range(1 + (draw() < self.disorder.duplicate)):
                tie = draw() if self.disorder.reorder else 0.0
                delay = (
                    self.disorder.delay_seconds * draw()
                    if self.disorder.reorder
                    else self.disorder.delay_seconds
                )
                self.world.schedule(delay, partial(self._deliver, event, endpoint, body, 0), tie)
            if draw() < self.disorder.forge:
                how = self.world.random.choice(get_args(Forgery))
                self.world.schedule(self.disorder.delay_seconds, partial(self._forge, event, endpoint, how))

    def redeliver(self, event_id: str) -> None:
        """Send an event again to every endpoint, as the dashboard's Resend does."""
        with self.world.lock:
            event = self.world.get("event", event_id)
            for endpoint in self.endpoints.values():
                self.world.schedule(
                    0, partial(self._deliver, event, endpoint, encode(event), len(BACKOFF_SECONDS))
                )

    def forge(self, event_id: str, how: Forgery) -> None:
        """Send what must be refused.

        Raises:
            ValueError: it is none of ``Forgery``.
        """
        if how not in get_args(Forgery):
            raise ValueError(f"a forgery is one of {', '.join(get_args(Forgery))}")
        with self.world.lock:
            event = self.world.get("event", event_id)
            for endpoint in self.endpoints.values():
                self.world.schedule(0, partial(self._forge, event, endpoint, how))

    def _deliver(self, event: Object, endpoint: Endpoint, body: bytes, number: int) -> None:
        with self.world.lock:
            header = sign(body, endpoint.secrets, self.world.now())
        status = self._send(event, endpoint, body, header, number)
        with self.world.lock:
            if status is not None and status // 100 == 2:  # noqa: PLR2004 - any 2xx is an acceptance
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
            elif number < len(BACKOFF_SECONDS):
                again = partial(self._deliver, event, endpoint, body, number + 1)
                self.world.schedule(BACKOFF_SECONDS[number], again)

    def _forge(self, event: Object, endpoint: Endpoint, how: Forgery) -> None:
        body, now, secrets = encode(event), self.world.now(), endpoint.secrets
        sent, header = body, sign(body, secrets, now)
        match how:
            case "wrong_secret":
                header = sign(body, [secrets[0] + "x"], now)
            case "old":
                header = sign(body, secrets, now - _STALE_SECONDS)
            case "future":
                header = sign(body, secrets, now + _STALE_SECONDS)
            case "reserialised":
                sent = json.dumps(event, separators=(",", ":")).encode()
            case "tampered":
                sent = body.replace(b'"livemode": false', b'"livemode": true')
            case "unsigned":
                header = ""
            case "v0_only":
                header = header.replace("v1=", "v0=")
        self._send(event, endpoint, sent, header, 0)

    def _send(self, event: Object, endpoint: Endpoint, body: bytes, header: str, number: int) -> int | None:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0 (simulator)"}
        if header:
            headers["Stripe-Signature"] = header
        try:
            status: int | None = self.transport(endpoint.url, body, headers)
        except (OSError, http.client.HTTPException):
            status = None
        with self.world.lock:
            self.attempts.append(Attempt(event["id"], endpoint.id, number, self.world.now(), status))
            del self.attempts[:-_MAX_ATTEMPTS_KEPT]
        return status


def encode(event: Object) -> bytes:
    return json.dumps(event, indent=2).encode()


def sign(body: bytes, secrets: list[str], at: int) -> str:
    """Build ``Stripe-Signature``: one v1 for each secret (https://docs.stripe.com/webhooks/signature)."""
    marks = [hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join((f"t={at}", *(f"v1={mark}" for mark in marks)))


def send_http(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post over HTTP; redirects are not followed."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("POST", parts.path or "/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
