"""The API's document is served by itself: cached, and without any slice."""

import json
import subprocess
import sys

import pytest

import app
from chalicelib.runtime.api_document import DOCUMENT
from tests.unit.runtime.gateway import build_event, call

ROUTE = "/openapi.json"
SERVE_ALONE = """
import json, sys
from chalice.app import Chalice
from chalicelib.runtime import api_document

class Context:
    aws_request_id = function_name = invoked_function_arn = "test"
    memory_limit_in_mb = 128

app = Chalice(app_name="test", configure_logs=False)
app.register_blueprint(api_document.api.blueprint)
answer = app(json.loads(sys.stdin.read()), Context())
loaded = sorted({name.split(".")[1] for name in sys.modules if name.startswith("chalicelib.")})
print(json.dumps([answer["statusCode"], len(answer["body"]), loaded]))
"""


def ask(**headers):
    event = build_event(
        "GET", ROUTE, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    del event["headers"]["Authorization"], event["multiValueHeaders"]["Authorization"]
    return call(app.app, event)


def test_anybody_gets_the_packaged_document_and_may_keep_it_for_an_hour():
    status, body, headers = ask()
    assert (status, body) == (200, json.loads(DOCUMENT.read_text()))
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "public, max-age=3600"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_who_has_it_is_told_so_in_no_bytes():
    _, _, headers = ask()
    tag = headers["ETag"]
    for known in (tag, f'"older", W/{tag}', "*"):
        status, body, headers = ask(If_None_Match=known)
        assert (status, body, headers["ETag"]) == (304, {}, tag)
        assert headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize("known", ['"older"', "", "none", 'W/"older", "oldest"'])
def test_who_has_another_one_gets_it(known):
    assert ask(If_None_Match=known)[0] == 200


def test_serving_it_loads_no_slice():
    done = subprocess.run(
        [sys.executable, "-c", SERVE_ALONE],
        input=json.dumps(build_event("GET", ROUTE)),
        cwd=DOCUMENT.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    status, length, loaded = json.loads(done.stdout.splitlines()[-1])
    assert (status, length) == (200, len(DOCUMENT.read_text()))
    assert loaded == ["core", "runtime"]
