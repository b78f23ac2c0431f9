"""Buckets of rate limits in memory, as all processes share them."""

import threading
from dataclasses import dataclass, field

from chalicelib.core.errors import Unavailable
from chalicelib.core.throttling import Grant, RateQuota, take_tokens


@dataclass
class MemoryBuckets:
    """``calls`` lists the buckets that were asked; while ``down`` none answers."""

    full_at_us: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    down: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, bucket: str, quota: RateQuota, most: int, now_us: int, full_at_us: int) -> Grant:
        with self.lock:
            self.calls.append(bucket)
            if self.down:
                raise Unavailable("The limits could not be read.")
            grant = take_tokens(quota, self.full_at_us.get(bucket, 0), now_us, most)
            self.full_at_us[bucket] = grant.full_at_us
            return grant
