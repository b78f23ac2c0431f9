"""The routes: a serial is open to everybody and says nothing of its holder, shares are each account's own."""

import base64
import hashlib
import json

import pytest

import app
from tests.factories import add_renter
from tests.unit.platform import Platform
from tests.unit.removals.plant import DAY_MS, START, read_plant
from tests.unit.removals.site import UNIT, keep, warm
from tests.unit.runtime.contract import hold_to_document
from tests.unit.runtime.gateway import build_event

DAY = "/v1/removals/{host_id}/{unit_id}/{day}"
SALES = "POST /v1/credit-batches/{serial}/sales"
ALLOCATION = "POST /v1/credit-batches/{serial}/allocation"
CERTIFICATE_ACTS = "POST /v1/certificates/{serial}/actions"
BENEFICIARY = "<script>alert(1)</script> & Söhne"


@pytest.fixture
def platform(monkeypatch):
    platform = Platform(monkeypatch)
    platform.day = {"host_id": platform.host_id, "unit_id": UNIT, "day": "2027-01-14"}
    tenant = platform.seeded.renter.account_id
    keep(platform.cloud, platform.host_id, read_plant(start_ms=START - DAY_MS, step_ms=300_000))
    warm(platform.cloud, platform.host_id, {tenant: 100 * 10**9, "platform": 100 * 10**9}, START - DAY_MS)
    return platform


def act(platform, **body):
    return platform.ask(f"POST {DAY}/actions", {"revision": 1} | body, **platform.day)


def issue(platform):
    assert platform.ask(f"PUT {DAY}", {}, **platform.day)[0] == 200
    for body in ({"action": "submit"}, {"action": "verify", "evidence": "report 7"}):
        assert act(platform, **body)[0] == 200
    status, answer = act(platform, action="issue", buffer_ppm=100_000)
    assert status == 200
    return answer["serial"]


def open_page(serial, suffix=""):
    """As a browser would, without a key."""
    event = build_event("GET", f"/v1/certificates/{{serial}}{suffix}", parameters={"serial": serial})
    event["headers"].pop("Authorization", None)
    event["multiValueHeaders"].pop("Authorization", None)
    answer = app.app(event, None)
    hold_to_document(event, answer)
    headers = answer.get("headers", {}) | {
        name: values[0] for name, values in answer.get("multiValueHeaders", {}).items()
    }
    return answer["statusCode"], answer["body"], headers


def test_a_certificate_is_open_to_everybody_by_its_serial_and_names_no_holder(platform):
    serial = issue(platform)
    _, sold = platform.ask(SALES, {"buyer": "Secret Buyer Ltd", "mass_mg": 100}, serial=serial)
    retire = {"action": "retire", "beneficiary": BENEFICIARY}
    assert platform.ask(CERTIFICATE_ACTS, retire, serial=sold["serial"])[0] == 200
    status, body, _ = open_page(sold["serial"])
    found = json.loads(body)
    assert (status, found["register_fault"]) == (200, None)
    assert (found["certificate"]["state"], found["certificate"]["beneficiary"]) == ("retired", BENEFICIARY)
    assert [each["act"] for each in found["entries"]] == ["issued", "sold", "retired"]
    assert "Secret Buyer" not in body
    assert platform.seeded.renter.account_id not in body
    assert open_page("PC-20270114-000000000000")[0] == 404


def test_the_page_escapes_everything_and_loads_nothing(platform):
    serial = issue(platform)
    _, sold = platform.ask(SALES, {"buyer": "b", "mass_mg": 100}, serial=serial)
    platform.ask(CERTIFICATE_ACTS, {"action": "retire", "beneficiary": BENEFICIARY}, serial=sold["serial"])
    status, page, headers = open_page(sold["serial"], "/page")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; S" in page
    assert "<script" not in page
    assert "http" not in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in headers["Content-Security-Policy"], "the browser applies it"
    assert "0.100 g CO2e" in page
    assert "retired; the register is unbroken" in page
    assert open_page(serial, "/page")[0] == 200, "a batch has a page too"


def test_a_renter_lists_its_own_shares_and_nobody_elses(platform):
    serial = issue(platform)
    route = "GET /v1/removal-shares"
    _, before = platform.ask(route, role="renter")
    assert [(each["state"], each["serial"]) for each in before["items"]] == [("provisional", None)]
    _, batch = platform.ask(ALLOCATION, serial=serial)
    _, after = platform.ask(route, role="renter")
    (share,) = after["items"]
    assert (share["state"], batch["free_mg"]) == ("final", 0)
    assert share["mass_mg"] == pytest.approx(batch["allocated_mg"] / 2, abs=1)
    platform.principals["other"] = add_renter(platform.seeded, name="other")
    assert platform.ask(route, role="other")[1]["items"] == []


def test_a_day_is_read_and_listed_as_it_was_drawn(platform):
    _, drawn = platform.ask(f"PUT {DAY}", {}, **platform.day)
    assert platform.ask(f"GET {DAY}", **platform.day)[1] == drawn
    unit = {name: platform.day[name] for name in ("host_id", "unit_id")}
    assert platform.ask("GET /v1/removals/{host_id}/{unit_id}", **unit)[1]["items"] == [drawn]
    assert platform.ask(f"PUT {DAY}", {}, role="renter", **platform.day)[0] == 403


@pytest.mark.parametrize(
    ("route", "body", "named", "status"),
    [
        (f"PUT {DAY}", {}, {"day": "yesterday"}, 400),
        (f"PUT {DAY}", {"additions": [{"kind": "loss", "mass_mg": -1}]}, {}, 400),
        (f"PUT {DAY}", {"heat_pump_cop_milli": 1000}, {}, 400),
        (f"POST {DAY}/actions", {"action": "verify", "revision": 1}, {}, 400),
        (f"POST {DAY}/actions", {"action": "submit", "revision": 7}, {}, 404),
        (SALES, {"buyer": "b", "mass_mg": 0}, {"serial": "PC-20270114-000000000000"}, 400),
        (SALES, {"buyer": "b", "mass_mg": 1}, {"serial": "PC-20270114-000000000000"}, 404),
        (CERTIFICATE_ACTS, {"action": "split"}, {"serial": "x"}, 400),
        (CERTIFICATE_ACTS, {"action": "retire"}, {"serial": "x"}, 400),
    ],
)
def test_bad_input_is_refused_with_a_reason(platform, route, body, named, status):
    window = {} if "serial" in named else platform.day
    found, problem = platform.ask(route, body, **{**window, **named})
    assert found == status
    assert problem["code"]


def test_what_cannot_be_is_refused_with_its_findings(platform):
    platform.cloud.db.table("site_energy").clear()
    platform.ask(f"PUT {DAY}", {}, **platform.day)
    status, problem = act(platform, action="submit")
    assert (status, problem["code"]) == (409, "implausible")
    assert {each["code"] for each in problem["findings"]} == {"heat_exceeds_gpu_heat"}
