"""Secrets come from Secrets Manager, are kept for a while in the process, and never enter the environment."""

from dataclasses import dataclass
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Clock

#: A rotated secret is seen by every process within this time.
CACHE_MS = 300_000
#: While Secrets Manager does not answer, the last value serves for at most this long.
STALE_MS = 3_600_000


@dataclass(slots=True)
class CachedSecret:
    """The value of one secret. ``client`` is a botocore ``secretsmanager`` client."""

    client: Any
    secret_id: str
    clock: Clock
    _value: bytes | None = None
    _fetched_at_ms: int = 0

    def read(self) -> bytes:
        """Raises Unavailable: there is no value young enough and the service does not answer."""
        now_ms = self.clock.now_ms()
        age_ms = now_ms - self._fetched_at_ms
        if self._value is not None and age_ms < CACHE_MS:
            return self._value
        try:
            answer = self.client.get_secret_value(SecretId=self.secret_id)
        except Exception as error:
            if self._value is not None and age_ms < STALE_MS:
                return self._value
            raise Unavailable("A dependency did not answer; try again.") from error
        self._value = answer["SecretString"].encode()
        self._fetched_at_ms = now_ms
        return self._value
