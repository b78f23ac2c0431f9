"""Argon2id by argon2-cffi, with the parameters that OWASP names: 19 MiB, two passes, one lane."""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

TIME_COST, MEMORY_KIB, PARALLELISM = 2, 19_456, 1


class ArgonHasher:
    """`chalicelib.identity.ports.Hasher`. The library is loaded with the first password."""

    def __init__(self, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB) -> None:
        self._costs = (time_cost, memory_kib)

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher, Type

        time_cost, memory_kib = self._costs
        return PasswordHasher(time_cost, memory_kib, PARALLELISM, type=Type.ID)

    @cached_property
    def _nobodys(self) -> str:
        """A digest of no password, with our parameters: what is compared with it takes as long."""
        time_cost, memory_kib = self._costs
        parameters = f"m={memory_kib},t={time_cost},p={PARALLELISM}"
        return f"$argon2id$v=19${parameters}${'A' * 22}${'A' * 43}"

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def verify(self, digest: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            self._hasher.verify(digest or self._nobodys, password)
        except (InvalidHashError, VerificationError):
            return False
        return digest is not None

    def is_outdated(self, digest: str) -> bool:
        return self._hasher.check_needs_rehash(digest)
