"""The limits that a process keeps before its routes."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.system import clock, settings

if TYPE_CHECKING:
    from chalicelib.runtime.throttling import Limiter


@cache
def rate_limiter() -> "Limiter":
    from chalicelib.core.throttling import POLICIES, scale_policies
    from chalicelib.runtime.throttling import Limiter
    from chalicelib.storage.bucket_store import DynamoBucketStore
    from chalicelib.storage.connection import bind

    store = DynamoBucketStore(bind(settings().table_prefix, settings().aws_region))
    return Limiter(store, clock(), scale_policies(POLICIES, settings().rate_limit_factor))


def find_limiter() -> "Limiter":
    """For those who ask at each request: a test may put another in place."""
    return rate_limiter()
