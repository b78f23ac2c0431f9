"""What is taken from somebody is gone at their next request, however often they asked just before."""

from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.accounts.standing import KEPT_MS
from chalicelib.identity.service import set_status
from chalicelib.oauth.granting import revoke_service_token
from tests.factories import add_person
from tests.unit.authorisation.gate import OPERATIONS, Gate
from tests.unit.oauth.tokens import Forge

#: ASVS 5.0, 7.4 and 8.3.2, as we read it: of the clock that everything here is told the time by.
AT_MOST_SECONDS = 5
TEMPLATE = {"name": "x", "command": ["true"]}
MEMBER = "/v1/organisations/{account_id}/members/{user_id}"


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


def find(route):
    return next(each for each in OPERATIONS if f"{each.method} {each.path}" == route)


def act(gate, route, by, body=None, **named):
    status, answer = gate.knock(find(route), by, named, body)
    assert status < 300, (route, answer)
    return answer


def change_role(gate, person):
    act(gate, f"PUT {MEMBER}", "owner", {"role": "viewer"}, account_id=gate.callers.a, user_id=person.user_id)


def demote_operator(gate, person):
    store = gate.cloud.organisation_store
    member = store.get_membership(person.account_id, person.user_id)
    tx = gate.cloud.db.begin()
    store.replace_membership(tx, member, replace(member, role="support_operator"))
    tx.commit()


def remove(gate, person):
    act(gate, f"DELETE {MEMBER}", "owner", account_id=gate.callers.a, user_id=person.user_id)


def suspend_person(gate, person):
    set_status(gate.callers.site.ports, "usr_support", person.user_id, "suspended")


def raise_epoch(gate, person):
    store = gate.callers.site.ports.store
    before = store.get_person(person.user_id)
    tx = gate.cloud.db.begin()
    store.replace_person(tx, before, replace(before, epoch=before.epoch + 1, version=before.version + 1))
    tx.commit()


def end_grant(gate, person):
    grant = gate.callers.grants[person.user_id, person.account_id]
    act(gate, "DELETE /v1/oauth-grants/{grant_id}", "victim", grant_id=grant.grant_id)


def suspend_account(gate, _):
    body = {"action": "suspend", "reason": "unpaid"}
    act(gate, "POST /v1/accounts/{account_id}/actions", "operator", body, account_id=gate.callers.a)


def revoke_key(gate, key_id):
    act(gate, "DELETE /v1/api-keys/{key_id}", "owner", key_id=key_id)


def disable_program(gate, program_id):
    route = "POST /v1/organisations/{account_id}/service-accounts/{service_account_id}/actions"
    act(gate, route, "owner", {"action": "disable"}, account_id=gate.callers.a, service_account_id=program_id)


def revoke_program_token(gate, program_id):
    token = Forge(gate.callers, gate.callers.sign_program(program_id))
    revoke_service_token(gate.callers.ports, gate.callers.a, token.claims["jti"], token.claims["exp"] * 1000)


#: What is done -> to whom (a role's token, a key, a program), and what the next request is told.
ACTS = {
    change_role: ("developer", 403, "forbidden"),
    demote_operator: ("operator", 403, "forbidden"),
    remove: ("developer", 401, "invalid_credentials"),
    suspend_person: ("developer", 401, "invalid_credentials"),
    raise_epoch: ("developer", 401, "invalid_credentials"),
    end_grant: ("developer", 401, "invalid_credentials"),
    suspend_account: ("developer", 403, "account_suspended"),
    revoke_key: ("key", 401, "invalid_credentials"),
    disable_program: ("program", 401, "invalid_credentials"),
    revoke_program_token: ("program", 401, "invalid_credentials"),
}


def enter(gate, kind):
    """Return whom the act is done to; what they show stands under the name ``victim``."""
    callers = gate.callers
    if kind == "key":
        made = act(
            gate, "POST /v1/accounts/{account_id}/api-keys", "owner", {"label": "x"}, account_id=callers.a
        )
        callers.keys["victim"] = made["key"]
        return made["key_id"]
    if kind == "program":
        program_id = callers.add_program("developer", callers.a)
        callers.keys["victim"] = callers.sign_program(program_id)
        return program_id
    at = gate.seeded.operator.account_id if kind == "operator" else callers.a
    person = callers.people["victim"] = add_person(gate.seeded, kind, account_id=at)
    # One token from before: what is taken is taken from who has it already.
    callers.keys["victim"] = callers.sign(person)
    return person


@pytest.mark.parametrize("do", ACTS, ids=lambda each: each.__name__)
def test_what_is_taken_is_gone_at_the_next_request(gate, do):
    kind, status, code = ACTS[do]
    whom = enter(gate, kind)
    write = find("POST /v1/templates")
    for _ in range(20):
        assert gate.knock(write, "victim", None, TEMPLATE)[0] == 201
    do(gate, whom)
    waited = 0
    while gate.knock(write, "victim", None, TEMPLATE)[0] == 201:
        gate.cloud.clock.advance_seconds(1)
        waited += 1
        assert waited <= AT_MOST_SECONDS
    answered, told = gate.knock(write, "victim", None, TEMPLATE)
    assert (answered, told["code"]) == (status, code)
    # What is known of an account is kept for a moment, and of a person, a program or a key not at all.
    assert waited == (KEPT_MS // 1000 if do is suspend_account else 0)


def test_a_removed_members_keys_go_with_them(gate):
    person = enter(gate, "developer")
    issued = act(
        gate, "POST /v1/accounts/{account_id}/api-keys", "victim", {"label": "x"}, account_id=gate.callers.a
    )["key"]
    me = find("GET /v1/me")
    assert gate.knock(me, issued)[0] == 200
    remove(gate, person)
    assert gate.knock(me, issued)[0] == 401


def test_the_standing_of_who_asks_is_read_at_every_request_and_of_an_account_once_in_three_seconds(
    gate, monkeypatch
):
    read, times = Counter(), 50

    def count(owner, name):
        found = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: read.update([name]) or found(*given))

    count(gate.cloud.organisation_store, "get_membership")
    count(gate.callers.site.ports.store, "get_person")
    count(type(gate.cloud.accounts.store), "get_account")
    gate.callers.oauth_store.reads.clear()
    me = find("GET /v1/me")
    gate.callers.text("developer")
    for _ in range(times):
        gate.knock(me, "developer")
    assert gate.callers.oauth_store.reads["Grant"] == times
    assert read == {"get_membership": times, "get_person": times, "get_account": 1}
    gate.cloud.clock.advance_seconds(KEPT_MS / 1000)
    gate.knock(me, "developer")
    assert read["get_account"] == 2
    assert KEPT_MS <= AT_MOST_SECONDS * 1000
