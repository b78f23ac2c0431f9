"""Each act of an operator leaves one entry, and operators can read the trail."""

from dataclasses import replace

import pytest

import app
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.clock import format_instant
from chalicelib.core.leases import Lease
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.model import set_fault
from chalicelib.fleet.service import list_moved
from chalicelib.payments import service
from chalicelib.payments.settling import settle_payment
from tests.factories import GPU_TYPE, REGION, add_person
from tests.unit.authorisation.callers import Callers
from tests.unit.platform import Platform
from tests.unit.removals.plant import DAY_MS, START, read_plant
from tests.unit.removals.site import UNIT, keep, warm

HOUR_MS = 3_600_000
ACT = "POST /v1/hosts/{host_id}/actions"


class Desk(Platform):
    """The operator's, with machines that go wrong."""

    def act(self, **body):
        return self.ask(ACT, body, host_id=self.host_id)

    def stick(self):
        """A GPU whose wipe nobody acknowledges."""
        free = self.cloud.fleet_store.list_gpus(self.host_id)[0]
        lease = Lease(free.gpu.gpu_uuid, free.epoch)
        for step, held in (("take_leases", lease), ("begin_wipe", lease.advance())):
            tx = self.cloud.db.begin()
            more = (0,) if step == "take_leases" else ()
            getattr(self.cloud.fleet_store, step)(tx, self.host_id, "rnt_x", [held], *more)
            tx.commit()
        return lease.gpu_uuid

    def break_gpu(self):
        store = self.cloud.fleet_store
        host, gpus = store.get_host(self.host_id), store.list_gpus(self.host_id)
        fault = GpuFault(79, "F", self.cloud.clock.now_ms(), "kernel", 1)
        changed, after = set_fault(host, gpus, gpus[0].gpu.gpu_uuid, fault)
        tx = self.cloud.db.begin()
        store.replace_health(tx, host, changed, list_moved(gpus, after))
        tx.commit()


@pytest.fixture
def platform(monkeypatch):
    desk = Desk(monkeypatch)
    # One who signed in: some acts are of people alone.
    operator = desk.seeded.operator
    person = add_person(desk.seeded, "operator", account_id=operator.account_id)
    desk.grant_id = Callers(monkeypatch, desk.seeded, desk.host_id).give_grant(person).grant_id
    since_ms = person.authenticated_at_ms
    desk.principals["operator"] = replace(operator, user_id=person.user_id, authenticated_at_ms=since_ms)
    return desk


def list_acts(platform):
    """Yield (route, call): every act of an operator, in an order in which each changes something."""
    now_ms, account_id = platform.cloud.clock.now_ms(), platform.seeded.renter.account_id

    def ask(route, body=None, **parameters):
        return route, lambda: platform.ask(route, body, **parameters)

    def act(**body):
        return ACT, lambda: platform.act(**body)

    yield ask("POST /v1/accounts", {"name": "new"})
    suspend = {"action": "suspend", "reason": "unpaid"}
    yield ask("POST /v1/accounts/{account_id}/actions", suspend, account_id=account_id)
    yield from list_membership_acts(platform)
    yield ask("POST /v1/privacy/requests", {"kind": "export"})
    yield ask("DELETE /v1/oauth-grants/{grant_id}", grant_id=platform.grant_id)
    yield ask("PUT /v1/privacy/consents", {"purpose": "data_sale", "given": False, "version": "1"})
    keys = "POST /v1/accounts/{account_id}/api-keys"
    yield keys, lambda: platform.ask(keys, {"label": "a key"}, account_id=account_id)
    listed = platform.cloud.accounts.store.list_keys(account_id, 1, None).items[0]
    yield ask("POST /v1/api-keys/{key_id}/rotate", {}, key_id=listed.key_id)
    yield ask("DELETE /v1/api-keys/{key_id}", key_id=listed.key_id)
    credit = {"amount_micros": 5, "reason": "sorry"}
    yield ask("POST /v1/accounts/{account_id}/credits", credit, account_id=account_id)
    charge = {"amount_micros": 1, "reason": "test"}
    yield ask("POST /v1/accounts/{account_id}/charges", charge, account_id=account_id)
    posted = next(key for key in platform.cloud.db.table("journals") if key[0] == "credit")
    yield ask("POST /v1/reversals", {"journal_key": "#".join(posted), "reason": "by mistake"})
    yield ask("PUT /v1/accounts/{account_id}/quotas", {"max_gpus": 3}, account_id=account_id)
    path = "/v1/accounts/{account_id}/reservation-quota"
    yield ask(f"PUT {path}", {"max_gpus": 3}, account_id=account_id)
    made = service.create_top_up(
        platform.till,
        platform.seeded.renter,
        service.CreateTopUp(20_000_000, "https://app.example/", "k", "f"),
    )
    platform.stripe.pay(made, "pi_1")
    settle_payment(platform.till, "pi_1")
    path = "/v1/top-ups/{top_up_id}/refunds"
    yield ask(f"POST {path}", {"amount_micros": 10_000}, top_up_id=made.top_up_id)
    gpu_type = {"architecture": "Ampere", "memory_mib": 24_000, "power_limit_watts": 150}
    yield ask("PUT /v1/gpu-types/{gpu_type}", gpu_type, gpu_type="A10")
    price = {"price_micros_per_gpu_hour": 7}
    yield ask("PUT /v1/gpu-types/{gpu_type}/prices/{region}", price, gpu_type="A10", region=REGION)
    volume_price = {"price_micros_per_gib_hour": 100}
    yield ask("PUT /v1/volume-prices/{region}", volume_price, region=REGION)
    terms = {"version": 0, "terms": [{"discount_ppm": 1, "effective_from": "2026-11-01T00:00:00Z"}]}
    path = "/v1/accounts/{account_id}/agreement"
    yield ask(f"PUT {path}", terms, account_id=platform.seeded.renter.account_id)
    template = {"name": "mine", "command": ["true"]}
    made = []
    yield "POST /v1/templates", lambda: made.append(platform.ask("POST /v1/templates", template)) or made[0]
    path, named = "/v1/templates/{template_id}", {"template_id": made[0][1]["template_id"]}
    yield ask(f"PUT {path}", template | {"name": "other", "version": 1}, **named)
    yield ask(f"DELETE {path}", **named)
    yield ask("POST /v1/enrolments", {"gpu_type": GPU_TYPE, "region": REGION})
    pool = {"min_hosts": 0, "max_hosts": 9, "warm_gpus": 0, "scale_in_after_seconds": 60}
    option = platform.scaling.settings().options[0]
    names = ("name", "instance_type", "gpus_per_host", "availability_zone", "purchase", "launch_template_id")
    pool["options"] = [{name: getattr(option, name) for name in (*names, "list_price_micros_per_hour")}]
    yield ask("PUT /v1/pools/{gpu_type}/{region}", pool, gpu_type=GPU_TYPE, region=REGION)
    yield from list_removal_acts(platform)
    window = {
        "host_id": platform.host_id,
        "category": "power",
        "reason": "new feed",
        "starts_at": format_instant(now_ms + 48 * HOUR_MS),
        "ends_at": format_instant(now_ms + 50 * HOUR_MS),
    }
    planned = []
    route = "POST /v1/maintenance-windows"
    yield route, lambda: planned.append(platform.ask(route, window)) or planned[0]
    window_id = planned[0][1]["window_id"]
    yield ask("POST /v1/maintenance-windows/{window_id}/actions", {"action": "cancel"}, window_id=window_id)
    yield act(action="make_reservable")
    yield act(action="make_shared")
    stuck = platform.stick()
    yield act(action="force_release", gpu_uuids=[stuck], reason="machine was wiped")
    platform.break_gpu()
    yield act(action="clear_faults")
    yield act(action="cordon", reason="smells of smoke")
    yield act(action="uncordon")
    platform.act(action="cordon", reason="to be sold")
    yield act(action="retire", reason="sold")


def list_membership_acts(platform):
    cloud, account_id = platform.cloud, platform.seeded.renter.account_id
    add_person(platform.seeded, "owner")
    member, gone = (add_person(platform.seeded, "viewer").user_id for _ in range(2))
    cloud.addresses[platform.principals["operator"].user_id] = "operator@cloud.example"

    def ask(route, body=None, **parameters):
        return route, lambda: platform.ask(route, body, **parameters)

    yield ask("POST /v1/organisations", {"name": "mine"})
    path = "/v1/organisations/{account_id}/members/{user_id}"
    yield ask(f"PUT {path}", {"role": "developer"}, account_id=account_id, user_id=member)
    yield ask(f"DELETE {path}", account_id=account_id, user_id=gone)
    path = "/v1/organisations/{account_id}/invitations"
    invitation, made = {"email": "ada@lab.example", "role": "owner"}, []
    act = lambda: made.append(platform.ask(f"POST {path}", invitation, account_id=account_id)) or made[0]  # noqa: E731
    yield f"POST {path}", act
    named = {"account_id": account_id, "invitation_id": made[0][1]["invitation_id"]}
    yield ask(f"DELETE {path}/{{invitation_id}}", **named)
    invitation = {"email": "operator@cloud.example", "role": "viewer"}
    platform.ask(f"POST {path}", invitation, account_id=account_id)
    token = cloud.mailer.sent[-1].text.split("/invitations/")[1].split()[0]
    yield ask("POST /v1/invitations/accept", {"token": token})
    yield ask("DELETE /v1/me/memberships/{account_id}", account_id=account_id)


def list_removal_acts(platform):
    yesterday_ms, tenant = START - DAY_MS, platform.seeded.renter.account_id
    keep(platform.cloud, platform.host_id, read_plant(start_ms=yesterday_ms, step_ms=300_000))
    warm(platform.cloud, platform.host_id, {tenant: 200 * 10**9}, yesterday_ms)
    path = "/v1/removals/{host_id}/{unit_id}/{day}"
    day = {"host_id": platform.host_id, "unit_id": UNIT, "day": "2027-01-14"}
    drawn = {"additions": [{"kind": "loss", "mass_mg": 5, "standard_deviation_mg": 1, "source": "pipe"}]}
    yield f"PUT {path}", lambda: platform.ask(f"PUT {path}", drawn, **day)
    answers = []
    for body in ({"action": "submit"}, {"action": "verify", "evidence": "report 7"}, {"action": "issue"}):
        act = lambda told=body | {"revision": 1}: platform.ask(f"POST {path}/actions", told, **day)  # noqa: E731
        yield f"POST {path}/actions", lambda act=act: answers.append(act()) or answers[-1]
    batch = {"serial": answers[-1][1]["serial"]}
    route, sold = "POST /v1/credit-batches/{serial}/sales", []
    sale = {"buyer": "Buyer Ltd", "mass_mg": 100}
    yield route, lambda: sold.append(platform.ask(route, sale, **batch)) or sold[0]
    retire = {"action": "retire", "beneficiary": "<b>Ada</b>"}
    certificate = {"serial": sold[0][1]["serial"]}
    route = "POST /v1/certificates/{serial}/actions"
    yield route, lambda: platform.ask(route, retire, **certificate)
    route = "POST /v1/credit-batches/{serial}/allocation"
    yield route, lambda: platform.ask(route, **batch)


def test_every_act_of_an_operator_leaves_one_entry_in_his_name(platform):
    done = set()
    for route, perform in list_acts(platform):
        before = len(platform.cloud.audit.entries)
        status, answer = perform()
        assert status < 300, (route, answer)
        written = platform.cloud.audit.entries[before:]
        assert len(written) == 1, (route, [entry.action for entry in written])
        assert written[0].actor == platform.seeded.operator.actor_id, route
        done.add(route)
    mutating = {
        f"{operation.method} {operation.path}"
        for api in app.APIS
        for operation in api.operations
        if operation.method != "GET" and operation.permission in PERMISSIONS["operator"]
    }
    assert done == mutating


def test_an_act_that_changes_nothing_leaves_none(platform):
    platform.act(action="cordon", reason="smells of smoke")
    before = len(platform.cloud.audit.entries)
    for body in (
        {"action": "cordon", "reason": "smells of smoke"},
        {"action": "clear_faults"},
        {"action": "make_shared"},
    ):
        assert platform.act(**body)[0] == 200
    assert len(platform.cloud.audit.entries) == before


def test_the_trail_is_read_by_target_and_by_actor_newest_first_and_page_by_page(platform):
    for reason in ("one", "two", "three"):
        platform.cloud.clock.advance_seconds(1)
        platform.act(action="cordon", reason=reason)
    found, query = [], {"target": platform.host_id, "limit": "2"}
    while True:
        status, page = platform.ask("GET /v1/audit", query=query)
        assert status == 200
        found += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert [(entry["action"], entry["details"].get("reason")) for entry in found] == [
        ("host.cordoned", "three"),
        ("host.cordoned", "two"),
        ("host.cordoned", "one"),
        ("host.enrolled", None),
    ]
    assert found[0]["actor"] == platform.seeded.operator.actor_id
    assert found[0]["at"] == format_instant(platform.cloud.clock.now_ms())
    _, mine = platform.ask("GET /v1/audit", query={"actor": platform.seeded.operator.actor_id, "limit": "1"})
    assert mine["items"] == found[:1]


def test_the_trail_is_for_operators_and_is_asked_for_one_thing(platform):
    assert platform.ask("GET /v1/audit", query={"target": platform.host_id}, role="renter")[0] == 403
    for query in ({}, {"target": "a", "actor": "b"}, {"target": ""}):
        status, answer = platform.ask("GET /v1/audit", query=query)
        assert (status, answer["code"]) == (400, "target_or_actor")
