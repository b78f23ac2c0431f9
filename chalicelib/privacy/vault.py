"""Seals personal fields under a data key of each person's own; destroying the key erases them all at once.

A data key is made by KMS and kept wrapped; only its wrapped form is ever stored. A process keeps unwrapped
keys for `CACHED_MS` at most: that long after `Vault.destroy_key` another process may still open what it has
the key of, and none can afterwards, from no copy and no backup.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.ports import Clock
from chalicelib.privacy.model import PersonKey

CACHED_MS = 60_000
#: Unwrapped keys in a process; the one that was used longest ago goes first.
MAX_CACHED = 256


class PersonKeys(Protocol):
    """Where wrapped keys are kept: one to a person."""

    def get_key(self, user_id: str) -> PersonKey | None:
        """Read consistently: what was destroyed is never seen as living."""

    def add_key(self, key: PersonKey) -> bool:
        """``False``: there is one, living or destroyed, and nothing was written."""

    def destroy_key(self, user_id: str, at_ms: int) -> None:
        """Write over the wrapped key, also where there was none; the first instant stays."""


class KeyService(Protocol):
    """KMS. What is wrapped for a person is unwrapped for that person alone."""

    def make_key(self, user_id: str) -> tuple[bytes, bytes]:
        """Return a fresh data key of 32 bytes, plain and wrapped. Raises Unavailable."""

    def unwrap_key(self, user_id: str, wrapped: bytes) -> bytes:
        """Raises Unavailable."""


class Cipher(Protocol):
    """Authenticated encryption; ``bound_to`` must be the same at both ends."""

    def encrypt(self, key: bytes, plain: bytes, bound_to: bytes) -> str:
        """Each call takes a fresh random nonce."""

    def decrypt(self, key: bytes, sealed: str, bound_to: bytes) -> bytes:
        """Raises BrokenSeal."""


@dataclass(slots=True)
class Vault:
    """`chalicelib.core.ports.PersonVault`."""

    keys: PersonKeys
    service: KeyService
    cipher: Cipher
    clock: Clock
    _cache: OrderedDict[str, tuple[bytes, int]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def ensure_key(self, user_id: str) -> None:
        found = self.keys.get_key(user_id)
        if found is None:
            plain, wrapped = self.service.make_key(user_id)
            if self.keys.add_key(PersonKey(user_id, wrapped, self.clock.now_ms())):
                self._remember(user_id, plain)
                return
            found = self.keys.get_key(user_id)
        if found is None or found.wrapped is None:
            raise Conflict("The person was erased.", code="person_erased")

    def seal(self, user_id: str, field: str, text: str) -> str:
        key = self._find_key(user_id)
        if key is None:
            raise NotFound("There is no such person.")
        return self.cipher.encrypt(key, text.encode(), bind_seal(user_id, field))

    def open(self, user_id: str, field: str, sealed: str) -> str | None:
        key = self._find_key(user_id)
        if key is None:
            return None
        return self.cipher.decrypt(key, sealed, bind_seal(user_id, field)).decode()

    def destroy_key(self, user_id: str) -> None:
        self.keys.destroy_key(user_id, self.clock.now_ms())
        with self._lock:
            self._cache.pop(user_id, None)

    def _find_key(self, user_id: str) -> bytes | None:
        now_ms = self.clock.now_ms()
        with self._lock:
            cached = self._cache.get(user_id)
            if cached is not None and cached[1] > now_ms:
                self._cache.move_to_end(user_id)
                return cached[0]
            self._cache.pop(user_id, None)
        # Its time runs from before the read: a key destroyed while it was read is not kept longer for it.
        found = self.keys.get_key(user_id)
        if found is None or found.wrapped is None:
            return None
        plain = self.service.unwrap_key(user_id, found.wrapped)
        self._remember(user_id, plain, now_ms)
        return plain

    def _remember(self, user_id: str, plain: bytes, now_ms: int | None = None) -> None:
        since_ms = self.clock.now_ms() if now_ms is None else now_ms
        with self._lock:
            self._cache[user_id] = (plain, since_ms + CACHED_MS)
            self._cache.move_to_end(user_id)
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)


def bind_seal(user_id: str, field: str) -> bytes:
    """Return what a seal is bound to: lengths keep a person and a field from running into each other."""
    parts = (user_id.encode(), field.encode())
    return b"".join(len(part).to_bytes(2) + part for part in parts)
