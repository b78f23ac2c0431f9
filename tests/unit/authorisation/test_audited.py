"""Whatever a tenant's people and programs change leaves one entry in the audit trail, in their name."""

from dataclasses import replace

import pytest

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.clock import format_instant
from chalicelib.oauth.granting import CodeRequest, end_grant, find_code, give_code, open_grant, redeem_code
from chalicelib.oauth.model import CLI
from tests.factories import GPU_TYPE, REGION, add_person
from tests.unit.authorisation.gate import OPERATIONS
from tests.unit.authorisation.test_foreign_ids import TENANTS, Neighbours
from tests.unit.oauth.flows import CHALLENGE, REDIRECT

#: These open a page of the payment processor; nothing of ours changes until somebody acts there.
PAGES = {"POST /v1/payment-methods", "POST /v1/billing-portal"}
HOUR_MS = 3_600_000


@pytest.fixture
def gate(monkeypatch):
    return Neighbours(monkeypatch)


def list_acts(gate):
    """Yield (route, body) in an order in which each changes something; ``None``: the document's example."""
    things, cloud = gate.owned, gate.cloud
    account_id, owner = things["account_id"], gate.people["b"]
    # The example of a change switches the endpoint off.
    yield "POST /v1/webhook-endpoints/{endpoint_id}/test", None
    yield "POST /v1/webhook-events/{event_id}/replay", None
    yield "PATCH /v1/webhook-endpoints/{endpoint_id}", None
    yield "POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret", None
    yield "POST /v1/webhook-endpoints", None
    yield "DELETE /v1/webhook-endpoints/{endpoint_id}", None
    for route in ("PUT /v1/wallet/spend-limit", "PUT /v1/billing-details", "POST /v1/top-ups"):
        yield route, None
    yield "PUT /v1/removal-purchases/settings", None
    order = {"threshold_micros": 1_000_000, "amount_micros": 20_000_000, "payment_method_id": "pm_of_b"}
    yield "PUT /v1/auto-top-up", order | {"monthly_limit_micros": 100_000_000}
    yield "DELETE /v1/auto-top-up", None
    yield "DELETE /v1/payment-methods/{payment_method_id}", None
    for method in ("POST", "PATCH", "DELETE"):
        yield f"{method} /v1/budgets" + ("" if method == "POST" else "/{budget_id}"), None
    rental = {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 1, "command": ["true"]}
    yield "POST /v1/rentals", rental
    yield "POST /v1/rentals/{rental_id}/logs", None
    yield "PATCH /v1/rentals/{rental_id}", {"locked": True}
    gate.knock(find("PATCH /v1/rentals/{rental_id}"), "b", things, {"locked": False})
    yield "POST /v1/rentals/{rental_id}/actions", {"action": "terminate"}
    starts_at_ms = (cloud.clock.now_ms() // HOUR_MS + 48) * HOUR_MS
    window = {"starts_at": format_instant(starts_at_ms), "ends_at": format_instant(starts_at_ms + HOUR_MS)}
    yield "POST /v1/reservations", {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 1, **window}
    yield "POST /v1/reservations/{reservation_id}/actions", {"action": "cancel"}
    yield "POST /v1/templates", {"name": "y", "command": ["true"]}
    yield "PUT /v1/templates/{template_id}", {"name": "z", "command": ["true"], "version": 1}
    yield "DELETE /v1/templates/{template_id}", None
    yield "POST /v1/accounts/{account_id}/api-keys", {"label": "y"}
    yield "POST /v1/api-keys/{key_id}/rotate", {}
    yield "DELETE /v1/api-keys/{key_id}", None
    one = "/v1/organisations/{account_id}"
    yield f"PATCH {one}", None
    yield f"POST {one}/projects", None
    yield f"PATCH {one}/projects/{{project_id}}", None
    yield f"POST {one}/service-accounts", None
    secrets = "/v1/service-accounts/{service_account_id}/secrets"
    yield f"POST {secrets}", None
    yield f"DELETE {secrets}/{{secret_id}}", None
    yield f"POST {one}/service-accounts/{{service_account_id}}/actions", {"action": "disable"}
    # Two work at once, and no more.
    yield "DELETE /v1/oauth-clients/{client_id}/secrets/{secret_id}", None
    yield "POST /v1/oauth-clients/{client_id}/secrets", None
    yield "DELETE /v1/oauth-clients/{client_id}", None
    yield "POST /v1/oauth-clients", None
    yield "DELETE /v1/oauth-grants/{grant_id}", None
    yield "PUT /v1/privacy/consents", None
    yield "POST /v1/privacy/requests", {"kind": "export", "subject": "person"}
    yield f"POST {one}/invitations", None
    yield f"DELETE {one}/invitations/{{invitation_id}}", None
    yield f"PUT {one}/members/{{user_id}}", None
    yield f"DELETE {one}/members/{{user_id}}", None
    yield "POST /v1/organisations", None
    cloud.addresses[owner.user_id] = "owner@b.example"
    # To be accepted, it comes from another organisation.
    inviting = {"email": "owner@b.example", "role": "viewer"}
    a = {"account_id": gate.seeded.renter.account_id}
    assert gate.knock(find(f"POST {one}/invitations"), "owner", a, inviting)[0] == 201
    token = cloud.mailer.sent[-1].text.split("/invitations/")[1].split()[0]
    yield "POST /v1/invitations/accept", {"token": token}
    heir = add_person(gate.seeded, "admin", account_id=account_id)
    yield f"POST {one}/ownership", {"user_id": heir.user_id}
    yield "DELETE /v1/me/memberships/{account_id}", None
    gate.people["b"] = add_person(gate.seeded, "owner", account_id=account_id)
    free(gate, account_id)
    yield f"POST {one}/actions", None


def free(gate, account_id):
    """What ran, was booked and held has ended."""
    for name in ("rentals", "reservations"):
        rows = gate.cloud.db.table(name)
        for key in [key for key, row in rows.items() if row.account_id == account_id]:
            del rows[key]
    balances = gate.cloud.db.table("balances")
    balances[account_id] = replace(balances[account_id], held_micros=0)


def find(route):
    return next(each for each in OPERATIONS if f"{each.method} {each.path}" == route)


def test_every_act_of_a_tenant_leaves_one_entry_in_their_name(gate):
    done, bare = set(), {}
    for route, body in list_acts(gate):
        operation, before = find(route), len(gate.cloud.audit.entries)
        named = gate.find_things(operation)
        by = gate.people["b"].actor_id
        sent = gate.find_example(operation) if body is None else body
        status, answer = gate.knock(operation, "b", named, sent)
        assert status < 300, (route, answer)
        written = gate.cloud.audit.entries[before:]
        if [entry.actor for entry in written] != [by]:
            bare[route] = [(entry.action, entry.actor) for entry in written]
        done.add(route)
    mutating = {
        f"{operation.method} {operation.path}"
        for operation in OPERATIONS
        if operation.method != "GET" and operation.permission in TENANTS
    }
    assert bare == {}
    assert done == mutating - PAGES
    assert len(done) > 45


#: What changes something, and no tenant's or operator's permission opens it -> what it writes, and the test
#: that holds it to that; or why it writes nothing.
OTHERS = {
    "POST /oauth/token": "writes `oauth.granted`: oauth/test_programs.py; a refresh gives "
    "nothing that was not given before",
    "POST /oauth/authorize": "writes `oauth.consented`: oauth/test_programs.py",
    "POST /device": "writes `oauth.consented` or `oauth.denied`",
    "POST /oauth/device_authorization": "nothing: nobody has said yet in whose name the device asks",
    "POST /oauth/revoke": "writes `oauth.ended.revoked` or `oauth.token_revoked`",
    "POST /oauth/introspect": "nothing: it reads",
    "POST /v1/leaked-keys": "writes `key.leaked`: webhooks/test_leaks.py",
    "POST /v1/hosts": "writes `host.enrolled`",
    "POST /v1/hosts/{host_id}/credentials": "nothing: it lends for minutes what the host has anyway",
    "POST /v1/stripe/events": "nothing: it is a hint; what it leads to is in the ledger",
}


def test_no_operation_that_changes_something_is_left_out():
    kept = TENANTS | PERMISSIONS["operator"]
    others = {
        f"{operation.method} {operation.path}"
        for operation in OPERATIONS
        if operation.method != "GET" and operation.permission not in kept
    }
    assert others == set(OTHERS)


def test_what_programs_do_in_a_persons_name_is_written_down_too(gate):
    world, cloud = gate.callers, gate.cloud
    person = gate.people["owner"]
    grant = world.give_grant(person)
    ports = world.ports
    consent = grant.consent
    seen = len(cloud.audit.entries)
    give_code(ports, "pcc_x", CodeRequest(CLI.client_id, REDIRECT, CHALLENGE, consent))
    code = find_code(ports, "pcc_x", CLI.client_id)
    assert redeem_code(ports, code, open_grant(ports, code.grant_id, CLI.client_id, consent)[0])
    end_grant(ports, code.grant_id, person.user_id, "revoked")
    # Once more changes nothing.
    end_grant(ports, code.grant_id, person.user_id, "revoked")
    written = cloud.audit.entries[seen:]
    assert [entry.action for entry in written] == [
        "oauth.consented",
        "oauth.granted",
        "oauth.ended.revoked",
    ]
    assert {(entry.account_id, entry.actor) for entry in written} == {(world.a, person.user_id)}
