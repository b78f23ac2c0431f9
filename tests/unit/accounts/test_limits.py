"""A key does what its role may within what it was issued with, and issues none that may do more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.accounts.limits import MAX_LIFETIME_MS, renew_limits, settle_limits
from chalicelib.accounts.model import DAY_MS, PERMISSIONS, ApiKey, build_principal, select_permissions
from chalicelib.accounts.service import authenticate, create_key, revoke_key
from chalicelib.core.errors import (
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from chalicelib.core.networks import covers, is_inside, read_networks
from chalicelib.core.principal import MEMBER_ROLES, KeyLimits, Principal
from tests.factories import add_person, add_renter, seed_cloud, sign_in

RENTER = PERMISSIONS["renter"]
NOW_MS = 1_800_000_000_000
PERMISSION = st.sampled_from(sorted(set().union(*PERMISSIONS.values())))
NETWORK = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::/32"])
WISHES = st.builds(
    KeyLimits,
    st.none() | st.frozensets(PERMISSION, min_size=1),
    st.lists(NETWORK, max_size=3).map(tuple),
    st.none() | st.integers(NOW_MS - 5, NOW_MS + MAX_LIFETIME_MS + 5),
)


@pytest.fixture
def seeded():
    return seed_cloud()


def issue(seeded, issuer, **limits):
    return create_key(
        seeded.cloud.accounts, issuer, seeded.renter.account_id, label="ci", limits=KeyLimits(**limits)
    )


def enter(seeded, issued):
    return authenticate(seeded.cloud.accounts, issued.token)


def build(limits):
    return build_principal(ApiKey("key_x", "acc_x", "renter", "x", "", NOW_MS, limits=limits))


@settings(max_examples=300)
@given(st.lists(WISHES, min_size=1, max_size=5))
def test_whatever_is_asked_in_whatever_chain_no_key_may_do_more_than_the_one_before(chain):
    holder = build(KeyLimits())
    for wished in chain:
        try:
            settled = settle_limits(holder, "renter", wished, NOW_MS)
        except DomainError:
            continue
        issued = build(settled)
        assert issued.permissions <= holder.permissions
        assert issued.permissions == RENTER & (settled.permissions or RENTER)
        own = holder.limits
        assert not own.networks or (settled.networks and covers(own.networks, settled.networks))
        assert own.expires_at_ms is None or settled.expires_at_ms <= own.expires_at_ms
        holder = issued


@given(st.sampled_from(sorted(PERMISSIONS)), st.none() | st.frozensets(PERMISSION))
def test_what_a_key_may_do_is_its_role_and_its_scopes_and_never_more(role, scopes):
    allowed = select_permissions(role, KeyLimits(scopes))
    assert allowed == (PERMISSIONS[role] if scopes is None else PERMISSIONS[role] & scopes)


def test_a_scoped_key_has_its_scopes_and_no_more(seeded):
    issued = issue(seeded, seeded.renter, permissions=frozenset({"rentals:read", "keys:read"}))
    assert enter(seeded, issued).permissions == {"rentals:read", "keys:read"}


@pytest.mark.parametrize("permission", ["accounts:write", "hosts:connect", "no:such"])
def test_a_permission_that_the_role_has_not_is_refused_whoever_asks(seeded, permission):
    for issuer in (seeded.renter, seeded.operator):
        with pytest.raises(InvalidInput) as refused:
            issue(seeded, issuer, permissions=frozenset({permission}))
        assert refused.value.code == "permission_not_of_role"


def test_a_key_grants_no_permission_that_it_has_not_itself(seeded):
    own = frozenset({"keys:write", "rentals:read"})
    issuer = enter(seeded, issue(seeded, seeded.renter, permissions=own))
    with pytest.raises(Forbidden) as refused:
        issue(seeded, issuer, permissions=own | {"rentals:write"})
    assert refused.value.code == "key_exceeds_issuer"
    assert enter(seeded, issue(seeded, issuer)).permissions == own
    assert enter(seeded, issue(seeded, issuer, permissions=frozenset({"rentals:read"}))).permissions == {
        "rentals:read"
    }


def test_what_the_role_is_given_later_reaches_keys_without_scopes_only(seeded, monkeypatch):
    # Listed in full is not "all of the role": nor is what such a key issues.
    listed = enter(seeded, issue(seeded, seeded.renter, permissions=RENTER))
    tokens = [issue(seeded, seeded.renter), issue(seeded, listed)]
    monkeypatch.setitem(PERMISSIONS, "renter", RENTER | {"new:write"})
    assert [("new:write" in enter(seeded, each).permissions) for each in tokens] == [True, False]


def test_what_the_role_loses_its_keys_lose(seeded, monkeypatch):
    issued = issue(seeded, seeded.renter, permissions=frozenset({"rentals:read", "rentals:write"}))
    monkeypatch.setitem(PERMISSIONS, "renter", RENTER - {"rentals:write"})
    assert enter(seeded, issued).permissions == {"rentals:read"}


def test_a_key_expires_at_its_very_instant_and_says_so(seeded):
    ends_at_ms = seeded.cloud.clock.now_ms() + DAY_MS
    issued = issue(seeded, seeded.renter, expires_at_ms=ends_at_ms)
    seeded.cloud.clock.value_ms = ends_at_ms - 1
    assert enter(seeded, issued).actor_id == issued.key.key_id
    seeded.cloud.clock.value_ms = ends_at_ms
    with pytest.raises(Unauthenticated) as refused:
        enter(seeded, issued)
    assert refused.value.code == "key_expired"


def test_only_who_has_the_key_learns_that_it_has_expired(seeded):
    issued = issue(seeded, seeded.renter, expires_at_ms=seeded.cloud.clock.now_ms() + 1)
    seeded.cloud.clock.advance_seconds(1)
    seeded.cloud.pepper = b"another"
    with pytest.raises(Unauthenticated) as refused:
        enter(seeded, issued)
    assert refused.value.code == "invalid_credentials"


@pytest.mark.parametrize(
    ("in_ms", "good"), [(0, False), (1, True), (365 * DAY_MS, True), (365 * DAY_MS + 1, False)]
)
def test_an_expiry_lies_within_a_year_from_now(seeded, in_ms, good):
    at_ms = seeded.cloud.clock.now_ms() + in_ms
    if good:
        assert issue(seeded, seeded.renter, expires_at_ms=at_ms).key.limits.expires_at_ms == at_ms
    else:
        with pytest.raises(InvalidInput) as refused:
            issue(seeded, seeded.renter, expires_at_ms=at_ms)
        assert refused.value.code == "invalid_expiry"


def test_nothing_that_a_key_issues_outlives_it(seeded):
    ends_at_ms = seeded.cloud.clock.now_ms() + DAY_MS
    issuer = enter(seeded, issue(seeded, seeded.renter, expires_at_ms=ends_at_ms))
    with pytest.raises(Forbidden):
        issue(seeded, issuer, expires_at_ms=ends_at_ms + 1)
    assert issue(seeded, issuer).key.limits.expires_at_ms == ends_at_ms


def test_a_key_held_to_networks_issues_none_for_elsewhere(seeded):
    issuer = enter(seeded, issue(seeded, seeded.renter, networks=("203.0.113.0/24",)))
    for elsewhere in (("0.0.0.0/0",), ("203.0.112.0/23",), ("203.0.113.0/25", "2001:db8::/32")):
        with pytest.raises(Forbidden):
            issue(seeded, issuer, networks=elsewhere)
    assert issue(seeded, issuer).key.limits.networks == ("203.0.113.0/24",)
    assert issue(seeded, issuer, networks=("203.0.113.64/26",)).key.limits.networks == ("203.0.113.64/26",)


def test_limits_open_no_other_account(seeded):
    other = add_renter(seeded, name="other", credit_micros=0)
    with pytest.raises(NotFound):
        issue(seeded, other, permissions=frozenset({"rentals:read"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "203.0.113.7/24",
        "203.0.113.0/33",
        "2001:db8::1/32",
        "::ffff:203.0.113.0/120",
        "fe80::%eth0/64",
        "x",
        "/8",
    ],
)
def test_what_is_no_network_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        read_networks([text])
    assert refused.value.code == "invalid_network"


def test_bits_of_a_host_are_answered_with_the_network_that_was_meant():
    with pytest.raises(InvalidInput, match=r"203\.0\.113\.0/24"):
        read_networks(["203.0.113.7/24"])


def test_networks_have_one_form():
    assert read_networks(["2001:DB8:0::/32", "203.0.113.7", "2001:db8::/32"]) == (
        "2001:db8::/32",
        "203.0.113.7/32",
    )


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("203.0.113.0", True),
        ("203.0.113.255", True),
        ("203.0.114.0", False),
        ("2001:db8:ffff::1", True),
        ("2001:db9::", False),
        ("::ffff:203.0.113.9", True),
        ("", False),
        ("203.0.113.9, 198.51.100.1", False),
        ("localhost", False),
    ],
)
def test_an_address_is_inside_or_it_is_not(address, inside):
    assert is_inside(address, ("203.0.113.0/24", "2001:db8::/32")) is inside


def test_a_use_is_written_once_a_day_and_shown(seeded):
    issued = issue(seeded, seeded.renter)
    store, clock = seeded.cloud.accounts.store, seeded.cloud.clock
    clock.value_ms = first = 20_000 * DAY_MS
    for at_ms in (first, first + 5, first + DAY_MS - 1):
        clock.value_ms = at_ms
        enter(seeded, issued)
        assert store.get_key(issued.key.key_id).last_used_at_ms == first
    clock.value_ms = first + DAY_MS
    enter(seeded, issued)
    assert seeded.cloud.db.table("uses")[issued.key.key_id] == [first, first + DAY_MS]


def test_a_use_that_cannot_be_written_stops_nobody(seeded, monkeypatch):
    issued = issue(seeded, seeded.renter)

    def fail(*_):
        raise Unavailable("down")

    monkeypatch.setattr(seeded.cloud.accounts.store, "note_use", fail)
    assert enter(seeded, issued).actor_id == issued.key.key_id


def test_a_refused_key_is_no_use(seeded):
    issued = issue(seeded, seeded.renter, expires_at_ms=seeded.cloud.clock.now_ms() + 1)
    seeded.cloud.clock.advance_seconds(1)
    with pytest.raises(Unauthenticated):
        enter(seeded, issued)
    assert issued.key.key_id not in seeded.cloud.db.table("uses")


@pytest.mark.parametrize("role", sorted(MEMBER_ROLES))
def test_a_person_issues_no_key_that_may_do_more_than_the_person(role):
    person = Principal("acc_x", role, "usr_1", PERMISSIONS[role], user_id="usr_1")
    settled = settle_limits(person, "renter", KeyLimits(), NOW_MS)
    assert build(settled).permissions == RENTER & PERMISSIONS[role]
    assert (settled.permissions is None) == (PERMISSIONS[role] >= RENTER)
    for permission in sorted(RENTER - PERMISSIONS[role]):
        with pytest.raises(Forbidden) as refused:
            settle_limits(person, "renter", KeyLimits(frozenset({permission})), NOW_MS)
        assert refused.value.code == "key_exceeds_issuer"


def test_a_developer_rotates_no_key_of_all_of_the_role(seeded):
    developer = Principal(
        seeded.renter.account_id, "developer", "usr_1", PERMISSIONS["developer"], user_id="usr_1"
    )
    whole = ApiKey("key_x", seeded.renter.account_id, "renter", "x", "", NOW_MS)
    with pytest.raises(Forbidden):
        renew_limits(developer, whole, NOW_MS)


def test_a_developer_deals_with_the_keys_that_are_the_own_and_with_no_others(seeded):
    ann, bob = (add_person(seeded, "developer") for _ in range(2))
    made = issue(seeded, ann)
    assert made.key.issued_by == ann.user_id
    with pytest.raises(Forbidden) as refused:
        revoke_key(seeded.cloud.accounts, bob, made.key.key_id)
    assert refused.value.code == "key_of_another"
    revoke_key(seeded.cloud.accounts, ann, made.key.key_id)


def test_the_person_at_the_beginning_stands_in_every_key_of_the_chain(seeded):
    owner = add_person(seeded, "owner")
    holder = owner
    for _ in range(3):
        made = issue(seeded, holder)
        assert made.key.issued_by == owner.user_id
        holder = enter(seeded, made)
    assert issue(seeded, seeded.operator).key.issued_by is None


def test_who_is_no_member_any_more_issues_nothing(seeded):
    gone = sign_in(seeded.renter.account_id, "usr_gone", "owner")
    with pytest.raises(Forbidden) as refused:
        issue(seeded, gone)
    assert refused.value.code == "issuer_gone"
