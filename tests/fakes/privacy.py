"""A vault that seals nothing from anybody, and what the real one stands on."""

from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.privacy.model import PersonKey


@dataclass
class FakeVault:
    """`PersonVault`: what it seals is readable only by its rules, not by eye."""

    living: set[str] = field(default_factory=set)
    destroyed: set[str] = field(default_factory=set)

    def ensure_key(self, user_id: str) -> None:
        if user_id in self.destroyed:
            raise Conflict("The person was erased.", code="person_erased")
        self.living.add(user_id)

    def seal(self, user_id: str, field: str, text: str) -> str:
        if user_id not in self.living:
            raise NotFound("There is no such person.")
        return "fake." + b64encode(f"{user_id}\0{field}\0{text}".encode()).decode()

    def open(self, user_id: str, field: str, sealed: str) -> str | None:
        if user_id not in self.living:
            return None
        owner, name, text = b64decode(sealed.removeprefix("fake.")).decode().split("\0", 2)
        assert (owner, name) == (user_id, field), "sealed for another person or field"
        return text

    def destroy_key(self, user_id: str) -> None:
        self.living.discard(user_id)
        self.destroyed.add(user_id)


@dataclass
class MemoryPersonKeys:
    rows: dict[str, PersonKey] = field(default_factory=dict)
    reads: int = 0

    def get_key(self, user_id: str) -> PersonKey | None:
        self.reads += 1
        return self.rows.get(user_id)

    def add_key(self, key: PersonKey) -> bool:
        if key.user_id in self.rows:
            return False
        self.rows[key.user_id] = key
        return True

    def destroy_key(self, user_id: str, at_ms: int) -> None:
        standing = self.rows.get(user_id) or PersonKey(user_id, None, at_ms)
        destroyed_at_ms = at_ms if standing.destroyed_at_ms is None else standing.destroyed_at_ms
        self.rows[user_id] = replace(standing, wrapped=None, destroyed_at_ms=destroyed_at_ms)


@dataclass
class FakeKeyService:
    """KMS with a counter for keys; what is wrapped names its person."""

    made: int = 0
    unwrapped: int = 0

    def make_key(self, user_id: str) -> tuple[bytes, bytes]:
        self.made += 1
        plain = self.made.to_bytes(32)
        return plain, user_id.encode() + b"\0" + plain

    def unwrap_key(self, user_id: str, wrapped: bytes) -> bytes:
        self.unwrapped += 1
        owner, _, plain = wrapped.partition(b"\0")
        assert owner.decode() == user_id, "the encryption context differs"
        return plain
