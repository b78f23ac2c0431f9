"""Who calls too often is refused, as a rule without a call to DynamoDB.

A process takes tokens of a shared bucket in leases and spends them by itself; a bucket that it found empty is
empty to it for a while. So a flood costs one process a write a second at most, and the usual request costs a
fraction of one. Bound, whatever the number of processes: between two instants apart by ``t``, a bucket lets
through its tokens + rate x (t + ``LEASE_US`` + twice what clocks are apart). While the store does not answer,
each process goes on by a bucket of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.errors import RateLimited, Unavailable
from chalicelib.core.ports import Clock
from chalicelib.core.principal import Principal
from chalicelib.core.throttling import (
    POLICIES,
    SECOND_US,
    CostClass,
    Grant,
    Policy,
    RateQuota,
    Scope,
    count_free,
    measure_wait_us,
    take_tokens,
)
from chalicelib.runtime.observability import get_logger

#: A lease that is older is worth nothing. It bounds what idle processes keep from others, and bring later.
LEASE_US = 10 * SECOND_US
#: The first lease of a bucket. The next is twice what was spent of the one before.
FIRST_LEASE = 4
#: A lease is this part of a bucket at most.
LEASES_PER_BUCKET = 8
#: So long the store is left alone after it did not answer: its timeout is paid once, not by every request.
PAUSE_US = 10 * SECOND_US
#: Buckets that a process remembers. A flood from ever new addresses does not fill its memory.
MAX_BUCKETS = 4_096
#: Bits of an IPv6 address that one customer has: a home or a machine gets a /64.
IPV6_PREFIX = 64


class BucketStore(Protocol):
    """Buckets that all processes share."""

    def take(self, bucket: str, quota: RateQuota, most: int, now_us: int, full_at_us: int) -> Grant:
        """Take ``most`` tokens or those that there are. ``full_at_us``: what the caller saw last, or 0.

        Raises:
            Unavailable: the store did not answer; tokens may be lost by that.
        """
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands with the bucket that is nearest to empty. ``reset_seconds``: until it is full."""

    policy: str
    quota: RateQuota
    remaining: int
    reset_seconds: int


@dataclass(slots=True)
class _Share:
    """What one process knows and has of a bucket."""

    full_at_us: int = 0
    lease: int = 0
    tokens: int = 0
    leased_at_us: int = 0
    refused_until_us: int = 0


@dataclass(slots=True)
class Limiter:
    """The limits as one process keeps them. Not for several threads: a Lambda process has one."""

    store: BucketStore
    clock: Clock
    policies: Mapping[CostClass, Policy] = field(default_factory=lambda: POLICIES)
    _shares: dict[str, _Share] = field(default_factory=dict)
    _paused_until_us: int = 0

    def require(self, cost: CostClass, scope: Scope, identity: str) -> None:
        """Raises RateLimited: the bucket is known to be empty. Makes no call."""
        bucket, quota = self._find(cost, scope, identity)
        share, now_us = self._shares.get(bucket), self._now_us()
        if share is not None and share.refused_until_us > now_us:
            raise self._refuse(cost, quota, share, now_us)

    def take(self, cost: CostClass, scope: Scope, identity: str) -> Standing:
        """Spend one token. Raises RateLimited: there is none."""
        self.require(cost, scope, identity)
        bucket, quota = self._find(cost, scope, identity)
        share, now_us = self._remember(bucket), self._now_us()
        if now_us - share.leased_at_us >= LEASE_US:
            share.lease, share.tokens = share.lease - share.tokens, 0
        if share.tokens == 0:
            share.tokens = self._lease(bucket, quota, share, now_us)
        if share.tokens == 0:
            wanted = min(FIRST_LEASE, _bound_lease(quota))
            wait_us = measure_wait_us(quota, share.full_at_us, now_us, wanted)
            share.refused_until_us = now_us + max(1, -(-wait_us // SECOND_US)) * SECOND_US
            raise self._refuse(cost, quota, share, now_us)
        share.tokens -= 1
        remaining = share.tokens + count_free(quota, share.full_at_us, now_us)
        reset_us = max(0, share.full_at_us - now_us)
        return Standing(
            self.policies[cost].name, quota, min(remaining, quota.tokens - 1), -(-reset_us // SECOND_US)
        )

    def _lease(self, bucket: str, quota: RateQuota, share: _Share, now_us: int) -> int:
        if self._paused_until_us <= now_us:
            wanted = min(_bound_lease(quota), max(1, 2 * share.lease) if share.lease else FIRST_LEASE)
            try:
                grant = self.store.take(bucket, quota, wanted, now_us, share.full_at_us)
            except Unavailable as error:
                get_logger().warning("limits are kept by each process alone", exc_info=error)
                self._paused_until_us = now_us + PAUSE_US
            else:
                share.full_at_us, share.lease, share.leased_at_us = grant.full_at_us, grant.tokens, now_us
                return grant.tokens
        grant = take_tokens(quota, share.full_at_us, now_us, 1)
        share.full_at_us = grant.full_at_us
        return grant.tokens

    def _refuse(self, cost: CostClass, quota: RateQuota, share: _Share, now_us: int) -> RateLimited:
        seconds = max(1, -(-(share.refused_until_us - now_us) // SECOND_US))
        policy = self.policies[cost].name
        return RateLimited(
            f"Too many requests: {quota.tokens} in {quota.window_seconds} s are taken here. "
            f"Try again in {seconds} s.",
            extra={
                "policy": policy,
                "quota": quota.tokens,
                "window_seconds": quota.window_seconds,
                "retry_after_seconds": seconds,
            },
        )

    def _find(self, cost: CostClass, scope: Scope, identity: str) -> tuple[str, RateQuota]:
        return f"{scope}#{identity}#{cost}", self.policies[cost].quotas[scope]

    def _remember(self, bucket: str) -> _Share:
        # The bucket that was used longest ago is the first of the dictionary.
        share = self._shares.pop(bucket, None) or _Share()
        self._shares[bucket] = share
        if len(self._shares) > MAX_BUCKETS:
            del self._shares[next(iter(self._shares))]
        return share

    def _now_us(self) -> int:
        return self.clock.now_ms() * 1_000


def _bound_lease(quota: RateQuota) -> int:
    return max(1, quota.tokens // LEASES_PER_BUCKET)


@dataclass(slots=True)
class Gate:
    """The limits before one request. Without a limiter, or for what is exempt, it is open."""

    limiter: Limiter | None
    cost: CostClass
    address: str
    _standing: Standing | None = None
    _refusal: RateLimited | None = None

    def enter(self, *, public: bool) -> None:
        """Before anything is read: a public route is counted here, a key's only looked at for bad keys.

        Raises:
            RateLimited: as all of this class.
        """
        if self.limiter is None or self.cost == "exempt":
            return
        if public:
            self._take(self.cost, "address", self.address)
            return
        try:
            self.limiter.require("auth", "address", self.address)
        except RateLimited as error:
            self._refusal = error
            raise

    def note_bad_key(self) -> None:
        """Count a key that was wrong against its address."""
        if self.limiter is not None:
            self._take("auth", "address", self.address)

    def admit(self, principal: Principal) -> None:
        if self.limiter is None or self.cost == "exempt":
            return
        self._take(self.cost, "actor", principal.actor_id)
        if principal.host_id is None:
            # The hosts of a site share an account, and a fleet that starts again is no flood.
            self._take(self.cost, "account", principal.account_id)

    def build_headers(self) -> dict[str, str]:
        """Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
        if self._refusal is not None:
            known = self._refusal.extra
            policy, tokens, window = known["policy"], known["quota"], known["window_seconds"]
            remaining, seconds = 0, known["retry_after_seconds"]
        elif self._standing is not None:
            standing = self._standing
            policy, tokens, window = standing.policy, standing.quota.tokens, standing.quota.window_seconds
            remaining, seconds = standing.remaining, standing.reset_seconds
        else:
            return {}
        return {
            "RateLimit-Policy": f'"{policy}";q={tokens};w={window}',
            "RateLimit": f'"{policy}";r={remaining};t={seconds}',
        }

    def _take(self, cost: CostClass, scope: Scope, identity: str) -> None:
        assert self.limiter is not None
        try:
            standing = self.limiter.take(cost, scope, identity)
        except RateLimited as error:
            self._refusal = error
            raise
        if self._standing is None or standing.remaining < self._standing.remaining:
            self._standing = standing


def read_address(event: Mapping[str, object]) -> str:
    """Return whom to count an event of API Gateway to: the caller's address, of IPv6 the first 64 bits.

    As the gateway saw it. What a header such as X-Forwarded-For says is the caller's own word.
    """
    context = event.get("requestContext")
    identity = context.get("identity") if isinstance(context, dict) else None
    address = str((identity or {}).get("sourceIp") or "unknown")
    if ":" not in address:
        return address
    import ipaddress

    try:
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    except ValueError:
        return "unknown"
