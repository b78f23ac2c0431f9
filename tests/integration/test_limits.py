"""Rate limits on the embedded cloud: the deployed API tells them, and processes share a table of them."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import app
from chalicelib import wiring
from chalicelib.core.throttling import POLICIES, SECOND_US, RateQuota
from chalicelib.runtime.throttling import Limiter
from chalicelib.storage.bucket_store import DynamoBucketStore
from chalicelib.storage.connection import bind
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import seed_installation
from tests.fakes.wiring import rewire
from tests.integration.in_process import wire_to
from tests.performance.requests import Context, build_event

BEST_STARTS = "/v1/carbon/best-starts"
PROCESSES = 4


def connect():
    return bind(wiring.settings().table_prefix, wiring.settings().aws_region)


def build_limiter():
    """A process's own, at the limits of production."""
    return Limiter(DynamoBucketStore(connect()), wiring.clock(), POLICIES)


def ask(key, address="198.51.100.1", path=BEST_STARTS, **headers):
    event = build_event("GET", path, path, key, **headers)
    event["requestContext"]["identity"]["sourceIp"] = address
    answer = app.app(event, Context())
    return answer["statusCode"], json.loads(answer["body"]), answer["headers"]


def test_the_deployed_api_tells_its_limits(cloud: EmbeddedCloud):
    seed = seed_installation(cloud)
    answered = httpx.get(
        f"{cloud.api_url}/v1/rentals", headers={"Authorization": f"Bearer {seed.renter_key}"}, timeout=30
    )
    assert answered.status_code == 200
    policy, limit = answered.headers["ratelimit-policy"], answered.headers["ratelimit"]
    factor = 1_000
    assert policy == f'"default";q={POLICIES["read"].quotas["actor"].tokens * factor};w=60'
    assert limit.startswith('"default";r=')
    refused = httpx.get(f"{cloud.api_url}/v1/rentals", headers={"Authorization": "Bearer x"}, timeout=30)
    assert (refused.status_code, refused.headers["ratelimit-policy"][:6]) == (401, '"auth"')


def test_a_burst_over_the_limit_is_refused_and_others_are_not_touched(
    cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch
):
    busy, calm = seed_installation(cloud), seed_installation(cloud)
    with wire_to(cloud):
        allowed = POLICIES["expensive"].quotas["actor"].tokens
        statuses: Counter[int] = Counter()
        # Each of them a process that has just started: they share the table and nothing else.
        limiters = [build_limiter() for _ in range(PROCESSES)]
        for number in range(2 * allowed):
            rewire(monkeypatch, rate_limiter=limiters[number % PROCESSES])
            status, body, headers = ask(busy.renter_key, X_Forwarded_For=f"203.0.113.{number}")
            statuses[status == 429] += 1
        assert status == 429, body
        assert (body["code"], body["type"]) == ("quota_exceeded", "urn:provocative:problem:quota_exceeded")
        assert headers["RateLimit-Policy"] == f'"expensive";q={allowed};w=60'
        wait = int(headers["Retry-After"])
        assert headers["RateLimit"] == f'"expensive";r=0;t={wait}'
        # A minute may have gone by on a slow machine: one token in two seconds comes back.
        assert allowed - PROCESSES <= statuses[False] < 2 * allowed
        status, body, headers = ask(calm.renter_key)
        assert status != 429, body
        assert ask(busy.renter_key, path="/v1/rentals")[0] == 200


def test_parallel_takers_never_get_more_than_a_bucket_has(cloud: EmbeddedCloud):
    with wire_to(cloud):
        store, quota, now_us = DynamoBucketStore(connect()), RateQuota(100), 1_800_000_000 * SECOND_US

        def take(_number):
            return store.take("actor#parallel#read", quota, 3, now_us, 0).tokens

        with ThreadPoolExecutor(8) as pool:
            got = sum(pool.map(take, range(120)))
        # Who lost every attempt got nothing, and there is time to come again.
        left = store.take("actor#parallel#read", quota, 100, now_us, 0).tokens
    assert got + left == 100


def test_bad_keys_from_one_address_are_refused(cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch):
    with wire_to(cloud):
        rewire(monkeypatch, rate_limiter=build_limiter())
        allowed = POLICIES["auth"].quotas["address"].tokens
        statuses = [ask("pc_live_bad", address="198.51.100.77")[0] for _ in range(allowed + 40)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert ask("pc_live_bad", address="198.51.100.78")[0] == 401
