"""A leaked key is revoked at once, its owner is told once, and who reports learns nothing."""

import pytest

from chalicelib.accounts.model import build_token
from chalicelib.accounts.service import authenticate, bootstrap_installation, create_key, revoke_key
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.principal import KeyLimits
from chalicelib.webhooks.leaks import report_leak
from tests.fakes import Crash
from tests.unit.platform import Platform

ROUTE = "POST /v1/leaked-keys"
URL = "https://code.example/blob/deploy.sh"


@pytest.fixture
def platform(monkeypatch):
    platform = Platform(monkeypatch)
    platform.cloud.db.table("events").clear()
    return platform


def issue(platform, **limits):
    return create_key(
        platform.cloud.accounts,
        platform.seeded.renter,
        platform.seeded.renter.account_id,
        label="ci",
        limits=KeyLimits(**limits),
    )


def is_live(platform, issued):
    try:
        authenticate(platform.cloud.accounts, issued.token)
    except Unauthenticated:
        return False
    return True


def list_told(platform):
    return [(each.account_id, each.type, each.data) for each in platform.cloud.webhook_store.events]


def list_entries(platform):
    return [each for each in platform.cloud.audit.entries if each.action == "key.leaked"]


def test_a_leaked_key_is_dead_at_once_and_its_owner_is_told_where_it_was_found(platform):
    issued, other = issue(platform), issue(platform)
    assert platform.ask(ROUTE, {"token": issued.token, "url": URL}, role="nobody")[0] == 202
    assert (is_live(platform, issued), is_live(platform, other)) == (False, True)
    account_id = platform.seeded.renter.account_id
    assert list_told(platform) == [(account_id, "key.leaked", {"key_id": issued.key.key_id, "url": URL})]
    (entry,) = list_entries(platform)
    assert (entry.account_id, entry.actor, entry.subject) == (account_id, "leak-report", issued.key.key_id)


def test_a_report_without_a_place_is_as_good(platform):
    issued = issue(platform)
    platform.ask(ROUTE, {"token": issued.token})
    assert list_told(platform)[0][2] == {"key_id": issued.key.key_id}


def test_where_a_key_may_be_used_from_does_not_save_it(platform):
    issued = issue(platform, networks=("203.0.113.0/24",))
    platform.ask(ROUTE, {"token": issued.token})
    assert not is_live(platform, issued)


def test_the_answer_is_the_same_whatever_is_reported(platform):
    issued, revoked = issue(platform), issue(platform)
    expired = issue(platform, expires_at_ms=platform.cloud.clock.now_ms() + 1)
    revoke_key(platform.cloud.accounts, platform.seeded.renter, revoked.key.key_id)
    platform.cloud.clock.advance_seconds(1)
    reported = [
        issued.token,
        issued.token,
        revoked.token,
        expired.token,
        build_token("live", issued.key.key_id, "f" * 32),
        build_token("live", "key_" + "0" * 26, "f" * 32),
        issued.token[:-1],
        "ghp_something",
        "\u0661" * 80,
    ]
    answers = [platform.ask(ROUTE, {"token": token}, role="nobody") for token in reported]
    assert answers == [(202, {"received": True})] * len(reported)
    # Only the first was news.
    assert (len(list_told(platform)), len(list_entries(platform))) == (1, 1)


def test_a_token_that_cannot_be_ours_costs_no_read(platform, monkeypatch):
    def fail(_key_id):
        raise AssertionError("read")

    monkeypatch.setattr(platform.cloud.accounts.store, "get_key", fail)
    for token in ("x", "pc_live_mistyped", build_token("enrol", "enr_" + "0" * 26, "s" * 32)):
        assert platform.ask(ROUTE, {"token": token})[0] == 202


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": ""},
        {"token": "x" * 257},
        {"token": 1},
        {"token": "x", "url": "javascript:alert(1)"},
        {"token": "x", "url": "https://e.example/a b"},
        {"token": "x", "url": "https://e.example/\n"},
        {"token": "x", "url": "https://e.example/" + "a" * 2048},
        {"token": "x", "account_id": "acc_1"},
    ],
)
def test_a_report_has_bounds(platform, body):
    assert platform.ask(ROUTE, body)[0] == 400


def test_two_reports_at_once_tell_the_owner_once(platform):
    issued = issue(platform)

    def other():
        platform.cloud.db.interlude = None
        report_leak(platform.cloud.leaks, issued.token, None)

    platform.cloud.db.interlude = other
    report_leak(platform.cloud.leaks, issued.token, URL)
    assert [data for _, _, data in list_told(platform)] == [{"key_id": issued.key.key_id}]
    assert len(list_entries(platform)) == 1


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_report_that_died_is_repeated_and_told_once(platform, point):
    issued = issue(platform)
    setattr(platform.cloud.db, point, platform.cloud.db.commits)
    with pytest.raises(Crash):
        report_leak(platform.cloud.leaks, issued.token, URL)
    setattr(platform.cloud.db, point, None)
    report_leak(platform.cloud.leaks, issued.token, URL)
    assert not is_live(platform, issued)
    assert (len(list_told(platform)), len(list_entries(platform))) == (1, 1)


def test_a_leaked_operators_key_is_dead_too_and_the_bootstrap_gives_another(platform):
    accounts = platform.cloud.accounts
    token = bootstrap_installation(accounts, currency="USD", rotate=True).operator_key
    report_leak(platform.cloud.leaks, token, None)
    with pytest.raises(Unauthenticated):
        authenticate(accounts, token)
    renewed = bootstrap_installation(accounts, currency="USD", rotate=True).operator_key
    assert authenticate(accounts, renewed).role == "operator"
