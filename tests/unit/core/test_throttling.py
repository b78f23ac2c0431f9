"""A bucket that is one instant is a bucket of tokens, and lets through what it says."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.throttling import (
    POLICIES,
    SECOND_US,
    RateQuota,
    count_free,
    measure_wait_us,
    scale_policies,
    take_tokens,
)

START_US = 1_800_000_000 * SECOND_US
QUOTAS = st.builds(RateQuota, tokens=st.integers(1, 2_000), window_seconds=st.sampled_from([1, 7, 60, 3_600]))
#: How long after the one before, in microseconds, and how many are asked for.
CALLS = st.lists(st.tuples(st.integers(0, 90 * SECOND_US), st.integers(1, 50)), max_size=60)


class TokensAndTime:
    """The same bucket as textbooks have it, its tokens counted in the microseconds that they take."""

    def __init__(self, quota):
        self.quota, self.level_us, self.updated_us = quota, quota.span_us, START_US

    def take(self, now_us, most):
        self.level_us = min(self.quota.span_us, self.level_us + now_us - self.updated_us)
        self.updated_us = now_us
        tokens = min(most, self.level_us // self.quota.interval_us)
        self.level_us -= tokens * self.quota.interval_us
        return tokens


@given(QUOTAS, CALLS)
def test_an_instant_says_the_same_as_tokens_and_the_time_of_their_update(quota, calls):
    textbook, full_at_us, now_us = TokensAndTime(quota), 0, START_US
    for pause_us, most in calls:
        now_us += pause_us
        grant = take_tokens(quota, full_at_us, now_us, most)
        full_at_us = grant.full_at_us
        assert grant.tokens == textbook.take(now_us, most)
        assert count_free(quota, full_at_us, now_us) == textbook.level_us // quota.interval_us


@given(QUOTAS, CALLS)
def test_no_stretch_of_time_lets_through_more_than_a_bucket_and_what_came_back_in_it(quota, calls):
    full_at_us, now_us, taken = 0, START_US, []
    for pause_us, most in calls:
        now_us += pause_us
        grant = take_tokens(quota, full_at_us, now_us, most)
        full_at_us = grant.full_at_us
        taken.append((now_us, grant.tokens))
    for begin, (since_us, _) in enumerate(taken):
        total = 0
        for until_us, tokens in taken[begin:]:
            total += tokens
            assert total <= quota.tokens + (until_us - since_us) // quota.interval_us + 1
            assert total * quota.interval_us <= quota.span_us + until_us - since_us


@given(QUOTAS, st.integers(1, 50), st.integers(0, 120 * SECOND_US))
def test_who_waits_as_long_as_is_said_gets_it_and_no_moment_sooner(quota, wanted, ahead_us):
    wanted, full_at_us = min(wanted, quota.tokens), START_US + min(ahead_us, quota.span_us)
    wait_us = measure_wait_us(quota, full_at_us, START_US, wanted)
    assert count_free(quota, full_at_us, START_US + wait_us) >= wanted
    if wait_us:
        assert count_free(quota, full_at_us, START_US + wait_us - 1) < wanted


def test_every_class_counts_every_scope_and_a_factor_multiplies_them():
    for cost, policy in scale_policies(POLICIES, 1_000).items():
        assert set(policy.quotas) == {"actor", "account", "address"}
        for scope, quota in policy.quotas.items():
            assert quota.tokens == 1_000 * POLICIES[cost].quotas[scope].tokens
            # More than one a microsecond could not be told apart.
            assert quota.interval_us >= 10
