"""Processes together let through what a bucket has; a flood costs them hardly a call."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import RateLimited
from chalicelib.core.throttling import POLICIES, SECOND_US, Policy, RateQuota
from chalicelib.runtime.throttling import LEASE_US, MAX_BUCKETS, PAUSE_US, Limiter
from tests.fakes.database import FakeClock
from tests.fakes.limits import MemoryBuckets

PROCESSES = 16


def build_policies(tokens, window_seconds=60):
    quota = RateQuota(tokens, window_seconds)
    return {"read": Policy("default", dict.fromkeys(("actor", "account", "address"), quota))}


class Fleet:
    """Processes that share a store and, each with its own error, a clock."""

    def __init__(self, tokens, processes=PROCESSES, skews_ms=()):
        self.quota, self.store = RateQuota(tokens), MemoryBuckets()
        self.clocks = [FakeClock() for _ in range(processes)]
        for clock, skew_ms in zip(self.clocks, skews_ms, strict=False):
            clock.value_ms += skew_ms
        self.limiters = [Limiter(self.store, clock, build_policies(tokens)) for clock in self.clocks]
        self.now_us, self.passed, self.refused = 0, [], 0

    def wait(self, milliseconds):
        self.now_us += milliseconds * 1_000
        for clock in self.clocks:
            clock.value_ms += milliseconds

    def ask(self, process, times=1):
        for _ in range(times):
            try:
                self.limiters[process].take("read", "actor", "key_1")
            except RateLimited:
                self.refused += 1
            else:
                self.passed.append(self.now_us)

    def check_bound(self, skew_us=0):
        """No stretch of time lets through more than is promised."""
        slack_us = LEASE_US + 2 * skew_us
        for begin, since_us in enumerate(self.passed):
            for count, until_us in enumerate(self.passed[begin:], 1):
                if count * self.quota.interval_us > self.quota.span_us + until_us - since_us + slack_us:
                    raise AssertionError(f"{count} in {until_us - since_us} us")


#: Pause in milliseconds, process, requests at once.
LOADS = st.lists(
    st.tuples(st.integers(0, 15_000), st.integers(0, PROCESSES - 1), st.integers(1, 40)), max_size=60
)


@given(st.integers(1, 120), LOADS)
@settings(max_examples=60, deadline=None)
def test_sixteen_processes_let_through_no_more_than_one_bucket_and_a_leases_life(tokens, load):
    fleet = Fleet(tokens)
    for pause_ms, process, times in load:
        fleet.wait(pause_ms)
        fleet.ask(process, times)
    fleet.check_bound()


@given(st.lists(st.integers(-2_000, 2_000), min_size=PROCESSES, max_size=PROCESSES), LOADS)
@settings(max_examples=40)
def test_clocks_that_are_apart_add_what_comes_back_in_that_time(skews_ms, load):
    fleet = Fleet(60, skews_ms=skews_ms)
    for pause_ms, process, times in load:
        fleet.wait(pause_ms)
        fleet.ask(process, times)
    fleet.check_bound(skew_us=(max(skews_ms) - min(skews_ms)) * 1_000)


def test_a_flood_on_sixteen_processes_gets_the_rate_and_costs_hardly_a_write():
    """600 a minute against 48,000 in a minute: what passes is a bucket, and its rate from then on."""
    fleet, random = Fleet(600), Random(1)
    for _ in range(600):
        fleet.wait(100)
        for process in random.sample(range(PROCESSES), 8):
            fleet.ask(process, 10)
    asked = len(fleet.passed) + fleet.refused
    assert asked == 48_000
    fleet.check_bound()
    assert 1_150 <= len(fleet.passed) <= 600 + 600
    # A process that found the bucket empty asks a second later: one call for 50 requests and more.
    assert len(fleet.store.calls) < 0.03 * asked


def test_who_stays_under_half_the_rate_is_never_refused_wherever_the_requests_go():
    fleet, random = Fleet(600), Random(2)
    for _ in range(2_000):
        fleet.wait(200)
        fleet.ask(random.randrange(PROCESSES))
    assert fleet.refused == 0


def test_the_usual_request_costs_a_fraction_of_a_write():
    fleet = Fleet(600, processes=1)
    for _ in range(1_000):
        fleet.wait(200)
        fleet.ask(0)
    assert len(fleet.passed) == 1_000
    assert len(fleet.store.calls) / 1_000 <= 0.05


def test_a_refused_request_of_a_warm_process_makes_no_call():
    fleet = Fleet(10, processes=1)
    fleet.ask(0, 11)
    assert (len(fleet.passed), fleet.refused) == (10, 1)
    before = len(fleet.store.calls)
    fleet.ask(0, 1_000)
    assert len(fleet.store.calls) == before
    assert fleet.refused == 1_001


def test_whoever_waits_as_long_as_was_said_is_let_in():
    fleet = Fleet(10, processes=1)
    fleet.ask(0, 10)
    with pytest.raises(RateLimited) as caught:
        fleet.limiters[0].take("read", "actor", "key_1")
    seconds = caught.value.extra["retry_after_seconds"]
    assert seconds == 6
    fleet.wait(seconds * 1_000 - 1)
    fleet.ask(0)
    assert len(fleet.passed) == 10
    fleet.wait(1)
    fleet.ask(0)
    assert len(fleet.passed) == 11


def test_others_are_not_touched_by_one_that_floods():
    fleet = Fleet(10, processes=1)
    fleet.ask(0, 100)
    for scope, identity in (("actor", "key_2"), ("account", "key_1"), ("address", "key_1")):
        assert fleet.limiters[0].take("read", scope, identity).remaining == 9


def test_standing_counts_down_and_says_when_the_bucket_is_full():
    fleet = Fleet(600, processes=1)
    standings = [fleet.limiters[0].take("read", "actor", "key_1") for _ in range(20)]
    assert [each.remaining for each in standings] == list(range(599, 579, -1))
    assert standings[0].policy == "default"
    # Four are leased, a tenth of a second each.
    assert standings[0].reset_seconds == 1


class TestWithoutTheStore:
    """The API goes on, each process by itself, and does not wait for the store at every request."""

    @pytest.fixture
    def fleet(self):
        fleet = Fleet(10, processes=2)
        fleet.store.down = True
        return fleet

    def test_each_process_keeps_the_limit_by_itself(self, fleet):
        for process in (0, 1):
            fleet.ask(process, 50)
        assert len(fleet.passed) == 20

    def test_its_silence_is_waited_for_once(self, fleet):
        fleet.ask(0, 10)
        assert len(fleet.store.calls) == 1

    def test_what_is_known_of_the_bucket_still_counts(self, fleet):
        fleet.store.down = False
        fleet.ask(0, 9)
        fleet.store.down = True
        fleet.ask(0, 9)
        assert len(fleet.passed) <= 11

    def test_it_is_asked_again_after_a_while(self, fleet):
        fleet.ask(0)
        fleet.store.down = False
        fleet.wait(PAUSE_US // 1_000)
        fleet.ask(0)
        assert len(fleet.store.calls) == 2
        assert fleet.store.full_at_us


def test_a_flood_from_ever_new_addresses_fills_no_memory():
    limiter = Limiter(MemoryBuckets(), FakeClock())
    for number in range(MAX_BUCKETS + 100):
        limiter.take("read", "address", f"192.0.2.{number}")
    assert len(limiter._shares) == MAX_BUCKETS
    assert "address#192.0.2.0#read" not in limiter._shares


def test_classes_are_ordered_by_what_they_cost():
    tokens = [POLICIES[cost].quotas["actor"].tokens for cost in ("read", "write", "expensive")]
    assert all(more > fewer for more, fewer in pairwise(tokens))
    assert all(quota.window_seconds == 60 for each in POLICIES.values() for quota in each.quotas.values())
    assert SECOND_US == 10**6
