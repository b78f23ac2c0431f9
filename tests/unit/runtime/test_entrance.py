"""What Lambda calls for the API: every route is found, and nothing but its slice is imported for it.

Each test has an interpreter of its own: a blueprint serves one application.
"""

import json
import subprocess
import sys

import pytest

import app
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.routing import TABLE, read_table, render_table
from infra.import_contract import SLICES
from tests.unit.runtime.gateway import build_event

ASK = """
import json, sys

from chalicelib import wiring
from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter

sys.path.insert(0, "tests/fakes")  # the package would import every slice
from limits import MemoryBuckets

limiter = Limiter(MemoryBuckets(), SystemClock(), scale_policies(POLICIES, 1_000))
wiring.find_limiter = lambda: limiter
from {application} import app

class Context:
    aws_request_id = function_name = invoked_function_arn = "test"
    memory_limit_in_mb = 128

told = []
for event in json.load(sys.stdin):
    answer = app(event, Context())
    headers = {{**answer["headers"], **answer.get("multiValueHeaders", {{}})}}
    read = {{name: headers.get(name) for name in ("Allow", "Content-Type", "Location", "Retry-After")}}
    loaded = sorted({{name.split(".")[1] for name in sys.modules if name.startswith("chalicelib.")}})
    told.append([answer["statusCode"], read, len(answer["body"]), loaded])
print(json.dumps(told))
"""
SHARED = ["core", "entrance", "runtime", "wiring"]


def ask(events, application="chalicelib.entrance"):
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(application=application)],
        input=json.dumps(events),
        cwd=DOCUMENT.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def list_routes():
    table = read_table()
    for routes in (table.api, table.pages):
        for path, methods in sorted(routes.items()):
            yield from ((method, path) for method in sorted(methods))


def build_bare(method, path):
    event = build_event(method, path)
    del event["headers"]["Authorization"], event["multiValueHeaders"]["Authorization"]
    return event


def test_the_table_is_what_the_routes_say():
    assert TABLE.read_text() == render_table(app.TABLE)
    assert len(list(list_routes())) == sum(len(api.operations) for api in (*app.APIS, *app.PAGES))


@pytest.fixture(scope="module")
def answers():
    """What both applications say to nobody in particular: there is no database behind them."""
    routes = [*list_routes(), *(("OPTIONS", path) for path in read_table().api), ("TRACE", "/v1/rentals")]
    events = [build_bare(method, path) for method, path in routes]
    return routes, ask(events), ask(events, "app")


def test_every_route_answers_as_in_the_application_that_has_imported_all(answers):
    routes, found, wanted = answers
    differing = {
        route: (one[:3], other[:3])
        for route, one, other in zip(routes, found, wanted, strict=True)
        if one[:3] != other[:3]
    }
    assert differing == {}
    assert {status for status, *_ in found} >= {200, 204, 401, 405}


def test_a_preflight_a_document_and_a_wrong_method_import_no_slice():
    asked = [("OPTIONS", "/v1/rentals"), ("GET", "/openapi.json"), ("PUT", "/docs")]
    answers = ask([build_bare(method, path) for method, path in asked])
    assert [status for status, *_ in answers] == [204, 200, 405]
    assert [loaded for *_, loaded in answers] == [SHARED] * len(asked)
    assert answers[1][2] == len(DOCUMENT.read_text())


def test_a_request_imports_its_slice_and_what_that_is_built_on():
    ((status, _, _, loaded),) = ask([build_bare("GET", "/v1/webhook-endpoints")])
    assert status == 401
    assert "webhooks" in loaded
    above = SLICES[SLICES.index("webhooks") + 1 :]
    assert set(loaded).isdisjoint(above)
