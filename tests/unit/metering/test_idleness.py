"""Idleness needs evidence: what telemetry does not cover counts as active."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.metering.activity import Observation, is_idle, observe
from chalicelib.metering.model import Activity
from chalicelib.rentals.policies import IdlePolicy

POLICY = IdlePolicy(600, 5)
MINUTE = 60_000


def watch(utilizations, *, complete=True, start=0):
    """One observation a minute; ``None`` is a minute without telemetry."""
    activity: Activity | None = None
    for index, value in enumerate(utilizations):
        if value is None:
            continue
        begin = start + index * MINUTE
        seen = Observation(begin, begin + MINUTE, value, complete)
        activity = observe(activity, seen, POLICY)
    return activity, start + len(utilizations) * MINUTE


def test_ten_quiet_minutes_are_idle():
    activity, now = watch([0] * 10)
    assert is_idle(activity, POLICY, now)


def test_nine_quiet_minutes_are_not():
    activity, now = watch([0] * 9)
    assert not is_idle(activity, POLICY, now)


def test_one_busy_minute_starts_anew():
    activity, now = watch([0] * 8 + [90] + [0] * 8)
    assert not is_idle(activity, POLICY, now)


def test_missing_telemetry_counts_as_active():
    activity, now = watch([0] * 5 + [None] * 5 + [0] * 5)
    assert not is_idle(activity, POLICY, now)
    activity, now = watch([0] * 12)
    assert not is_idle(activity, POLICY, now + 10 * MINUTE)


def test_a_gpu_that_was_not_sampled_counts_as_active():
    activity, now = watch([0] * 12, complete=False)
    assert not is_idle(activity, POLICY, now)


@given(st.lists(st.one_of(st.none(), st.integers(0, 100)), max_size=40))
def test_whoever_is_called_idle_was_seen_quiet_for_the_whole_time(utilizations):
    activity, now = watch(utilizations)
    if is_idle(activity, POLICY, now):
        quiet = 0
        for value in reversed(utilizations):
            if value is None:
                continue
            if value > POLICY.max_utilization_percent:
                break
            quiet += 1
        assert quiet >= 5, "a single missing minute is bridged, and no more than every other"


@given(st.permutations(range(8)))
def test_a_repeat_or_an_older_observation_changes_nothing(order):
    activity, _ = watch([0] * 8)
    for index in order:
        seen = Observation(index * MINUTE, (index + 1) * MINUTE, 99, complete=True)
        activity = observe(activity, seen, POLICY)
    assert activity.idle_since_ms == 0
