"""What a browser and its pages may do: headers of every answer, origins by name, methods that there are."""

import json
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

import app
from chalicelib.runtime import cross_origin
from chalicelib.runtime.settings import Settings
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import Context, build_event

ORIGIN = "https://console.example.com"
OPERATIONS = [operation for api in app.APIS for operation in api.operations]
PATHS = sorted({operation.path for operation in OPERATIONS})
FOREIGN = (
    "https://evil.example.com",
    "http://console.example.com",
    "https://console.example.com:8443",
    "https://console.example.com.evil.com",
    "https://evil.com/https://console.example.com",
    "https://CONSOLE.example.com",
    "null",
    "*",
    "",
)


@pytest.fixture
def _origins(monkeypatch):
    monkeypatch.setattr(cross_origin, "get_settings", lambda: SimpleNamespace(allowed_origins=ORIGIN))
    cross_origin.read_origins.cache_clear()
    yield
    cross_origin.read_origins.cache_clear()


@pytest.fixture
def _nobody(monkeypatch):
    monkeypatch.setattr(cross_origin, "get_settings", lambda: SimpleNamespace(allowed_origins=""))
    cross_origin.read_origins.cache_clear()
    yield
    cross_origin.read_origins.cache_clear()


def ask(method, path, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    parameters = {part[1:-1]: "x" for part in path.split("/") if part.startswith("{")}
    answer = app.app(build_event(method, path, headers=sent, parameters=parameters), Context())
    found = {name.lower(): values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
    return answer["statusCode"], found | {name.lower(): value for name, value in answer["headers"].items()}


@pytest.mark.usefixtures("_origins")
@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_says_the_methods_of_its_path_and_needs_no_key(path):
    status, headers = ask("OPTIONS", path, Origin=ORIGIN, Authorization="")
    methods = sorted(operation.method for operation in OPERATIONS if operation.path == path)
    assert status == 204
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["access-control-allow-methods"] == ", ".join(methods) == headers["allow"]
    assert {"Authorization", "If-Match"} <= set(headers["access-control-allow-headers"].split(", "))
    assert "access-control-allow-credentials" not in headers
    assert headers["vary"] == "Origin"
    assert headers["strict-transport-security"]


@pytest.mark.usefixtures("_origins")
@pytest.mark.parametrize("origin", FOREIGN)
def test_an_origin_that_is_not_named_exactly_is_told_nothing(monkeypatch, origin):
    Platform(monkeypatch)
    for method in ("GET", "OPTIONS"):
        _, headers = ask(method, "/v1/wallet", Origin=origin, Authorization="Bearer renter")
        assert not [name for name in headers if name.startswith("access-control-")]
        assert headers["vary"] == "Origin"


@pytest.mark.usefixtures("_nobody")
def test_nobody_is_named_unless_a_stage_does():
    assert not [name for name in ask("OPTIONS", "/v1/wallet", Origin=ORIGIN)[1] if name.startswith("access-")]


@pytest.mark.usefixtures("_origins")
def test_a_page_of_a_named_origin_reads_answers_and_refusals(monkeypatch):
    Platform(monkeypatch)
    for authorization, wanted in (("Bearer renter", 200), ("", 401)):
        status, headers = ask("GET", "/v1/wallet", Origin=ORIGIN, Authorization=authorization)
        assert status == wanted
        assert headers["access-control-allow-origin"] == ORIGIN
        assert "ETag" in headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    "value", ["*", "https://*.example.com", "https://a.example/path", "a.example", "null"]
)
def test_a_setting_that_is_no_origin_does_not_start(value):
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"allowed_origins": value})
    assert any(each["loc"] == ("allowed_origins",) for each in refused.value.errors())


@pytest.mark.parametrize("value", ["", ORIGIN, f"{ORIGIN} http://localhost:5173"])
def test_a_setting_of_origins_is_taken(value):
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"allowed_origins": value})
    assert not any(each["loc"] == ("allowed_origins",) for each in refused.value.errors())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_answer_has_the_headers_that_keep_a_browser_in_line(operation):
    _, headers = ask(operation.method, operation.path, Authorization="")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert headers["cache-control"]
    assert headers["x-request-id"] == "request-1"
    if headers["content-type"].startswith("text/html"):
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    elif operation.permission is not None:
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "HEAD", "PROPFIND", "get"])
@pytest.mark.parametrize("path", ["/v1/wallet", "/v1/rentals", "/openapi.json", "/docs"])
def test_a_method_that_is_not_declared_does_nothing(method, path):
    answer = app.app(build_event(method, path), Context())
    assert answer["statusCode"] == 405
    assert "Bearer" not in json.dumps(answer["body"])
