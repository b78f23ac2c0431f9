"""The real clock, identifiers and jitter: the only place where the cloud side reads time or randomness."""

import secrets
import string
import time

from chalicelib.core.ids import RANDOM_BYTES, build_id

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
#: 62**32 is 2**190: beyond guessing, as OWASP ASVS 5.0 asks of a high-entropy secret (>= 128 bits).
SECRET_CHARACTERS = 32


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemIds:
    def new_id(self, prefix: str) -> str:
        return build_id(
            prefix, now_ms=time.time_ns() // 1_000_000, randomness=secrets.token_bytes(RANDOM_BYTES)
        )

    def new_secret(self) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARACTERS))


def sleep_seconds(seconds: float) -> None:
    time.sleep(seconds)


def draw_fraction() -> float:
    """A number in [0, 1), for jitter."""
    return secrets.randbits(53) / (1 << 53)
