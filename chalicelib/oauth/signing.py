"""The signing keys at work: cached, turned by schedule, published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Clock
from chalicelib.oauth.keyring import KeyRing, SigningKey, needs_key, publish, turn
from chalicelib.oauth.model import MINUTE_MS

if TYPE_CHECKING:
    from chalicelib.oauth.ports import OAuthPorts

RING = "KEYS"
CACHE_MS = MINUTE_MS


@dataclass(slots=True)
class KeyCache:
    """The ring of one process. ``read`` is one consistent read.

    A kid that the ring does not have causes no read of its own: a key is published long before it signs.
    """

    read: Callable[[], KeyRing]
    clock: Clock
    _ring: KeyRing | None = field(default=None)
    _read_at_ms: int = 0

    def get(self) -> KeyRing:
        now_ms = self.clock.now_ms()
        if self._ring is None or not 0 <= now_ms - self._read_at_ms < CACHE_MS:
            return self._fetch(now_ms)
        return self._ring

    def find(self, kid: str) -> SigningKey | None:
        """Return the published key ``kid``, as the ring was a minute ago at most."""
        return self.get().find(kid)

    def _fetch(self, now_ms: int) -> KeyRing:
        self._ring, self._read_at_ms = self.read(), now_ms
        return self._ring


def get_signing_key(ports: "OAuthPorts") -> SigningKey:
    """Raises Unavailable: no key was made yet."""
    key = ports.keys.get().current
    if key is None:
        raise Unavailable("There is no signing key yet; try again in some minutes.")
    return key


def build_key_set(ports: "OAuthPorts") -> Mapping[str, object]:
    """Return the published keys (RFC 7517, section 5)."""
    return {"keys": [dict(key.build_jwk()) for key in ports.keys.get().published]}


@dataclass(frozen=True, slots=True)
class Turned:
    made: int
    dropped: int
    published: int


def rotate_signing_keys(ports: "OAuthPorts") -> Turned:
    """Make, promote and drop keys as their times say. Safe to repeat, and to die in anywhere.

    A key is written down as soon as it is made, and its public half is read then, in this run or a later one:
    a new key may not be read for minutes. Only a run that dies between making and writing leaves an orphan,
    which nothing signs with; it costs its keep.

    Raises:
        Unavailable: another run changed the ring at the same time; or a key that was made cannot be read yet,
            and all else is done.
    """
    now_ms = ports.clock.now_ms()
    ring = ports.store.get(KeyRing, RING) or KeyRing()
    # First what an earlier run left over: destroying is repeated until the ring has forgotten the key.
    for key in ring.dropped:
        ports.signer.drop_key(key.key_ref)
    turned, made = turn(replace(ring, keys=ring.kept), now_ms), 0
    state = needs_key(turned, now_ms)
    if state is not None and turned.made is None:
        key_ref, made = ports.signer.make_key(), 1
        key = SigningKey(ports.ids.new_id("kid"), key_ref, "", "", "made", now_ms, now_ms)
        turned = replace(turned, keys=(*turned.keys, key))
    turned = _write(ports, ring, turned)
    if state is not None and turned.made is not None:
        point = ports.signer.read_key(turned.made.key_ref)
        turned = _write(ports, turned, publish(turned, point, state, ports.clock.now_ms()))
    return Turned(made, len(turned.dropped), len(turned.published))


def _write(ports: "OAuthPorts", before: KeyRing, after: KeyRing) -> KeyRing:
    if after.keys == before.keys:
        return before
    tx = ports.transactions()
    if before.version == 0:
        ports.store.add(tx, after)
    else:
        ports.store.replace(tx, after)
    tx.commit()
    return replace(after, version=before.version + 1)
