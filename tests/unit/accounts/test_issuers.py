"""Whoever issues keys has so many that work and no more, so that one act can always end them all."""

import pytest

from chalicelib.accounts.model import DAY_MS, MAX_LIVE_KEYS, MAX_LIVE_KEYS_IN_OVERLAP
from chalicelib.accounts.rotating import RotateKey, rotate_key
from chalicelib.accounts.service import authenticate, create_key, revoke_key
from chalicelib.core.errors import Conflict, Unauthenticated, Unavailable
from chalicelib.core.principal import NO_LIMITS, KeyLimits
from chalicelib.organisations import service
from chalicelib.webhooks.leaks import report_leak
from tests.factories import add_person, seed_cloud


class Issuer:
    """A developer who issues keys, and the owner."""

    def __init__(self):
        self.seeded = seed_cloud()
        self.cloud = self.seeded.cloud
        self.owner, self.person = add_person(self.seeded, "owner"), add_person(self.seeded, "developer")

    def issue(self, limits=NO_LIMITS, by=None):
        by = by or self.person
        return create_key(self.cloud.accounts, by, by.account_id, label="ci", limits=limits)

    def rotate(self, issued, overlap_ms):
        key_id = issued.key.key_id
        command = RotateKey(key_id, overlap_ms, "bearer", key_id, "f", lambda made: made.key_id, str)
        return rotate_key(self.cloud.rotation, self.person, command)

    def remove(self):
        service.remove_member(
            self.cloud.organisations, self.owner, self.owner.account_id, self.person.user_id
        )

    def list(self):
        store = self.cloud.accounts.store
        return store.list_issued_keys(self.person.account_id, self.person.user_id)

    def is_live(self, token):
        try:
            return authenticate(self.cloud.accounts, token) is not None
        except Unauthenticated:
            return False


@pytest.fixture
def issuer():
    return Issuer()


def test_nobody_has_more_than_fifty_that_work(issuer):
    issued = [issuer.issue() for _ in range(MAX_LIVE_KEYS)]
    with pytest.raises(Conflict) as refused:
        issuer.issue()
    assert (refused.value.code, refused.value.extra) == ("too_many_live_keys", {"max": MAX_LIVE_KEYS})
    through = authenticate(issuer.cloud.accounts, issued[0].token)
    with pytest.raises(Conflict):
        issuer.issue(by=through)
    issuer.issue(by=issuer.owner)
    revoke_key(issuer.cloud.accounts, issuer.person, issued[0].key.key_id)
    issuer.issue()


def test_two_that_are_issued_at_once_are_not_both_let_in_by_the_same_count(issuer):
    for _ in range(MAX_LIVE_KEYS - 1):
        issuer.issue()

    def meanwhile():
        issuer.cloud.db.interlude = None
        issuer.issue()

    issuer.cloud.db.interlude = meanwhile
    with pytest.raises(Unavailable):
        issuer.issue()
    assert len(issuer.list()) == MAX_LIVE_KEYS


def test_rotations_do_not_make_more_than_one_act_ends(issuer):
    issued = [issuer.issue() for _ in range(MAX_LIVE_KEYS)]
    spare = MAX_LIVE_KEYS_IN_OVERLAP - MAX_LIVE_KEYS
    tokens = [issuer.rotate(each, DAY_MS).token for each in issued[:spare]]
    with pytest.raises(Conflict) as refused:
        issuer.rotate(issued[spare], DAY_MS)
    assert refused.value.code == "too_many_live_keys"
    tokens.append(issuer.rotate(issued[spare], 0).token)
    issuer.remove()
    tokens += [each.token for each in issued]
    assert not any(issuer.is_live(token) for token in tokens)
    assert issuer.cloud.audit.entries[-1].details["keys_revoked"] == MAX_LIVE_KEYS_IN_OVERLAP


def test_a_key_that_is_revoked_leaked_or_replaced_is_on_no_list(issuer):
    kept, revoked, leaked, replaced = (issuer.issue() for _ in range(4))
    revoke_key(issuer.cloud.accounts, issuer.person, revoked.key.key_id)
    report_leak(issuer.cloud.leaks, leaked.token, None)
    successor = issuer.rotate(replaced, 0)
    assert {each.key_id for each in issuer.list()} == {kept.key.key_id, successor.body}


def test_one_that_a_rotation_has_replaced_is_listed_as_long_as_it_works(issuer):
    old = issuer.issue()
    issuer.rotate(old, DAY_MS)
    assert old.key.key_id in {each.key_id for each in issuer.list()}
    issuer.remove()
    assert not issuer.is_live(old.token)


def test_those_that_have_expired_go_off_the_list_with_the_next_one(issuer):
    ends_at_ms = issuer.cloud.clock.now_ms() + 3_600_000
    for _ in range(MAX_LIVE_KEYS):
        issuer.issue(KeyLimits(expires_at_ms=ends_at_ms))
    issuer.cloud.clock.advance_seconds(3_600)
    assert [each.key_id for each in issuer.list() if each.is_live(ends_at_ms)] == []
    fresh = issuer.issue()
    assert [each.key_id for each in issuer.list()] == [fresh.key.key_id]


def test_a_member_who_goes_leaves_nothing_on_the_list(issuer):
    for _ in range(3):
        issuer.issue()
    issuer.remove()
    assert issuer.list() == []
