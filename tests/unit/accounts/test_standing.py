"""A suspended account reads and pays and does nothing else, within three seconds, for one read in them."""

from types import SimpleNamespace

import pytest

import app
from chalicelib.accounts.model import PERMISSIONS, WHILE_SUSPENDED
from chalicelib.accounts.service import authenticate, create_key
from chalicelib.accounts.standing import KEPT_MS, Standings, hold_to_standing, suspend_account
from chalicelib.core.errors import Conflict, NotFound
from tests.factories import add_person, seed_cloud, start
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import build_event, call

ACT = "POST /v1/accounts/{account_id}/actions"


class Desk(Platform):
    """Requests of real keys are admitted as in production; reads of accounts and keys are counted."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        cloud, self.reads = self.cloud, []
        store = cloud.accounts.store
        for name in ("get_key", "get_account"):
            read = getattr(store, name)
            monkeypatch.setattr(
                type(store),
                name,
                lambda _store, each, read=read, name=name: self.reads.append(name) or read(each),
            )
        self.standings = Standings(store, cloud.clock.now_ms)
        self.principals_by_token = self.principals
        for routes in app.APIS:
            monkeypatch.setattr(routes, "_authenticate", self.admit)
        renter = self.seeded.renter
        self.account_id = renter.account_id
        self.token = create_key(cloud.accounts, renter, renter.account_id, label="ci").token
        self.reads.clear()

    def admit(self, token):
        known = self.principals.get(token)
        found = known if known is not None else authenticate(self.cloud.accounts, token)
        return hold_to_standing(self.standings, found)

    def send(self, route, body=None, token=None, **parameters):
        method, path = route.split(" ")
        headers = {"Authorization": f"Bearer {token or self.token}"}
        event = build_event(method, path, body=body, headers=headers, parameters=parameters)
        status, answer, _ = call(app.app, event)
        return status, answer

    def act(self, action):
        body = {"action": action, "reason": "unpaid"}
        return self.ask(ACT, body, account_id=self.account_id)


@pytest.fixture
def desk(monkeypatch):
    return Desk(monkeypatch)


def test_a_suspended_account_reads_and_pays_and_nothing_else(desk):
    assert desk.act("suspend")[0] == 200
    assert desk.send("GET /v1/rentals")[0] == 200
    assert desk.send("GET /v1/wallet")[0] == 200
    assert desk.send("POST /v1/top-ups", {})[0] == 400
    for route in ("POST /v1/rentals", "POST /v1/budgets", "PUT /v1/wallet/spend-limit"):
        status, answer = desk.send(route, {})
        assert (status, answer["code"]) == (403, "account_suspended"), route
    status, answer = desk.send("POST /v1/reversals", {})
    assert (status, answer["code"]) == (403, "forbidden")
    assert desk.act("unsuspend")[0] == 200
    desk.cloud.clock.advance_seconds(KEPT_MS / 1000)
    assert desk.send("POST /v1/rentals", {})[0] == 400


def test_a_suspension_holds_everywhere_within_three_seconds(desk):
    assert desk.send("POST /v1/rentals", {})[0] == 400
    desk.act("suspend")
    desk.cloud.clock.advance_seconds(KEPT_MS / 1000 - 0.001)
    assert desk.send("POST /v1/rentals", {})[0] == 400
    desk.cloud.clock.advance_seconds(0.001)
    assert desk.send("POST /v1/rentals", {})[0] == 403
    assert KEPT_MS <= 5_000


def test_a_request_costs_one_read_and_in_three_seconds_one_more(desk):
    for _ in range(5):
        desk.send("GET /v1/me")
    assert desk.reads == ["get_key", "get_account", "get_key", "get_key", "get_key", "get_key"]
    desk.reads.clear()
    desk.cloud.clock.advance_seconds(KEPT_MS / 1000)
    desk.send("GET /v1/me")
    assert desk.reads == ["get_key", "get_account"]


def test_operators_and_hosts_cost_no_read_of_an_account(desk):
    desk.ask("GET /v1/hosts")
    host = SimpleNamespace(is_operator=False, role="host", account_id="acc_none")
    assert hold_to_standing(desk.standings, host) is host
    assert desk.reads == []


def test_a_suspended_account_ends_what_it_pays_for_and_nothing_of_it_runs_again(desk):
    rentals = [start(desk.seeded, 1, key=key) for key in "ab"]
    for rental in rentals:
        desk.seeded.report(desk.seeded.rental(rental.rental_id), "running")
    assert desk.act("suspend")[0] == 200
    desk.cloud.clock.advance_seconds(KEPT_MS / 1000)

    def take(action, rental):
        route = "POST /v1/rentals/{rental_id}/actions"
        return desk.send(route, {"action": action}, rental_id=rental.rental_id)

    for action in ("restart", "resume"):
        status, told = take(action, rentals[0])
        assert (status, told["code"]) == (403, "account_suspended"), action
    assert desk.seeded.rental(rentals[0].rental_id).state == "running"
    for rental in rentals:
        assert take("terminate", rental)[0] == 200
        assert desk.seeded.rental(rental.rental_id).state in ("terminating", "terminated")
    assert [each.path for api in app.APIS for each in api.operations if each.ends] == [
        "/v1/rentals/{rental_id}/actions"
    ]


def test_what_is_left_is_reading_paying_and_what_is_a_persons_own():
    left = {name for name in WHILE_SUSPENDED if not name.endswith(":read")}
    assert left == {"consents:write", "privacy:write", "self:write", "top-ups:write"}
    assert set().union(*PERMISSIONS.values()) >= WHILE_SUSPENDED


def test_me_says_what_is_withheld(desk):
    desk.act("suspend")
    status, told = desk.send("GET /v1/me")
    assert status == 200
    assert set(told["permissions"]) == PERMISSIONS["renter"] & WHILE_SUSPENDED
    assert set(told["withheld"]) == PERMISSIONS["renter"] - WHILE_SUSPENDED


def test_an_account_that_is_not_there_does_nothing():
    cloud = seed_cloud().cloud
    standings = Standings(cloud.accounts.store, cloud.clock.now_ms)
    assert standings.is_barred("acc_none")


def test_suspending_is_told_once_with_its_reason(desk):
    before = len(desk.cloud.audit.entries)
    assert desk.act("suspend")[1]["suspended_at"] is not None
    status, answer = desk.act("suspend")
    assert (status, answer["code"]) == (409, "already_suspended")
    (entry,) = desk.cloud.audit.entries[before:]
    assert (entry.action, entry.subject, entry.details) == (
        "account.suspended",
        desk.account_id,
        {"reason": "unpaid"},
    )
    desk.act("unsuspend")
    assert desk.act("unsuspend")[1]["code"] == "not_suspended"


def test_the_operators_account_is_never_suspended():
    seeded = seed_cloud()
    operator = seeded.operator
    with pytest.raises(Conflict) as refused:
        suspend_account(seeded.cloud.accounts, operator, operator.account_id, "by mistake")
    assert refused.value.code == "operator_account"
    with pytest.raises(NotFound):
        suspend_account(seeded.cloud.accounts, operator, "acc_none", "who")


def test_a_member_of_a_suspended_organisation_keeps_what_is_their_own(desk):
    desk.principals["owner"] = add_person(desk.seeded, "owner")
    desk.act("suspend")
    assert desk.ask("GET /v1/me/memberships", role="owner")[0] == 200
    assert desk.ask("POST /v1/organisations", {"name": "another"}, role="owner")[0] == 201
    path = "/v1/organisations/{account_id}/projects"
    status, answer = desk.ask(f"POST {path}", {"name": "x"}, role="owner", account_id=desk.account_id)
    assert (status, answer["code"]) == (403, "account_suspended")
