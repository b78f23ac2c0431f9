"""A key gets one successor that may do the same, works beside it for a while, and then ends."""

import pytest

from chalicelib.accounts.model import DAY_MS, derive_secret
from chalicelib.accounts.rotating import DEFAULT_OVERLAP_MS, RotateKey, rotate_key
from chalicelib.accounts.service import authenticate, create_key, revoke_key
from chalicelib.core.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Unauthenticated
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import KeyLimits
from tests.factories import add_host, add_renter, seed_cloud
from tests.fakes import Crash
from tests.fakes.database import START_MS

SCOPES = frozenset({"rentals:read", "keys:write"})
NETWORKS = ("203.0.113.0/24",)


class Keyring:
    """An account's keys; each request is of one of them."""

    def __init__(self):
        self.seeded = seed_cloud()
        self.cloud, self.account_id = self.seeded.cloud, self.seeded.renter.account_id
        self.admin = self.issue()

    def issue(self, **limits):
        return create_key(
            self.cloud.accounts,
            self.seeded.operator,
            self.account_id,
            label="deploy",
            limits=KeyLimits(**limits),
        )

    def enter(self, token):
        return authenticate(self.cloud.accounts, token)

    def rotate(self, key_id, by=None, *, overlap_ms=DEFAULT_OVERLAP_MS, key="once"):
        by = self.admin.token if by is None else by
        principal = self.enter(by)
        fingerprint = compute_fingerprint(f"{key_id} {principal.actor_id}", b"%d" % overlap_ms)
        command = RotateKey(key_id, overlap_ms, by, key, fingerprint, lambda made: made.key_id, str)
        return rotate_key(self.cloud.rotation, principal, command)

    def find(self, key_id):
        return self.cloud.accounts.store.get_key(key_id)

    def count_acts(self):
        return [entry.action for entry in self.cloud.audit.entries].count("key.rotated")


@pytest.fixture
def ring():
    return Keyring()


def test_the_successor_may_do_the_same_and_both_know_each_other(ring):
    old = ring.issue(permissions=SCOPES, networks=NETWORKS)
    rotated = ring.rotate(old.key.key_id)
    new, before = ring.find(rotated.body), ring.find(old.key.key_id)
    assert (new.predecessor_id, before.successor_id) == (old.key.key_id, new.key_id)
    assert (new.label, new.role, new.account_id, new.limits) == (
        "deploy",
        "renter",
        ring.account_id,
        old.key.limits,
    )
    assert ring.enter(rotated.token).permissions == SCOPES
    assert ring.count_acts() == 1


@pytest.mark.parametrize("overlap_ms", [1000, DEFAULT_OVERLAP_MS, 7 * DAY_MS])
def test_both_work_until_the_overlap_ends_and_then_the_new_one_alone(ring, overlap_ms):
    old = ring.issue()
    rotated = ring.rotate(old.key.key_id, overlap_ms=overlap_ms)
    ring.cloud.clock.value_ms += overlap_ms - 1
    assert ring.enter(old.token).actor_id == old.key.key_id
    ring.cloud.clock.value_ms += 1
    with pytest.raises(Unauthenticated) as refused:
        ring.enter(old.token)
    assert refused.value.code == "key_expired"
    assert ring.enter(rotated.token).actor_id == rotated.body


def test_without_an_overlap_the_old_one_is_dead_at_once(ring):
    old = ring.issue()
    ring.rotate(old.key.key_id, overlap_ms=0)
    with pytest.raises(Unauthenticated):
        ring.enter(old.token)


def test_an_overlap_lengthens_no_life(ring):
    ends_at_ms = ring.cloud.clock.now_ms() + 60_000
    old = ring.issue(expires_at_ms=ends_at_ms)
    ring.rotate(old.key.key_id)
    assert ring.find(old.key.key_id).limits.expires_at_ms == ends_at_ms


def test_a_successor_lives_as_long_as_its_predecessor_was_given(ring):
    old = ring.issue(expires_at_ms=ring.cloud.clock.now_ms() + 30 * DAY_MS)
    ring.cloud.clock.advance_seconds(20 * 86_400)
    rotated = ring.rotate(old.key.key_id)
    assert ring.find(rotated.body).limits.expires_at_ms == ring.cloud.clock.now_ms() + 30 * DAY_MS


def test_a_key_that_expires_rotates_itself_but_does_not_lengthen_its_life(ring):
    ends_at_ms = ring.cloud.clock.now_ms() + 2 * DAY_MS
    own = ring.issue(expires_at_ms=ends_at_ms)
    ring.cloud.clock.advance_seconds(3600)
    rotated = ring.rotate(own.key.key_id, by=own.token)
    assert ring.find(rotated.body).limits.expires_at_ms == ends_at_ms


def test_a_key_is_rotated_once(ring):
    old = ring.issue()
    first = ring.rotate(old.key.key_id)
    with pytest.raises(Conflict) as refused:
        ring.rotate(old.key.key_id, key="twice")
    assert (refused.value.code, refused.value.extra) == ("already_rotated", {"successor_id": first.body})


def test_two_keys_of_a_line_work_at_most(ring):
    old = ring.issue()
    first = ring.rotate(old.key.key_id)
    with pytest.raises(Conflict) as refused:
        ring.rotate(first.body, key="next")
    assert (refused.value.code, refused.value.extra) == (
        "predecessor_live",
        {"predecessor_id": old.key.key_id},
    )
    ring.cloud.clock.value_ms += DEFAULT_OVERLAP_MS
    second = ring.rotate(first.body, key="next")
    revoke_key(ring.cloud.accounts, ring.seeded.renter, first.body)
    assert ring.rotate(second.body, key="last").body != second.body


def test_a_repeat_shows_the_same_successor_and_another_request_under_its_key_is_refused(ring):
    old = ring.issue()
    first = ring.rotate(old.key.key_id)
    again = ring.rotate(old.key.key_id)
    assert (again.body, again.token, again.replayed) == (first.body, first.token, True)
    for other in ({"overlap_ms": 0}, {"by": ring.issue().token}):
        with pytest.raises(IdempotencyMismatch):
            ring.rotate(old.key.key_id, **other)
    assert ring.count_acts() == 1


def test_what_shows_a_successor_again_is_stored_nowhere(ring):
    old = ring.issue()
    rotated = ring.rotate(old.key.key_id)
    secret = rotated.token.split("_")[-1]
    rows = str([*ring.cloud.db.table("keys").values(), *ring.cloud.db.table("idempotency").values()])
    assert not any(part in rows for part in (rotated.token, secret, secret[:32], ring.admin.token))


def test_a_secret_takes_the_pepper_the_callers_key_and_the_request():
    given = ("pc_live_a", "key_b", "c", b"d")
    secrets = {derive_secret(*given)}
    for position, other in enumerate(("pc_live_x", "key_x", "x", b"x")):
        secrets.add(derive_secret(*given[:position], other, *given[position + 1 :]))
    assert len(secrets) == 5
    assert all(len(each) == 32 and each.isalnum() for each in secrets)


@pytest.mark.parametrize(
    "target", [{}, {"permissions": SCOPES | {"rentals:write"}, "networks": NETWORKS}, {"permissions": SCOPES}]
)
def test_rotating_a_stronger_key_is_no_way_to_its_rights(ring, target):
    weak = ring.issue(permissions=SCOPES, networks=NETWORKS)
    strong = ring.issue(**target)
    with pytest.raises(Forbidden) as refused:
        ring.rotate(strong.key.key_id, by=weak.token)
    assert refused.value.code == "key_exceeds_issuer"
    assert ring.find(strong.key.key_id) == strong.key


@pytest.mark.parametrize(
    "limit", [{"permissions": SCOPES}, {"networks": NETWORKS}, {"expires_at_ms": START_MS + DAY_MS}]
)
def test_each_limit_alone_keeps_a_key_from_rotating_one_without(ring, limit):
    held = ring.issue(**limit)
    with pytest.raises(Forbidden):
        ring.rotate(ring.admin.key.key_id, by=held.token)


def test_a_key_of_another_account_is_as_missing_as_one_that_never_was(ring):
    other = add_renter(ring.seeded, name="other", credit_micros=0)
    told = []
    for key_id in (other.actor_id, "key_missing"):
        with pytest.raises(NotFound) as refused:
            ring.rotate(key_id)
        told.append((refused.value.code, refused.value.detail))
    assert told[0] == told[1]
    assert ring.find(other.actor_id).successor_id is None


def test_what_is_revoked_or_expired_has_no_successor(ring):
    revoked, expired = ring.issue(), ring.issue(expires_at_ms=ring.cloud.clock.now_ms() + 1)
    revoke_key(ring.cloud.accounts, ring.seeded.renter, revoked.key.key_id)
    ring.cloud.clock.advance_seconds(1)
    for issued in (revoked, expired):
        with pytest.raises(Conflict) as refused:
            ring.rotate(issued.key.key_id)
        assert refused.value.code == "key_not_live"


def test_a_key_revoked_in_the_middle_of_its_rotation_leaves_no_successor(ring):
    old = ring.issue()

    def revoke():
        ring.cloud.db.interlude = None
        revoke_key(ring.cloud.accounts, ring.seeded.renter, old.key.key_id)

    ring.enter(ring.admin.token)
    ring.cloud.db.interlude = revoke
    with pytest.raises(Conflict) as refused:
        ring.rotate(old.key.key_id)
    assert refused.value.code == "key_not_live"
    assert all(each.predecessor_id is None for each in ring.cloud.db.table("keys").values())


def test_two_rotations_at_once_make_one_successor(ring):
    old = ring.issue()
    raced = []

    def other():
        ring.cloud.db.interlude = None
        raced.append(ring.rotate(old.key.key_id))

    ring.cloud.db.interlude = other
    assert ring.rotate(old.key.key_id).token == raced[0].token
    assert ring.count_acts() == 1


def test_the_operators_key_and_a_hosts_are_replaced_in_their_own_ways(ring):
    operator = ring.seeded.operator
    for role, code in (("operator", "operator_key"), ("host", "host_key")):
        key_id = operator.actor_id
        if role == "host":
            key_id = ring.cloud.fleet_store.get_host(add_host(ring.seeded, "m", 1).host_id).api_key_id
        command = RotateKey(key_id, 0, "x", f"k-{role}", "f", lambda made: made.key_id, str)
        with pytest.raises(Conflict) as refused:
            rotate_key(ring.cloud.rotation, operator, command)
        assert refused.value.code == code


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_rotation_that_died_is_repeated_and_done_once(ring, point):
    old = ring.issue()
    setattr(ring.cloud.db, point, ring.cloud.db.commits)
    with pytest.raises(Crash):
        ring.rotate(old.key.key_id)
    setattr(ring.cloud.db, point, None)
    # What died either left nothing or is whole: never a successor without an end, nor the reverse.
    new = [each for each in ring.cloud.db.table("keys").values() if each.predecessor_id == old.key.key_id]
    assert (len(new), ring.find(old.key.key_id).successor_id is not None) == (
        (1, True) if point == "crash_after" else (0, False)
    )
    rotated = ring.rotate(old.key.key_id)
    assert ring.enter(rotated.token).actor_id == ring.find(old.key.key_id).successor_id
    assert ring.count_acts() == 1
