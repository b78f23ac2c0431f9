"""No credential reaches a log line, whatever field of a request it is in; no text makes a line of its own."""

import io
import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app
from chalicelib.runtime.http import Answer, Api
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.scrubbing import MAX_CHARACTERS, scrub, serialize
from infra.openapi.examples import EXAMPLES
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import Context, build_api, build_event, call

# Put together here: no text of this file is one.
_SECRET = "".join(map(chr, range(ord("A"), ord("A") + 26))) + "012345"
_ID = "01jd3r8m" + "2k9qv5w7x1" + "y4z6a8bc"
CANARIES = {
    "key": f"pc_{'live'}_{_ID}_" + _SECRET + "0a1b2c",
    "enrolment": f"pc_{'enrol'}_{_ID}_" + _SECRET + "0a1b2c",
    "stripe": "sk_" + "live_" + _SECRET,
    "restricted": "rk_" + "test_" + _SECRET,
    "webhook": "whsec_" + _SECRET,
    "jwt": "eyJhbGciOiJFZERTQSJ9." + _SECRET + "." + _SECRET,
    # A grant's id has no prefix here, see `build_refresh_token`.
    "refresh token": f"prt_{_ID}_" + _SECRET + "_" + "0a" * 16,
    "client secret": "pcs_" + _SECRET,  # pragma: allowlist secret
    "authorization code": "pcc_" + _SECRET,
    "session": f"ses_{_ID}." + _SECRET,
    "invitation": f"acc_{_ID}.inv_{_ID}." + "0a1b" * 16,
    # Of a sign-up, a reset, another address, a sign-in elsewhere; a browser that is known.
    "mailed": _SECRET[:16] + _SECRET[:10].lower() + _SECRET[26:],
    "mailed, without a digit": _SECRET[:20] + _SECRET[:12].lower(),
    "device code": _SECRET[:20] + _SECRET[:22].lower(),
    "user code": "BCDF-" + "GHJK",
    "recovery code": "abcdef-ghijkl-" + "mnopqr-stuvw2",
    "app": _SECRET[:26] + "234567",
}
#: What goes into each place of each request at once: all of it in one text.
PLANTED = (
    *((kind,) for kind in ("key", "enrolment", "stripe", "restricted", "webhook", "jwt")),
    ("refresh token", "client secret", "authorization code", "device code", "user code"),
    ("session", "invitation", "mailed", "mailed, without a digit", "recovery code", "app"),
)
#: What makes a line of its own, or colours a terminal.
INJECTED = 'x\r\n{"level":"FORGED"}\x1b[31m\u2028\x00'


@pytest.fixture
def lines(monkeypatch):
    stream = io.StringIO()
    for handler in get_logger().handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return stream


def plant(value, canary):
    """Yield copies of a body with ``canary`` in the place of one text each, and once as a name."""
    if isinstance(value, dict):
        yield {**value, canary: 1}
        for key, each in value.items():
            for planted in plant(each, canary):
                yield {**value, key: planted}
    elif isinstance(value, list):
        for index, each in enumerate(value):
            for planted in plant(each, canary):
                yield [*value[:index], planted, *value[index + 1 :]]
    elif isinstance(value, str):
        yield canary


FORM_FIELDS = (
    *("grant_type", "client_id", "client_secret", "refresh_token", "code", "device_code", "code_verifier"),
    *("token", "user_code", "password", "email", "name", "form", "next", "organisation", "provider"),
)
HEADERS = ("Cookie", "X-Request-Id", "Idempotency-Key", "User-Agent", "Content-Type", "If-Match")


def list_requests(operation, canary):
    """Yield what differs from a good request: the canary in one place each."""
    parameters = {part[1:-1]: "x" for part in operation.path.split("/") if part.startswith("{")}
    examples = EXAMPLES.get(operation.body.__name__, {}) if operation.body else {}
    good = {
        "headers": {"Authorization": "Bearer renter", "Idempotency-Key": "k"},
        "parameters": parameters,
        "body": next(iter(examples.values()), None),
    }
    yield good | {"headers": {"Authorization": f"Bearer {canary}"}}
    for name in HEADERS:
        yield good | {"headers": {**good["headers"], name: canary}}
    for name in parameters:
        yield good | {"parameters": {**parameters, name: canary}}
    for name in {canary, *operation.query}:
        yield good | {"query": {name: [canary]}}
    for planted in plant(good["body"], canary):
        yield good | {"body": planted}
    if operation.method == "POST" and operation.body is None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for fields in (dict.fromkeys(FORM_FIELDS, canary), {canary: "x"}, {"token": f"x{canary}"}):
            yield good | {"headers": good["headers"] | headers, "raw": urlencode(fields)}


def list_events(canary):
    """Yield a request for each place of each route in which a caller may write something."""
    for api in app.APIS:
        for operation in api.operations:
            for parts in list_requests(operation, canary):
                yield build_event(operation.method, operation.path, **parts)


@pytest.mark.parametrize("kinds", PLANTED, ids=lambda kinds: kinds[0])
def test_no_field_of_any_request_writes_a_credential_into_the_log(monkeypatch, lines, kinds):
    Platform(monkeypatch)
    canaries = [CANARIES[kind] for kind in kinds]
    asked = 0
    for event in list_events(" ".join(canaries)):
        app.app(event, Context())
        asked += 1
    written = lines.getvalue()
    assert asked > 1000
    assert len(written.splitlines()) >= asked
    assert not [canary for canary in canaries if canary in written]
    assert _SECRET not in written


def test_every_kind_is_planted():
    assert sorted(kind for kinds in PLANTED for kind in kinds) == sorted(CANARIES)


@pytest.mark.parametrize("kind", CANARIES)
def test_an_error_that_tells_a_credential_is_logged_without_it(lines, kind):
    def declare(api: Api) -> None:
        @api.route("GET", "/v1/things", permission="things:read")
        def list_things(request):
            raise RuntimeError(f"cannot use '{CANARIES[kind]}' here")

        @api.route("GET", "/v1/others", permission="things:read")
        def list_others(request):
            get_logger().warning("seen", extra={"headers": {"Cookie": "a=b"}, "given": [CANARIES[kind]]})
            return Answer("{}")

    tested = build_api(declare)
    assert call(tested, build_event("GET", "/v1/things"))[0] == 500
    assert call(tested, build_event("GET", "/v1/others"))[0] == 200
    assert "cannot use" in lines.getvalue()
    assert CANARIES[kind] not in lines.getvalue()
    assert _SECRET not in lines.getvalue()
    assert "a=b" not in lines.getvalue()


def test_no_text_ends_a_line_or_colours_it(lines):
    get_logger().warning(INJECTED, extra={"given": INJECTED, INJECTED: 1})
    written = lines.getvalue()
    assert written.count("\n") == 1
    assert written.isascii()
    assert not any(ord(each) < 32 for each in written.rstrip("\n"))
    assert json.loads(written)["message"] == INJECTED


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdefgh", "Authorization: [removed]"),
        ("{'cookie': 'session=abc; b=c'}", "{'cookie': '[removed]'}"),
        ("sent basic dXNlcjpwYXNz again", "sent basic [removed] again"),
        ("AKIA" + "A" * 16, "[aws]"),
        ("rental rent_01jd3r8m2k9qv5w7x1y4z6a8bc ended", "rental rent_01jd3r8m2k9qv5w7x1y4z6a8bc ended"),
        ("grant_type=password&password=hunter22&x=1", "grant_type=password&password=[removed]&x=1"),
        ("/verify?token=abcdef123456 was asked for", "/verify?token=[removed] was asked for"),
        ("next=%2Freset%3Ftoken%3D" + "aB3d" * 8, "next=%2Freset%3Ftoken%[text]"),
        (
            '{"client_secret": "abcdef1", "x": 1}',  # pragma: allowlist secret
            '{"client_secret": "[removed]", "x": 1}',  # pragma: allowlist secret
        ),
        ("{'device_code': 'abcdef1'}", "{'device_code': '[removed]'}"),
        ("code=123456&state=x", "code=[removed]&state=x"),
        ("[{'Code': 'ConditionalCheckFailed'}]", "[{'Code': 'ConditionalCheckFailed'}]"),
        ("a digest " + "0a1b" * 16, "a digest " + "0a1b" * 16),
        ("a ProvisionedThroughputExceededException", "a ProvisionedThroughputExceededException"),
        ("error_code=ConditionalCheckFailed", "error_code=ConditionalCheckFailed"),
        ("exit code 1, bad token, no secret", "exit code 1, bad token, no secret"),
        ("request 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "request 1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
    ],
)
def test_what_is_removed_says_what_it_was(text, left):
    assert scrub(text) == left


@given(st.text(max_size=200), st.sampled_from(sorted(CANARIES)), st.text(max_size=200))
def test_wherever_it_stands_it_is_found(before, kind, after):
    assert CANARIES[kind] not in serialize({"message": before + CANARIES[kind] + after})


def test_a_long_text_is_cut_before_anything_looks_at_it():
    assert len(scrub("x" * 10 * MAX_CHARACTERS)) == MAX_CHARACTERS


ADVERSARIAL = (
    *("pc_live_", "sk_live_", "eyJ", "eyJaaaaaaaa.", ".", "a.", "A", "="),
    *("cookie", "cookie: ", "bearer ", " \t" * 3),
    *(
        "prt_",
        "ses_" + "0" * 26 + ".",
        "BCDF-",
        "abcdef-",
        "Aa",
        "token",
        "token=",
        "'token': '",
        " code=",
        "a1",
    ),
)


@pytest.mark.parametrize("text", ADVERSARIAL)
def test_the_patterns_take_time_in_proportion_to_the_text(text):
    """Four times the text takes some four times the time; one that backtracks would take sixteen."""

    def measure(characters):
        given = (text * characters)[:characters]
        return min(_measure_once(given) for _ in range(5))

    assert measure(MAX_CHARACTERS) < 12 * max(measure(MAX_CHARACTERS // 4), 0.0001)


def _measure_once(text):
    start = time.process_time()
    scrub(text)
    return time.process_time() - start
