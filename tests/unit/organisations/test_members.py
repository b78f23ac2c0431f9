"""Nobody gives or takes more than they have, an organisation keeps an owner, keys end with people."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import authenticate, create_key
from chalicelib.core.errors import Conflict, DomainError, Forbidden, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.principal import MEMBER_ROLES, NO_LIMITS, KeyLimits
from chalicelib.organisations import service
from chalicelib.organisations.model import Membership
from chalicelib.organisations.ports import MAX_ENDED_KEYS, Once
from tests.factories import add_person, add_renter, seed_cloud, sign_in
from tests.fakes.organisations import FakeOrganisationStore

ROLES = sorted(MEMBER_ROLES)
ONCE = Once("once", "fingerprint", repr)


@pytest.fixture
def seeded():
    return seed_cloud()


@pytest.fixture
def ports(seeded):
    return seeded.cloud.organisations


def find(ports, person):
    return service.get_membership(ports, person.account_id, person.user_id)


def change(ports, by, whom, role):
    return service.change_role(ports, by, whom.account_id, whom.user_id, role)


def remove(ports, by, whom):
    service.remove_member(ports, by, whom.account_id, whom.user_id)


def issue(seeded, person, limits=NO_LIMITS):
    return create_key(seeded.cloud.accounts, person, person.account_id, label="ci", limits=limits)


def is_live(seeded, issued):
    try:
        authenticate(seeded.cloud.accounts, issued.token)
    except Unauthenticated:
        return False
    return True


def test_whoever_creates_an_organisation_owns_it_and_a_repeat_changes_nothing(ports, seeded):
    person = sign_in("acc_none", "usr_1", "viewer")
    made = [service.create_organisation(ports, person, ONCE, name="Lab", currency="USD") for _ in range(2)]
    assert [each.replayed for each in made] == [False, True]
    assert made[0].body == made[1].body
    (membership,) = service.list_memberships_of(ports, "usr_1")
    assert membership.role == "owner"
    assert [entry.action for entry in seeded.cloud.audit.entries].count("organisation.created") == 1


def test_a_program_creates_no_organisation(ports, seeded):
    with pytest.raises(Forbidden) as refused:
        service.create_organisation(ports, seeded.renter, ONCE, name="Lab", currency="USD")
    assert refused.value.code == "person_needed"


@pytest.mark.parametrize("own", ["admin", "owner"])
@pytest.mark.parametrize("old", ROLES)
@pytest.mark.parametrize("new", ROLES)
def test_nobody_gives_or_takes_a_role_that_may_do_more_than_their_own(own, old, new):
    seeded = seed_cloud()
    ports = seeded.cloud.organisations
    add_person(seeded, "owner")
    actor, other = add_person(seeded, own), add_person(seeded, old)
    allowed = old == new or PERMISSIONS[old] | PERMISSIONS[new] <= PERMISSIONS[own]
    if allowed:
        change(ports, actor, other, new)
    else:
        with pytest.raises(Forbidden) as refused:
            change(ports, actor, other, new)
        assert refused.value.code == "role_exceeds_own"
    assert find(ports, other).role == (new if allowed else old)


def test_an_admin_does_not_remove_an_owner(ports, seeded):
    owner, _ = add_person(seeded, "owner"), add_person(seeded, "owner")
    with pytest.raises(Forbidden):
        remove(ports, add_person(seeded, "admin"), owner)


def test_the_last_owner_is_neither_removed_nor_demoted_nor_leaves(ports, seeded):
    owner = add_person(seeded, "owner")
    for act in (
        lambda: change(ports, owner, owner, "admin"),
        lambda: remove(ports, owner, owner),
        lambda: service.leave_organisation(ports, owner, owner.account_id),
        lambda: change(ports, seeded.operator, owner, "viewer"),
    ):
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.code == "last_owner"
    assert find(ports, owner).role == "owner"


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_owners_who_demote_each_other_at_once_one_stays(first):
    seeded = seed_cloud()
    ports, db = seeded.cloud.organisations, seeded.cloud.db
    owners = [add_person(seeded, "owner") for _ in range(2)]

    def meanwhile():
        db.interlude = None
        change(ports, owners[1 - first], owners[first], "viewer")

    db.interlude = meanwhile
    with pytest.raises(DomainError):
        change(ports, owners[first], owners[1 - first], "viewer")
    assert sorted(find(ports, each).role for each in owners) == ["owner", "viewer"]


def test_many_owners_removing_each_other_from_many_threads_leave_one(ports, seeded):
    owners = [add_person(seeded, "owner") for _ in range(8)]

    def strike(position):
        for other in owners:
            if other is not owners[position]:
                try:
                    remove(ports, owners[position], other)
                except DomainError:
                    continue

    threads = [threading.Thread(target=strike, args=(number,)) for number in range(len(owners))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [find(ports, each) for each in owners].count(None) <= len(owners) - 1
    count = sum(1 for each in owners if find(ports, each) is not None)
    assert count == seeded.cloud.db.table("owners")[owners[0].account_id] >= 1


ACTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["leave", "hand over", "remove", *ROLES]),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(ACTS)
def test_whatever_members_do_to_each_other_an_owner_is_left_and_nobody_rose_by_themselves(acts):
    seeded = seed_cloud()
    ports, account_id = seeded.cloud.organisations, seeded.renter.account_id
    people = [add_person(seeded, role).user_id for role in ("owner", "admin", "developer", "owner")]
    for actor_id, other_id, act in ((people[by], people[whom], act) for by, whom, act in acts):
        member = service.get_membership(ports, account_id, actor_id)
        if member is None:
            continue
        actor = sign_in(account_id, actor_id, member.role)
        needed = "self:write" if act == "leave" else "members:write"
        if act == "hand over":
            needed = "ownership:write"
        if needed not in actor.permissions:
            continue
        try:
            if act == "leave":
                service.leave_organisation(ports, actor, account_id)
            elif act == "hand over":
                service.hand_over(ports, actor, account_id, other_id)
            elif act == "remove":
                service.remove_member(ports, actor, account_id, other_id)
            else:
                service.change_role(ports, actor, account_id, other_id, act)
                if actor_id == other_id:
                    assert PERMISSIONS[act] <= actor.permissions
        except DomainError:
            pass
        members = service.list_members(ports, seeded.operator, account_id, 50, None).items
        owners = [each for each in members if each.role == "owner"]
        assert len(owners) == seeded.cloud.db.table("owners")[account_id] >= 1


def test_ownership_is_handed_over_in_one_act(ports, seeded):
    owner, admin = add_person(seeded, "owner"), add_person(seeded, "admin")
    service.hand_over(ports, owner, owner.account_id, admin.user_id)
    assert (find(ports, owner).role, find(ports, admin).role) == ("admin", "owner")
    assert seeded.cloud.db.table("owners")[owner.account_id] == 1
    with pytest.raises(DomainError):
        service.hand_over(ports, owner, owner.account_id, admin.user_id)


def test_who_hands_an_organisation_over_keeps_no_key_that_may_have_it_erased(ports, seeded):
    owner, heir = add_person(seeded, "owner"), add_person(seeded, "admin")
    ended, kept = issue(seeded, owner), issue(seeded, heir)
    service.hand_over(ports, owner, owner.account_id, heir.user_id)
    assert (is_live(seeded, ended), is_live(seeded, kept)) == (False, True)


def test_an_act_with_a_role_that_was_taken_meanwhile_changes_nothing(ports, seeded):
    owner, admin, viewer = (add_person(seeded, role) for role in ("owner", "admin", "viewer"))

    def meanwhile():
        seeded.cloud.db.interlude = None
        change(ports, owner, admin, "viewer")

    seeded.cloud.db.interlude = meanwhile
    with pytest.raises(Forbidden) as refused:
        change(ports, admin, viewer, "admin")
    assert refused.value.code == "membership_changed"
    assert find(ports, viewer).role == "viewer"


def test_the_keys_of_a_removed_member_end_in_the_same_act(ports, seeded):
    owner, gone = add_person(seeded, "owner"), add_person(seeded, "developer")
    kept, ended = issue(seeded, owner), [issue(seeded, gone) for _ in range(3)]
    ended.append(issue(seeded, authenticate(seeded.cloud.accounts, ended[0].token)))
    remove(ports, owner, gone)
    assert [is_live(seeded, each) for each in ended] == [False] * 4
    assert is_live(seeded, kept)
    entry = seeded.cloud.audit.entries[-1]
    assert (entry.action, entry.subject) == ("member.removed", gone.user_id)
    assert entry.details == {"role": "developer", "keys_revoked": 4}


@pytest.mark.parametrize(
    ("new", "scope", "lives"),
    [
        # All that an owner's key may do has `accounts:close` in it.
        ("admin", None, False),
        ("admin", "members:read wallet:write", True),
        ("developer", "members:read wallet:write", False),
        ("viewer", "members:read wallet:write", False),
        ("viewer", "members:read", True),
    ],
)
def test_a_lesser_role_ends_the_keys_that_may_do_more_than_it(ports, seeded, new, scope, lives):
    add_person(seeded, "owner")
    owner, other = add_person(seeded, "owner"), add_person(seeded, "owner")
    limits = NO_LIMITS if scope is None else KeyLimits(frozenset(scope.split()))
    issued = issue(seeded, other, limits)
    change(ports, owner, other, new)
    assert is_live(seeded, issued) is lives


def test_a_key_issued_while_its_issuer_is_removed_does_not_outlive_them(ports, seeded):
    owner, gone = add_person(seeded, "owner"), add_person(seeded, "developer")
    issued = []

    def meanwhile():
        seeded.cloud.db.interlude = None
        issued.append(issue(seeded, gone))

    seeded.cloud.db.interlude = meanwhile
    with pytest.raises(DomainError):
        remove(ports, owner, gone)
    remove(ports, owner, gone)
    assert not is_live(seeded, issued[0])
    with pytest.raises(Forbidden):
        issue(seeded, gone)


def test_nobody_has_so_many_keys_that_they_cannot_be_removed(ports, seeded):
    owner, gone = add_person(seeded, "owner"), add_person(seeded, "developer")
    issued = []
    with pytest.raises(Conflict) as refused:
        while True:
            issued.append(issue(seeded, gone))
    assert refused.value.code == "too_many_live_keys"
    assert len(issued) <= MAX_ENDED_KEYS
    remove(ports, owner, gone)
    assert not any(is_live(seeded, each) for each in issued)


def test_an_organisation_of_others_is_not_there(ports, seeded):
    owner = add_person(seeded, "owner")
    other = add_renter(seeded, name="other", credit_micros=0).account_id
    add_person(seeded, "viewer", account_id=other)
    for account_id in (other, "acc_missing"):
        for act in (
            lambda at: service.read_organisation(ports, owner, at),
            lambda at: service.list_members(ports, owner, at, 10, None),
            lambda at: service.change_role(ports, owner, at, owner.user_id, "viewer"),
            lambda at: service.remove_member(ports, owner, at, owner.user_id),
            lambda at: service.close_organisation(ports, owner, at),
            lambda at: service.rename_organisation(ports, owner, at, "mine"),
        ):
            with pytest.raises(NotFound) as refused:
                act(account_id)
            assert refused.value.detail == "There is no such organisation."


def test_operators_roles_are_the_installations_and_tenants_roles_are_not(ports, seeded):
    member = add_person(seeded, "viewer")
    with pytest.raises(InvalidInput):
        change(ports, seeded.operator, member, "operator")
    colleague = add_person(seeded, "support_operator", account_id=seeded.operator.account_id)
    with pytest.raises(InvalidInput):
        change(ports, seeded.operator, colleague, "owner")
    assert change(ports, seeded.operator, colleague, "fleet_operator").role == "fleet_operator"


def test_closing_leaves_to_read_and_to_pay_and_waits_for_what_runs(ports, seeded):
    owner = add_person(seeded, "owner")
    quota = seeded.cloud.rentals.scheduling
    tx = seeded.cloud.db.begin()
    quota.put_quota(tx, owner.account_id, quota.get_quota(owner.account_id), 4)
    tx.commit()
    closed = service.close_organisation(ports, owner, owner.account_id)
    account = seeded.cloud.accounts.store.get_account(owner.account_id)
    assert account.is_barred
    before = len(seeded.cloud.audit.entries)
    assert service.close_organisation(ports, owner, owner.account_id) == closed
    assert service.read_organisation(ports, owner, owner.account_id) == closed
    assert len(seeded.cloud.audit.entries) == before


def test_members_are_listed_page_by_page(ports, seeded):
    people = sorted(add_person(seeded, "viewer").user_id for _ in range(5))
    found, start = [], None
    while True:
        page = service.list_members(ports, seeded.operator, seeded.renter.account_id, 2, start)
        found += [each.user_id for each in page.items]
        start = page.next_key
        if start is None:
            break
    assert found == people


def test_a_membership_is_read_where_it_stands_and_not_from_an_index(ports, seeded, monkeypatch):
    person = add_person(seeded, "viewer")
    monkeypatch.setattr(FakeOrganisationStore, "list_memberships_of", lambda *_: 1 / 0)
    found = service.get_membership(ports, person.account_id, person.user_id)
    assert isinstance(found, Membership)
