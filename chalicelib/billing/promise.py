"""What is promised of a GPU's speed, and what is given back where it was not kept. Pure.

A GPU is slowed at most for so many thousandths of an hour by heat or by a brake on its power. Both are the
platform's affair: a load at the board's default limit does not overheat a healthy machine. The board's own
power cap is how it works, and is not counted.

Once the bound is crossed, all of the slowed time is credited, not only what is beyond it.
"""

from dataclasses import dataclass

from chalicelib.billing.rating import HOUR_MS


@dataclass(frozen=True, slots=True)
class Promise:
    """``from_hour``: the first hour (UTC) for which it holds."""

    version: int
    from_hour: str
    slowed_permille: int

    @property
    def slowed_ms(self) -> int:
        return HOUR_MS * self.slowed_permille // 1000


#: Oldest first. A promise that was made is never changed: another follows it.
PROMISES = (Promise(version=1, from_hour="2026-01-01T00", slowed_permille=50),)


def find_promise(hour: str) -> Promise | None:
    """Return what was promised for an hour."""
    return next((each for each in reversed(PROMISES) if each.from_hour <= hour), None)


def compute_slowdown_credit(
    promise: Promise, slowed_ms: int, price_micros_per_gpu_hour: int, charged_micros: int
) -> int:
    """Return ``floor(price x slowed ms / 3,600,000)``, at most ``charged_micros``; 0 within the promise.

    ``charged_micros``: what this GPU cost in the hour.
    """
    if slowed_ms <= promise.slowed_ms:
        return 0
    return max(0, min(price_micros_per_gpu_hour * slowed_ms // HOUR_MS, charged_micros))
