"""What belongs to another tenant answers as what was never there, on every route that names a thing."""

import json

import pytest

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.clock import format_instant
from tests.factories import GPU_TYPE, REGION, add_host, add_person
from tests.unit.authorisation.gate import MISSING, OPERATIONS, PARAMETER, Gate

#: What a path names that no tenant owns: the catalogue's, the calendar's, the fleet's, the register's.
NOBODYS = {"day", "gpu_type", "host_id", "month", "period", "region", "serial", "unit_id", "window_id"}
TENANTS = set().union(*(PERMISSIONS[role] for role in ("owner", "renter")))


#: Who asks for them, and by which row of the table: a token of a person, a key, a token of a program.
BY = {"owner": "owner", "renter": "renter", "program admin": "admin"}
CLIENT = {"name": "x", "kind": "confidential", "redirect_uris": ["https://b.example/cb"]}


class Neighbours(Gate):
    """Tenant B owns one of everything; tenant A's owner and key ask for it."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        account_id, owner = self.callers.b, self.people["neighbour"]
        self.people["b"] = owner
        org = {"account_id": account_id}
        self.owned = {
            "account_id": account_id,
            "user_id": add_person(self.seeded, "viewer", account_id=account_id).user_id,
            # Not the one that the owner's tokens are of: it is going to end.
            "grant_id": self.callers.give_grant(owner).grant_id,
            "payment_method_id": "pm_of_b",
            "key_id": self.make("/v1/accounts/{account_id}/api-keys", {"label": "x"}, **org)["key_id"],
            "invitation_id": self.make(
                "/v1/organisations/{account_id}/invitations",
                {"email": "ada@lab.example", "role": "viewer"},
                **org,
            )["invitation_id"],
        }
        path = "/v1/organisations/{account_id}"
        self.own(f"{path}/projects", "project_id", {"name": "x"}, **org)
        program = {"name": "x", "role": "viewer"}
        self.own(f"{path}/service-accounts", "service_account_id", program, **org)
        rental = {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 1, "command": ["true"]}
        self.own("/v1/rentals", "rental_id", rental)
        self.own("/v1/budgets", "budget_id", {"name": "x", "limit_micros": 1_000_000})
        page = {"amount_micros": 20_000_000, "return_url": "https://app.example/"}
        self.own("/v1/top-ups", "top_up_id", page)
        self.make("/v1/payment-methods", {"return_url": "https://app.example/"})
        self.stripe.save_method(account_id, "pm_of_b")
        self.book()
        self.own("/v1/templates", "template_id", {"name": "x", "command": ["true"]})
        endpoint = {"url": "https://hooks.example/", "event_types": ["rental.running"]}
        self.own("/v1/webhook-endpoints", "endpoint_id", endpoint)
        self.own("/v1/webhook-endpoints/{endpoint_id}/test", "event_id", **self.owned)
        self.own("/v1/oauth-clients", "client_id", CLIENT)
        self.own("/v1/oauth-clients/{client_id}/secrets", "secret_id", **self.owned)
        self.own("/v1/privacy/requests", "request_id", {"kind": "export"})
        secret = self.make("/v1/service-accounts/{service_account_id}/secrets", **self.owned)["secret_id"]
        self.program_secret_id = secret
        # What A has itself, that the neighbour's may be asked for beneath it.
        client_id = self.make("/v1/oauth-clients", CLIENT, by="owner")["client_id"]
        program = self.callers.programs["program viewer"]
        self.own_of_a = {
            "account_id": self.callers.a,
            "client_id": client_id,
            "service_account_id": program,
        }

    def book(self):
        host_id, hour_ms = add_host(self.seeded, "calendar", 4).host_id, 3_600_000
        self.seeded.beat(host_id)
        act = {"action": "make_reservable"}
        assert self.ask("POST /v1/hosts/{host_id}/actions", act, host_id=host_id)[0] == 200
        price = {"price_micros_per_gpu_hour": 1_000, "billing_class": "reserved"}
        route = "PUT /v1/gpu-types/{gpu_type}/prices/{region}"
        assert self.ask(route, price, gpu_type=GPU_TYPE, region=REGION)[0] == 200
        self.cloud.clock.advance_seconds(61)
        self.seeded.beat(host_id)
        starts_at_ms = (self.cloud.clock.now_ms() // hour_ms + 24) * hour_ms
        window = {
            "starts_at": format_instant(starts_at_ms),
            "ends_at": format_instant(starts_at_ms + hour_ms),
        }
        wanted = {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 1, **window}
        self.own("/v1/reservations", "reservation_id", wanted)

    def make(self, path, body=None, by="b", **parameters):
        operation = next(each for each in OPERATIONS if (each.method, each.path) == ("POST", path))
        parameters = {name: parameters[name] for name in PARAMETER.findall(path)}
        status, made = self.knock(operation, by, parameters, body)
        assert status < 300, (path, made)
        return made

    def find_things(self, operation):
        """What a path names, of the neighbour's. Clients and programs have secrets of their own."""
        of_program = {"secret_id": self.program_secret_id} if "service-accounts" in operation.path else {}
        return {name: (self.owned | of_program)[name] for name in PARAMETER.findall(operation.path)}

    def own(self, path, name, body=None, **parameters):
        self.owned[name] = self.make(path, body, **parameters)[name]


@pytest.fixture(scope="module")
def neighbours():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Neighbours(monkeypatch)


def list_cells():
    """Every (operation, name): of a path with an organisation and a thing in it, each is asked for."""
    for operation in OPERATIONS:
        if operation.permission in TENANTS:
            for name in PARAMETER.findall(operation.path):
                if name not in NOBODYS:
                    yield operation, name


def ask(gate, operation, name, thing, by):
    named = {each: gate.own_of_a.get(each, MISSING[each]) for each in PARAMETER.findall(operation.path)}
    status, answer = gate.knock(operation, by, named | {name: thing}, gate.find_example(operation))
    answer.pop("request_id", None)
    return status, json.dumps(answer, sort_keys=True).replace(thing, "ID")


@pytest.mark.parametrize(
    ("operation", "name"),
    [pytest.param(*cell, id=f"{cell[0].method} {cell[0].path} {cell[1]}") for cell in list_cells()],
)
@pytest.mark.parametrize("by", BY)
def test_a_foreign_thing_answers_as_a_missing_one(neighbours, operation, name, by):
    if name not in neighbours.owned:
        pytest.fail(f"the neighbour has no {name}: make one, or say that it is nobody's")
    before = len(neighbours.cloud.audit.entries)
    foreign = ask(neighbours, operation, name, neighbours.find_things(operation)[name], by)
    missing = ask(neighbours, operation, name, MISSING[name], by)
    assert foreign == missing
    assert 400 <= foreign[0] < 500
    # What is a person's own, a program does not have.
    if operation.permission in PERMISSIONS[BY[by]] and not (
        by.startswith("program") and operation.permission.startswith("self:")
    ):
        assert foreign[0] == 404, foreign
    assert len(neighbours.cloud.audit.entries) == before


def test_there_is_a_cell_for_every_thing_that_a_tenant_can_name(neighbours):
    cells = list(list_cells())
    assert len(cells) >= 63
    assert {name for _, name in cells} == set(neighbours.owned)
