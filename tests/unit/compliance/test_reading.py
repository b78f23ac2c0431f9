"""Who reads which trail: people and keys their own, operators all; filters, pages, proof and export."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.compliance.linking import link_entries
from chalicelib.compliance.service import AuditFilters, choose_account, list_entries
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.ports import AuditEntry
from chalicelib.core.principal import Principal
from tests.fakes.database import START_MS, MemoryDatabase
from tests.fakes.records import FakeAuditTrail
from tests.unit.platform import Platform

READS = frozenset({"audit:read"})
OPERATOR = Principal("acc_platform", "operator", "key_op", READS)
ACTIONS = ("key.issued", "key.revoked", "rental.created")
TARGETS, ACTORS, ACCOUNTS = ("rnt_1", "rnt_2"), ("key_1", "key_2"), ("acc_1", "acc_2")


def act_as(role, account_id="acc_1"):
    return Principal(account_id, role, "usr_1", READS)


def build_trail(rows):
    """``rows``: account, action, actor, target; a second apart."""
    trail = FakeAuditTrail(MemoryDatabase())
    for number, (account_id, action, actor, target) in enumerate(rows):
        tx = trail.db.begin()
        at_ms = START_MS + number * 1000
        trail.add_entry(
            tx, AuditEntry(f"aud_{number:06d}", account_id, actor, action, target, at_ms, {"n": number})
        )
        tx.commit()
    return trail


def read_all(trail, principal, filters, *, account_id=None, limit=3):
    found, start = [], None
    while True:
        page = list_entries(trail, principal, filters, account_id=account_id, limit=limit, start=start)
        found += page.items
        start = page.next_key
        if start is None:
            return found


ROWS = st.lists(
    st.tuples(*(st.sampled_from(each) for each in (ACCOUNTS, ACTIONS, ACTORS, TARGETS))), max_size=30
)


@settings(deadline=None, max_examples=150)
@given(
    ROWS,
    st.sampled_from(["owner", "admin", "auditor", "renter", "host", "a role of tomorrow"]),
    st.sampled_from(["", "key.", "key.issued", "rental.", "x"]),
    st.sampled_from([None, *ACTORS]),
    st.sampled_from([None, *TARGETS]),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_whatever_is_asked_an_account_sees_its_own_entries_that_fit_newest_first_and_no_others(
    rows, role, action, actor, target, first, last
):
    trail = build_trail(rows)
    filters = AuditFilters(START_MS + first * 1000, START_MS + last * 1000, action, actor, target)
    found = read_all(trail, act_as(role), filters)
    wanted = [
        entry
        for entry in trail.entries
        if entry.account_id == "acc_1"
        and START_MS + first * 1000 <= entry.at_ms < START_MS + last * 1000
        and entry.action.startswith(action)
        and actor in {None, entry.actor}
        and target in {None, entry.subject}
    ]
    assert found == wanted[::-1]


def test_operators_read_across_accounts_by_target_or_actor_and_one_account_whole():
    trail = build_trail([(account, ACTIONS[0], "key_1", "rnt_1") for account in ACCOUNTS] * 2)
    assert len(read_all(trail, OPERATOR, AuditFilters(target="rnt_1"))) == 4
    assert len(read_all(trail, OPERATOR, AuditFilters(actor="key_1"))) == 4
    assert len(read_all(trail, OPERATOR, AuditFilters(), account_id="acc_2")) == 2
    for filters in (AuditFilters(), AuditFilters(actor="key_1", target="rnt_1")):
        with pytest.raises(InvalidInput) as refused:
            read_all(trail, OPERATOR, filters)
        assert refused.value.code == "target_or_actor"


@pytest.mark.parametrize("role", ["owner", "auditor", "renter"])
@pytest.mark.parametrize("asked", ["acc_2", "acc_that_never_was", ""])
def test_another_accounts_trail_answers_as_a_missing_one(role, asked):
    trail = build_trail([("acc_2", ACTIONS[0], "key_1", "rnt_1")])
    with pytest.raises(NotFound):
        list_entries(trail, act_as(role), AuditFilters(), account_id=asked, limit=9, start=None)
    with pytest.raises(NotFound):
        choose_account(act_as(role), asked)
    assert choose_account(act_as(role), "acc_1") == choose_account(act_as(role), None) == "acc_1"


class Office(Platform):
    """The renter's auditor asks; the stream links at once."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.account_id = self.seeded.renter.account_id
        self.principals["auditor"] = Principal(self.account_id, "auditor", "usr_aud", READS)
        self.principals["stranger"] = Principal("acc_stranger", "auditor", "usr_str", READS)

    def issue(self, label):
        status, made = self.ask(
            "POST /v1/accounts/{account_id}/api-keys", {"label": label}, account_id=self.account_id
        )
        assert status == 201, made
        self.cloud.clock.advance_seconds(60)
        return made

    def link(self):
        mine = [entry for entry in self.cloud.audit.entries if entry.account_id == self.account_id]
        return link_entries(self.cloud.chains, self.account_id, mine)


@pytest.fixture
def office(monkeypatch):
    return Office(monkeypatch)


def test_an_auditor_reads_filters_and_pages_the_accounts_own_trail(office):
    begun = format_instant(office.cloud.clock.advance_seconds(1))
    for label in ("a", "b", "c"):
        office.issue(label)
    _, page = office.ask(
        "GET /v1/audit", query={"from": begun, "action": "key.", "limit": "2"}, role="auditor"
    )
    assert len(page["items"]) == 2
    cursor = {"from": begun, "action": "key.", "cursor": page["next_cursor"]}
    _, rest = office.ask("GET /v1/audit", query=cursor, role="auditor")
    assert (len(rest["items"]), rest["next_cursor"]) == (1, None)
    assert {each["account_id"] for each in page["items"] + rest["items"]} == {office.account_id}
    _, none = office.ask("GET /v1/audit", query={"action": "no."}, role="auditor")
    _, foreign = office.ask("GET /v1/audit", query={"target": page["items"][0]["target"]}, role="stranger")
    assert none["items"] == foreign["items"] == []
    assert office.ask("GET /v1/audit", query={"from": "yesterday"}, role="auditor")[0] == 400


@pytest.mark.parametrize("route", ["GET /v1/audit", "GET /v1/audit/proof", "GET /v1/audit/export"])
def test_a_foreign_account_answers_as_a_missing_one_on_every_route(office, route):
    asked = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"} if "export" in route else {}
    answers = [
        office.ask(route, query=asked | {"account_id": named}, role="stranger")
        for named in (office.account_id, "acc_that_never_was")
    ]
    assert [status for status, _ in answers] == [404, 404]
    assert answers[0][1]["detail"] == answers[1][1]["detail"]


def test_a_trail_is_proven_and_a_forged_one_is_not(office):
    office.issue("a")
    count = office.link()
    _, proof = office.ask("GET /v1/audit/proof", role="auditor")
    assert (proof["result"], proof["links"], proof["next_sequence"]) == ("verified", count, None)
    assert office.ask("GET /v1/audit/proof", query={"account_id": office.account_id})[1] == proof
    entries = office.cloud.db.table("audit")
    forged = next(entry for entry in entries.values() if entry.account_id == office.account_id)
    del entries[forged.audit_id]
    _, proof = office.ask("GET /v1/audit/proof", role="auditor")
    assert (proof["result"], proof["problem_count"]) == ("contradicted", 1)
    assert proof["problems"][0] == {"kind": "entry_missing", "sequence": 1, "audit_id": forged.audit_id}
    beyond = office.ask("GET /v1/audit/proof", query={"from_sequence": "999"}, role="auditor")
    assert (beyond[0], beyond[1]["code"]) == (400, "unknown_sequence")


def test_who_may_not_read_the_trail_reads_none_of_it(office):
    for route in ("GET /v1/audit", "GET /v1/audit/proof", "GET /v1/audit/export"):
        assert office.ask(route, role="renter")[0] == 403
