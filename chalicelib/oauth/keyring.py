"""Signing keys: which one signs, which ones are published, and when each goes.

Invariant: a key is published before it signs for longer than anybody keeps the list, and stays published
until the last token that it signed has expired and nobody may still look for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.oauth.model import ACCESS_TOKEN_SECONDS, DAY_MS, SECOND_MS

#: ASVS 5.0 and our own list ask for 90 days at most.
SIGNS_FOR_MS = 30 * DAY_MS
#: So long before it signs, a key is published.
AHEAD_MS = 7 * DAY_MS
#: Others may keep the published list for so long; told to them as Cache-Control.
PUBLISHED_CACHE_SECONDS = 3600
#: What is tolerated between clocks.
LEEWAY_SECONDS = 60
LINGERS_MS = (ACCESS_TOKEN_SECONDS + PUBLISHED_CACHE_SECONDS + 2 * LEEWAY_SECONDS) * SECOND_MS

#: Order of the group of P-256 (SEC 2, section 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: ``made``: its public half is not known yet.
KeyState = Literal["made", "next", "current", "retired", "dropped"]
_HIDDEN = frozenset({"made", "dropped"})


@dataclass(frozen=True, slots=True)
class SigningKey:
    """``key_ref`` names it where it is kept; ``x`` and ``y`` are its public point as a JWK has them.

    ``since_ms``: when it came into its state.
    """

    kid: str
    key_ref: str
    x: str
    y: str
    state: KeyState
    created_at_ms: int
    since_ms: int

    def build_jwk(self) -> Mapping[str, str]:
        """RFC 7517, section 4."""
        return {
            "kty": "EC",
            "crv": "P-256",
            "use": "sig",
            "alg": "ES256",
            "kid": self.kid,
            "x": self.x,
            "y": self.y,
        }


@dataclass(frozen=True, slots=True)
class KeyRing:
    keys: tuple[SigningKey, ...] = ()
    version: int = 0

    @property
    def current(self) -> SigningKey | None:
        return next((key for key in self.keys if key.state == "current"), None)

    @property
    def next(self) -> SigningKey | None:
        return next((key for key in self.keys if key.state == "next"), None)

    @property
    def made(self) -> SigningKey | None:
        return next((key for key in self.keys if key.state == "made"), None)

    @property
    def published(self) -> tuple[SigningKey, ...]:
        return tuple(key for key in self.keys if key.state not in _HIDDEN)

    @property
    def kept(self) -> tuple[SigningKey, ...]:
        return tuple(key for key in self.keys if key.state != "dropped")

    @property
    def dropped(self) -> tuple[SigningKey, ...]:
        return tuple(key for key in self.keys if key.state == "dropped")

    def find(self, kid: str) -> SigningKey | None:
        """Return the key that is published under ``kid``, compared as text and nothing else."""
        return next((key for key in self.published if key.kid == kid), None)


def needs_key(ring: KeyRing, now_ms: int) -> KeyState | None:
    """Say in which state a key is to be published, if one is."""
    if ring.current is None:
        return "current" if ring.next is None else None
    due = now_ms >= ring.current.since_ms + SIGNS_FOR_MS - AHEAD_MS
    return "next" if due and ring.next is None else None


def publish(ring: KeyRing, point: tuple[str, str], state: KeyState, now_ms: int) -> KeyRing:
    """Let the key that was made, whose public half is known now, come into its state."""
    x, y = point
    keys = (
        replace(key, x=x, y=y, state=state, since_ms=now_ms) if key == ring.made else key for key in ring.keys
    )
    return replace(ring, keys=tuple(keys))


def turn(ring: KeyRing, now_ms: int) -> KeyRing:
    """Let the next key sign when it is time and it was published for long enough; drop what has lingered."""
    current, following = ring.current, ring.next
    overdue = current is None or now_ms >= current.since_ms + SIGNS_FOR_MS
    promoted = following is not None and overdue and now_ms >= following.since_ms + LINGERS_MS
    keys = tuple(_move(key, now_ms, promoted=promoted) for key in ring.keys)
    return replace(ring, keys=keys)


def _move(key: SigningKey, now_ms: int, *, promoted: bool) -> SigningKey:
    if key.state == "next" and promoted:
        return replace(key, state="current", since_ms=now_ms)
    if key.state == "current" and promoted:
        return replace(key, state="retired", since_ms=now_ms)
    if key.state == "retired" and now_ms >= key.since_ms + LINGERS_MS:
        return replace(key, state="dropped", since_ms=now_ms)
    return key
