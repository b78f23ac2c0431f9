"""What is refused is written down: who, what, when, from where, why; and no secret."""

import io
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aws_lambda_powertools import Logger

from chalicelib.core.errors import Forbidden
from chalicelib.core.principal import KeyLimits
from chalicelib.runtime import http, security_log
from chalicelib.runtime.http import Answer
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
