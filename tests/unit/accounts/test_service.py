"""Keys: shown once, stored as a digest, refused when mistyped without a read, dead when revoked."""

import string
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.accounts.model import PERMISSIONS, build_token, parse_token
from chalicelib.accounts.service import (
    authenticate,
    bootstrap_installation,
    create_account,
    create_key,
    revoke_key,
)
from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from chalicelib.core.ids import build_id
from tests.factories import add_renter, seed_cloud
from tests.fakes import Crash, FakeCloud

BASE62 = string.digits + string.ascii_letters
KEY_ID = build_id("key", now_ms=1_800_000_000_000, randomness=bytes(range(10)))
TOKEN = build_token("live", KEY_ID, "s" * 32)


def test_a_token_names_its_key_and_looks_like_ours():
    assert TOKEN.startswith("pc_live_")
    assert parse_token(TOKEN, "live") == KEY_ID


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(BASE62 + "_-"))
def test_one_wrong_character_anywhere_is_refused_by_the_checksum(position, character):
    mistyped = TOKEN[:position] + character + TOKEN[position + 1 :]
    if mistyped != TOKEN:
        with pytest.raises(Unauthenticated):
            parse_token(mistyped, "live")


@given(st.integers(0, len(TOKEN) - 2))
def test_two_swapped_characters_are_refused(position):
    swapped = TOKEN[:position] + TOKEN[position + 1] + TOKEN[position] + TOKEN[position + 2 :]
    if swapped != TOKEN:
        with pytest.raises(Unauthenticated):
            parse_token(swapped, "live")


@pytest.mark.parametrize(
    "text", ["", "x", TOKEN + "\n", " " + TOKEN, TOKEN.upper(), TOKEN * 2, "\u0661" * 80]
)
def test_what_is_no_token_is_refused(text):
    with pytest.raises(Unauthenticated):
        parse_token(text, "live")


def test_an_enrolment_token_is_no_api_key():
    with pytest.raises(Unauthenticated):
        parse_token(build_token("enrol", KEY_ID.replace("key_", "enr_"), "s" * 32), "live")


def test_a_mistyped_key_costs_no_read():
    cloud = FakeCloud()

    def fail(key_id):
        raise AssertionError("read")

    cloud.accounts.store.get_key = fail
    with pytest.raises(Unauthenticated):
        authenticate(cloud.accounts, TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1"))


def test_bootstrap_gives_one_key_once_and_a_new_one_when_asked():
    cloud = FakeCloud()
    first = bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    again = bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    assert (again.account_id, again.operator_key) == (first.account_id, None)
    assert authenticate(cloud.accounts, first.operator_key).role == "operator"
    rotated = bootstrap_installation(cloud.accounts, currency="USD", rotate=True)
    assert rotated.account_id == first.account_id
    assert authenticate(cloud.accounts, rotated.operator_key).role == "operator"
    with pytest.raises(Unauthenticated):
        authenticate(cloud.accounts, first.operator_key)


def test_two_bootstraps_at_once_make_one_installation():
    cloud = FakeCloud()
    begin, raced = cloud.db.begin, []

    def begin_late():
        if not raced:
            raced.append(True)
            raced.append(bootstrap_installation(cloud.accounts, currency="USD", rotate=False))
        return begin()

    object.__setattr__(cloud.accounts, "transactions", begin_late)
    with pytest.raises(Conflict):
        bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    assert len(cloud.db.table("accounts")) == 1
    assert authenticate(cloud.accounts, raced[1].operator_key).account_id == raced[1].account_id


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_bootstrap_that_died_can_be_repeated_and_ends_with_a_working_key(point):
    cloud = FakeCloud()
    setattr(cloud.db, point, 0)
    with pytest.raises(Crash):
        bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    setattr(cloud.db, point, None)
    outcome = bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    if outcome.operator_key is None:  # The reply with the key was lost: rotating gives another.
        outcome = bootstrap_installation(cloud.accounts, currency="USD", rotate=True)
    assert authenticate(cloud.accounts, outcome.operator_key).role == "operator"
    assert len(cloud.db.table("installation")) == 1


def test_no_text_of_a_key_is_stored():
    seeded = seed_cloud()
    issued = create_key(seeded.cloud.accounts, seeded.operator, seeded.renter.account_id, label="mine")
    rows = [asdict(row) for row in seeded.cloud.db.table("keys").values()]
    secret = issued.token.split("_")[-1]
    assert not any(part in str(rows) for part in (issued.token, secret, secret[:32]))


def test_a_key_has_its_roles_permissions_and_dies_at_once():
    seeded = seed_cloud()
    accounts = seeded.cloud.accounts
    issued = create_key(accounts, seeded.renter, seeded.renter.account_id, label="mine")
    principal = authenticate(accounts, issued.token)
    assert (principal.role, principal.permissions) == ("renter", PERMISSIONS["renter"])
    revoke_key(accounts, seeded.renter, issued.key.key_id)
    revoke_key(accounts, seeded.renter, issued.key.key_id)
    with pytest.raises(Unauthenticated):
        authenticate(accounts, issued.token)
    actions = [entry.action for entry in seeded.cloud.audit.entries]
    assert actions.count("key.revoked") == 1


def test_a_right_form_with_a_wrong_secret_is_refused():
    seeded = seed_cloud()
    issued = create_key(seeded.cloud.accounts, seeded.operator, seeded.renter.account_id, label="mine")
    forged = build_token("live", issued.key.key_id, "f" * 32)
    with pytest.raises(Unauthenticated):
        authenticate(seeded.cloud.accounts, forged)


def test_a_renter_reaches_only_keys_of_the_own_account():
    seeded = seed_cloud()
    accounts = seeded.cloud.accounts
    other = add_renter(seeded, name="other", credit_micros=0)
    with pytest.raises(NotFound):
        create_key(accounts, other, seeded.renter.account_id, label="x")
    with pytest.raises(NotFound):
        revoke_key(accounts, other, seeded.renter.actor_id)
    with pytest.raises(NotFound):
        revoke_key(accounts, other, "key_missing")
    assert accounts.store.get_key(seeded.renter.actor_id).revoked_at_ms is None


def test_the_operators_key_is_neither_copied_nor_revoked_through_the_api():
    seeded = seed_cloud()
    accounts = seeded.cloud.accounts
    with pytest.raises(Forbidden):
        create_key(accounts, seeded.operator, seeded.operator.account_id, label="second")
    with pytest.raises(Conflict):
        revoke_key(accounts, seeded.operator, seeded.operator.actor_id)
    with pytest.raises(NotFound):
        create_key(accounts, seeded.operator, "acc_missing", label="x")


def test_keys_are_listed_page_by_page():
    seeded = seed_cloud()
    accounts = seeded.cloud.accounts
    account = create_account(accounts, seeded.operator, name="many", currency="USD")
    made = [
        create_key(accounts, seeded.operator, account.account_id, label=str(n)).key.key_id for n in range(5)
    ]
    first = accounts.store.list_keys(account.account_id, 3, None)
    rest = accounts.store.list_keys(account.account_id, 3, first.next_key)
    assert [key.key_id for key in (*first.items, *rest.items)] == made
    assert rest.next_key is None
