"""Idempotency keys: https://docs.stripe.com/api/idempotent_requests."""

from dataclasses import dataclass
from http import HTTPStatus

from infra.local.stripe.errors import Refused

KEPT_SECONDS = 24 * 3_600
_MAX_LENGTH = 255


@dataclass(slots=True)
class Kept:
    """What is known of a key; ``answer`` (status, body) is None while its first request is in flight."""

    fingerprint: str
    first_at: int
    answer: tuple[int, bytes] | None = None


class IdempotencyKeys:
    """Answers by key, for 24 hours of the simulator's clock. The caller holds the lock."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def begin(self, key: str, fingerprint: str, now: int) -> tuple[int, bytes] | None:
        """Return the stored answer, or None when the caller is the first and must ``finish`` or ``release``.

        Raises:
            Refused: the key is in flight, was used with another request, or is too long.
        """
        if len(key) > _MAX_LENGTH:
            raise Refused(
                "Idempotency keys are at most 255 characters.", kind="idempotency_error", started=False
            )
        for old in [
            name for name, kept in self._kept.items() if now - kept.first_at > KEPT_SECONDS and kept.answer
        ]:
            del self._kept[old]
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = Kept(fingerprint, now)
            return None
        if kept.fingerprint != fingerprint:
            message = f"Keys for idempotent requests can only be used with the same parameters: '{key}'."
            raise Refused(message, kind="idempotency_error", started=False)
        if kept.answer is None:
            message = f"There is currently another in-progress request using this Idempotent Key: '{key}'."
            raise Refused(
                message,
                status=HTTPStatus.CONFLICT,
                kind="idempotency_error",
                code="idempotency_key_in_use",
                started=False,
            )
        return kept.answer

    def finish(self, key: str, status: int, body: bytes) -> None:
        self._kept[key].answer = (status, body)

    def release(self, key: str) -> None:
        """Forget a request that never started: the key may be used again."""
        self._kept.pop(key, None)
