"""Token buckets: how often a key, an account or an address may call, by what a call costs us.

A bucket is one instant: when it is full again. Tokens ``n`` of a bucket that gains one each ``interval``
put it off by ``n * interval``; it may never lie further ahead than a whole bucket. That is a bucket of
(tokens, updated at), as the generic cell rate algorithm writes it (ITU-T I.371, annex A), and it can be
changed by an addition alone: nobody has to read before writing. Instants are microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

#: ``exempt``: never refused, see docs/adr/0042.
CostClass = Literal["read", "write", "expensive", "auth", "exempt"]
Scope = Literal["actor", "account", "address"]

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class RateQuota:
    """``tokens`` at once, and as many again in each ``window_seconds``."""

    tokens: int
    window_seconds: int = 60

    @property
    def interval_us(self) -> int:
        """Time in which one token comes back, rounded so that none comes early."""
        return -(-self.window_seconds * SECOND_US // self.tokens)

    @property
    def span_us(self) -> int:
        """Time in which an empty bucket is full."""
        return self.tokens * self.interval_us


@dataclass(frozen=True, slots=True)
class Policy:
    """What one cost class allows: by name as answers tell it, and by scope."""

    name: str
    quotas: Mapping[Scope, RateQuota]


#: A person behind a browser makes a few requests a second, a script tens. An account is several of those; an
#: address counts where there is no key, and may be a whole office.
POLICIES: Mapping[CostClass, Policy] = {
    "read": Policy(
        "default", {"actor": RateQuota(600), "account": RateQuota(1_200), "address": RateQuota(600)}
    ),
    "write": Policy("write", {"actor": RateQuota(300), "account": RateQuota(600), "address": RateQuota(300)}),
    # PDF, CSV and searches: up to a second of Lambda each.
    "expensive": Policy(
        "expensive", {"actor": RateQuota(30), "account": RateQuota(60), "address": RateQuota(30)}
    ),
    # Whoever has no key yet, and whoever's key was wrong.
    "auth": Policy("auth", {"actor": RateQuota(60), "account": RateQuota(60), "address": RateQuota(120)}),
}


def scale_policies(policies: Mapping[CostClass, Policy], factor: int) -> Mapping[CostClass, Policy]:
    """Return policies of ``factor`` times the tokens."""
    return {
        cost: replace(
            policy,
            quotas={
                scope: replace(quota, tokens=quota.tokens * factor) for scope, quota in policy.quotas.items()
            },
        )
        for cost, policy in policies.items()
    }


@dataclass(frozen=True, slots=True)
class Grant:
    """What was got of a bucket, none or more, and when the bucket is full again."""

    tokens: int
    full_at_us: int


def count_free(quota: RateQuota, full_at_us: int, now_us: int) -> int:
    """Return how many tokens a bucket has."""
    missing_us = max(0, full_at_us - now_us)
    return max(0, (quota.span_us - missing_us) // quota.interval_us)


def take_tokens(quota: RateQuota, full_at_us: int, now_us: int, most: int) -> Grant:
    """Take ``most`` tokens, or those that there are. A bucket that nobody took from is full at 0."""
    tokens = min(most, count_free(quota, full_at_us, now_us))
    if tokens == 0:
        return Grant(0, full_at_us)
    return Grant(tokens, max(full_at_us, now_us) + tokens * quota.interval_us)


def measure_wait_us(quota: RateQuota, full_at_us: int, now_us: int, tokens: int) -> int:
    """Return how long it takes until a bucket has ``tokens`` tokens."""
    return max(0, full_at_us + tokens * quota.interval_us - quota.span_us - now_us)
