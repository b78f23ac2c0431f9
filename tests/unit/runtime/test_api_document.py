"""The API's document is served by itself: cached, and without any slice."""

import json

import pytest

import app
from chalicelib.runtime.api_document import DOCUMENT
from tests.unit.runtime.contract import hold_to_document
from tests.unit.runtime.gateway import build_event, call

ROUTE = "/openapi.json"


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


PROBLEM = {
    "type": "urn:provocative:problem:not_found",
    "title": "Not Found",
    "status": 404,
    "code": "not_found",
    "detail": "There is no such thing.",
    "request_id": "request-1",
}


def build_answer(status, body, media_type="application/json"):
    return {"statusCode": status, "headers": {"Content-Type": media_type}, "body": json.dumps(body)}


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (build_answer(201, {}), "read_log may not answer 201"),
        (build_answer(200, {}, "text/html"), "answers 200 as text/html"),
        (build_answer(200, {"taken_at": "now", "text": "", "truncated": 1}), "truncated is no boolean"),
        (build_answer(200, {"taken_at": "now", "text": ""}), "truncated is missing"),
        (build_answer(404, PROBLEM), "answers 404 as application/json"),
        (build_answer(404, PROBLEM | {"code": "lost"}, "application/problem+json"), "lost of read_log"),
    ],
)
def test_an_answer_that_is_not_written_down_fails_the_test_that_got_it(answered, told):
    assert told in judge(answered)


@pytest.mark.parametrize(
    "answered",
    [
        build_answer(200, {"taken_at": "now", "text": "", "truncated": False}),
        build_answer(404, PROBLEM, "application/problem+json"),
    ],
)
def test_an_answer_that_is_written_down_passes(answered):
    assert judge(answered) == ""


def judge(answered):
    """Return why a test that got the answer fails, empty when it does not."""
    try:
        hold_to_document(build_event("GET", "/v1/rentals/{rental_id}/logs"), answered)
    except AssertionError as objection:
        return str(objection)
    return ""
