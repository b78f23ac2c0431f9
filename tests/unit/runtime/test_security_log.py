"""What is refused is written down: who, what, when, from where, why; and no secret."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from aws_lambda_powertools import Logger

from chalicelib.core.errors import Forbidden
from chalicelib.core.principal import KeyLimits
from chalicelib.identity.model import SESSION_COOKIE
from chalicelib.oauth.model import CLI_CLIENT_ID, DEVICE_GRANT
from chalicelib.runtime import http, security_log
from chalicelib.runtime.http import Answer
from tests.unit.oauth.site import Site
from tests.unit.runtime.gateway import RENTER, build_api, build_event, call

NAME, CODA = "0" * 26, "Zq7" * 12
KEY = f"pc_live_{NAME}_{CODA}ab"
NUMBERS = itertools.count()
LEAKS = ("\r\ninjected: yes", "\x1b[31mred", '"},{"forged":"line"', "person@example.com")


@pytest.fixture
def log(monkeypatch):
    written = io.StringIO()
    # Loggers of one name share what they write to.
    name = f"refusals-{next(NUMBERS)}"
    logger = Logger(stream=written, utc=True, service=name, level="INFO")
    for module in (http, security_log):
        monkeypatch.setattr(module, "get_logger", lambda: logger)
    return written


@pytest.fixture
def app():
    def declare(api):
        @api.route("GET", "/v1/things", permission="things:read")
        def list_things(_call):
            return Answer("{}")

        @api.route("DELETE", "/v1/things", permission="things:write")
        def drop_things(_call):
            return Answer("{}")

        @api.route("POST", "/v1/things", permission="things:read")
        def make_things(_call):
            raise Forbidden("Not now.", code="not_now")

    return build_api(declare)


def read_lines(log):
    return [json.loads(line) for line in log.getvalue().splitlines()]


def read_refusal(log):
    (line,) = [each for each in read_lines(log) if each["message"] == "security"]
    return line


def ask(app, method, token):
    event = build_event(method, "/v1/things", headers={"Authorization": token})
    event["requestContext"]["identity"] = {"sourceIp": "203.0.113.7"}
    return call(app, event)[0]


def test_an_authentication_that_failed_names_the_key_that_was_tried_and_no_secret(app, log):
    assert ask(app, "GET", f"Bearer {KEY}") == 401
    line = read_refusal(log)
    assert (line["security_event"], line["reason"]) == ("authentication_failed", "invalid_credentials")
    assert (line["method"], line["resource"], line["source_ip"]) == ("GET", "/v1/things", "203.0.113.7")
    assert line["attempted_key"] == f"key_{NAME}"
    assert CODA not in log.getvalue()
    assert "actor" not in line
    at = datetime.fromisoformat(line["timestamp"])
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)


@pytest.mark.parametrize(("method", "reason"), [("DELETE", "forbidden"), ("POST", "not_now")])
def test_what_somebody_known_may_not_do_names_who_it_was(app, log, method, reason):
    assert ask(app, method, "Bearer good") == 403
    line = read_refusal(log)
    assert (line["security_event"], line["reason"]) == ("access_denied", reason)
    assert (line["actor"], line["account_id"], line["role"]) == ("key_1", "acc_1", "renter")


def test_a_key_that_is_used_from_elsewhere_is_named(app, log, monkeypatch):
    held = replace(RENTER, limits=KeyLimits(networks=("198.51.100.0/24",)))
    monkeypatch.setattr("tests.unit.runtime.gateway.RENTER", held)
    assert ask(app, "GET", "Bearer good") == 403
    line = read_refusal(log)
    assert (line["reason"], line["actor"]) == ("address_not_allowed", "key_1")


def test_who_was_let_in_stands_in_the_line_of_the_request_and_in_no_other(app, log):
    assert ask(app, "GET", "Bearer good") == 200
    assert ask(app, "GET", "Bearer bad") == 401
    first, _, last = read_lines(log)
    assert (first["message"], first["actor"], first["account_id"]) == ("request", "key_1", "acc_1")
    assert (last["message"], last["status"]) == ("request", 401)
    assert "actor" not in last


@pytest.mark.parametrize("leak", LEAKS)
def test_what_a_caller_sends_neither_breaks_a_line_nor_stands_in_it(app, log, leak):
    ask(app, "GET", f"Bearer {leak}")
    event = build_event("GET", "/v1/things", headers={"Authorization": f"Bearer {KEY}{leak}", "X-Any": leak})
    call(app, event)
    assert [line["message"] for line in read_lines(log)] == ["security", "request"] * 2
    assert not any(part in log.getvalue() for part in (leak, json.dumps(leak)[1:-1], CODA))


SERVICE = "sva_" + NAME
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def site(monkeypatch):
    served = Site(monkeypatch)
    yield served
    served.close()


def send(site, path, fields, **headers):
    return site.ask("POST", path, headers=FORM | headers, body=urlencode(fields).encode())


def basic(client_id, secret):
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def by_cli(grant, **fields):
    return {"grant_type": grant, "client_id": CLI_CLIENT_ID, **fields}


#: What is sent where, in which header; the reason, and the client that is named.
ATTEMPTS = {
    "refresh token": ("token", by_cli("refresh_token", refresh_token=CODA), "", "invalid_grant", "cli"),
    "device code": ("token", by_cli(DEVICE_GRANT, device_code=CODA), "", "invalid_grant", "cli"),
    "code": (
        "token",
        by_cli("authorization_code", code=CODA, redirect_uri="http://127.0.0.1/callback", code_verifier=CODA),
        "",
        "invalid_grant",
        "cli",
    ),
    "client secret": (
        "token",
        {"grant_type": "client_credentials", "client_id": SERVICE, "client_secret": CODA},
        "",
        "invalid_client",
        SERVICE,
    ),
    "client secret in the header": (
        "token",
        {"grant_type": "client_credentials"},
        basic(SERVICE, CODA),
        "invalid_client",
        SERVICE,
    ),
    "client that is none": ("token", {"client_id": CODA, "refresh_token": CODA}, "", "invalid_client", None),
    "client that is none in the header": ("token", {}, basic(CODA, CODA), "invalid_client", None),
    "introspection": ("introspect", {"token": CODA}, basic(SERVICE, CODA), "invalid_client", SERVICE),
    "revocation": ("revoke", {"token": CODA}, basic(SERVICE, CODA), "invalid_client", SERVICE),
    "device": ("device_authorization", {"client_id": SERVICE}, "", "invalid_client", SERVICE),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_fails_at_an_endpoint_of_oauth_names_the_client_and_no_secret(site, log, attempt):
    endpoint, fields, authorization, reason, client_id = ATTEMPTS[attempt]
    if "client_id" in fields or authorization:
        fields = {"grant_type": "refresh_token"} | fields
    status, body, _ = send(site, f"/oauth/{endpoint}", fields, Authorization=authorization)
    assert (status in {400, 401}, json.loads(body)["error"]) == (True, reason)
    line = read_refusal(log)
    assert (line["security_event"], line["reason"]) == ("authentication_failed", reason)
    assert (line["method"], line["resource"]) == ("POST", f"/oauth/{endpoint}")
    assert (line["source_ip"], line["request_id"]) == (site.address, "request-1")
    assert line.get("attempted_client") == client_id
    assert CODA not in log.getvalue()


def test_what_is_only_malformed_or_early_at_an_endpoint_of_oauth_is_no_attempt(site, log):
    _, body, _ = send(site, "/oauth/device_authorization", {"client_id": CLI_CLIENT_ID})
    waiting = by_cli(DEVICE_GRANT, device_code=json.loads(body)["device_code"])
    assert json.loads(send(site, "/oauth/token", waiting)[1])["error"] == "authorization_pending"
    assert json.loads(send(site, "/oauth/token", by_cli("nothing"))[1])["error"] == "unsupported_grant_type"
    assert not [line for line in read_lines(log) if line["message"] == "security"]


def test_what_fails_on_a_page_of_oauth_names_the_person(site, log):
    cookie = {"Cookie": f"{SESSION_COOKIE}={site.world.cookie}"}
    page = site.ask("GET", "/device", headers=cookie)[1]
    token = re.search(r'name="form_token" value="([^"]*)"', page)[1]
    fields = {"form_token": token, "user_code": "BCDF-GHJK"}
    assert [send(site, "/device", fields, **cookie)[0] for _ in range(6)] == [404] * 5 + [429]
    assert send(site, "/device", fields | {"form_token": CODA}, **cookie)[0] == 403
    assert send(site, "/oauth/authorize", {"form_token": CODA}, **cookie)[0] == 403
    assert send(site, "/oauth/authorize", {"form_token": CODA})[0] == 403
    lines = [line for line in read_lines(log) if line["message"] == "security"]
    assert [line["reason"] for line in lines] == [
        *["wrong_user_code"] * 5,
        "too_many_guesses",
        *["form_token_invalid"] * 2,
        "signed_out",
    ]
    assert {line["actor"] for line in lines[:-1]} == {site.world.user_id}
    assert {line["security_event"] for line in lines[:-1]} == {"access_denied"}
    assert lines[-1]["security_event"] == "authentication_failed"
    assert "GHJK" not in log.getvalue()
    assert CODA not in log.getvalue()
