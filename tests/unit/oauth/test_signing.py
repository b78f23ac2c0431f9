"""Keys turn by themselves: whoever caches our list knows a key before it signs, and while its tokens live."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import Unavailable
from chalicelib.oauth.keyring import AHEAD_MS, LINGERS_MS, PUBLISHED_CACHE_SECONDS, SIGNS_FOR_MS
from chalicelib.oauth.model import ACCESS_TOKEN_SECONDS
from chalicelib.oauth.signing import build_key_set, rotate_signing_keys
from tests.fakes import Crash
from tests.fakes.oauth import AuthorizationWorld

HOUR = 3600


def test_the_first_run_makes_a_key_that_signs_at_once_and_later_ones_change_nothing(world):
    assert [key.state for key in world.read_ring().keys] == ["current"]
    for _ in range(24):
        world.clock.advance_seconds(HOUR)
        assert rotate_signing_keys(world.ports).made == 0


def test_a_key_is_published_a_week_ahead_and_signs_after_thirty_days(world):
    first = world.read_ring().current
    world.clock.advance_seconds((SIGNS_FOR_MS - AHEAD_MS) / 1000)
    rotate_signing_keys(world.ports)
    ring = world.read_ring()
    assert (ring.current, ring.next.state) == (first, "next")
    world.clock.advance_seconds(AHEAD_MS / 1000)
    rotate_signing_keys(world.ports)
    after = world.read_ring()
    assert (after.current.kid, after.find(first.kid).state) == (ring.next.kid, "retired")


def test_a_retired_key_stays_published_until_its_last_token_is_of_no_use(world):
    first = world.read_ring().current
    world.clock.advance_seconds((SIGNS_FOR_MS - AHEAD_MS) / 1000)
    rotate_signing_keys(world.ports)
    world.clock.advance_seconds(AHEAD_MS / 1000)
    rotate_signing_keys(world.ports)
    world.clock.advance_seconds(LINGERS_MS / 1000 - 1)
    rotate_signing_keys(world.ports)
    assert world.read_ring().find(first.kid) is not None
    world.clock.advance_seconds(1)
    rotate_signing_keys(world.ports)
    assert world.read_ring().find(first.kid) is None
    assert world.signer.dropped == []
    rotate_signing_keys(world.ports)
    assert world.signer.dropped == [first.key_ref]
    assert first.key_ref not in [key.key_ref for key in world.read_ring().keys]


def test_a_key_whose_public_half_is_late_is_waited_for_and_no_other_is_made(world):
    first = world.read_ring().current
    world.clock.advance_seconds((SIGNS_FOR_MS - AHEAD_MS) / 1000)
    world.signer.late = 3
    for _ in range(3):
        with pytest.raises(Unavailable):
            rotate_signing_keys(world.ports)
        assert len(world.signer.keys) == 2
        ring = world.read_ring()
        assert (ring.published, ring.current, ring.next) == ((first,), first, None)
        assert ring.find(ring.made.kid) is None
        assert len(build_key_set(world.ports)["keys"]) == 1
        world.clock.advance_seconds(HOUR)
    made = world.read_ring().made
    assert rotate_signing_keys(world.ports).made == 0
    ring = world.read_ring()
    assert (ring.next.key_ref, ring.next.since_ms) == (made.key_ref, world.clock.now_ms())
    assert (ring.made, len(ring.keys), len(world.signer.keys)) == (None, 2, 2)


def test_the_first_key_may_be_late_too_and_signs_once_it_is_known():
    world = AuthorizationWorld(late=2)
    assert world.read_ring().current is None
    with pytest.raises(Unavailable):
        rotate_signing_keys(world.ports)
    rotate_signing_keys(world.ports)
    assert world.read_ring().current.key_ref in world.signer.keys
    assert len(world.signer.keys) == 1


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", [0, 1])
def test_a_run_that_dies_behind_its_first_write_makes_no_key_twice(world, point, commit):
    world.clock.advance_seconds((SIGNS_FOR_MS - AHEAD_MS) / 1000)
    setattr(world.db, point, world.db.commits + commit)
    with pytest.raises(Crash):
        rotate_signing_keys(world.ports)
    world.db.crash_before = world.db.crash_after = None
    rotate_signing_keys(world.ports)
    assert world.read_ring().next is not None
    # What was not written down is an orphan, and nothing else.
    orphans = 1 if (point, commit) == ("crash_before", 0) else 0
    assert len(world.signer.keys) == 2 + orphans


def test_the_published_list_holds_public_points_alone(world):
    (jwk,) = build_key_set(world.ports)["keys"]
    assert set(jwk) == {"kty", "crv", "use", "alg", "kid", "x", "y"}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9 * 24), st.sampled_from(["run", "before", "after", "late"])), max_size=40
    )
)
def test_whenever_it_runs_and_dies_no_key_signs_unknown_or_goes_too_soon(steps):
    world = AuthorizationWorld()
    seen = {world.read_ring().current.kid: world.clock.now_ms()}
    signed = {}
    for hours, how in steps:
        ring = world.read_ring()
        signed[ring.current.kid] = world.clock.now_ms()
        world.clock.advance_seconds(hours * HOUR)
        # It signed until this very moment.
        signed[ring.current.kid] = world.clock.now_ms()
        world.db.crash_before = world.db.commits if how == "before" else None
        world.db.crash_after = world.db.commits if how == "after" else None
        world.signer.late = int(how == "late")
        with suppress(Crash, Unavailable):
            rotate_signing_keys(world.ports)
        world.db.crash_before = world.db.crash_after = None
        now = world.clock.now_ms()
        before, ring = ring, world.read_ring()
        for key in ring.published:
            seen.setdefault(key.kid, now)
        if ring.current.kid != before.current.kid:
            assert now - seen[ring.current.kid] >= PUBLISHED_CACHE_SECONDS * 1000
        for kid, last in signed.items():
            if now <= last + (ACCESS_TOKEN_SECONDS + PUBLISHED_CACHE_SECONDS + 60) * 1000:
                assert ring.find(kid) is not None
        assert not {each.key_ref for each in ring.published} & set(world.signer.dropped)
