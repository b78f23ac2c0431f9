"""Swagger UI and ReDoc are served by us alone, under a policy that a browser finds nothing against."""

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

import app
from chalicelib.runtime import assets
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.assets import LICENCES, SOURCES, read_asset
from infra.cdk.bytecode import prepare_archive
from tests.unit.runtime.gateway import Context, build_event
from tests.unit.runtime.served import serve

CHROMIUM = Path("/usr/bin/chromium")
#: What Lambda answers at most, as JSON.
MAX_ANSWER_BYTES = 6 * 1024 * 1024
PAGES = ("/docs", "/redoc")
#: What shows an operation, by page.
OPERATIONS = {"/docs": ".opblock", "/redoc": "[data-section-id^='operation/']"}
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


def ask(resource, headers=None, **parameters):
    answer = app.app(build_event("GET", resource, headers=headers, parameters=parameters), Context())
    return answer["statusCode"], answer["body"], answer["headers"]


def list_addresses(page):
    return re.findall(r'(?:src|href)="([^"]+)"', page)


@pytest.mark.parametrize("route", PAGES)
def test_a_page_takes_everything_from_beside_itself_and_obeys_its_nonce_alone(route):
    status, page, headers = ask(route)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert re.search(r"script-src 'nonce-(\w{32})';", policy)[1] in page
    assert re.search(r"nonce-(\w{32})", policy)[1] not in ask(route)[1]
    assert all(each == "data:," or each.startswith("assets/") for each in list_addresses(page))
    assert len(re.findall(r"<(?:script|style)\b", page)) == len(re.findall(r"<(?:script|style) nonce=", page))


def test_every_asset_that_a_page_names_is_there_and_may_be_kept_for_ever():
    named = {each for route in PAGES for each in list_addresses(ask(route)[1]) if each != "data:,"}
    assert len(named) == len(SOURCES)
    for address in named:
        status, text, headers = ask("/assets/{name}", name=address.removeprefix("assets/"))
        assert status == 200
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Type"].startswith(
            "text/css" if address.endswith(".css") else "text/javascript"
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert digest in address
        assert headers["ETag"] == f'"{digest}"'
        known = ask(
            "/assets/{name}", {"If-None-Match": headers["ETag"]}, name=address.removeprefix("assets/")
        )
        assert known[:2] == (304, "")


@pytest.mark.parametrize(
    "name",
    [
        "swagger-ui.css",
        "swagger-ui.0000000000000000.css",
        "..%2Fopenapi.json",
        "openapi.json",
        "other.js",
        "x",
    ],
)
def test_nothing_else_is_an_asset(name):
    status, body, _ = ask("/assets/{name}", name=name)
    assert (status, json.loads(body)["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", [*SOURCES, *LICENCES])
def test_an_asset_fits_into_an_answer(name):
    found = read_asset(name)
    assert len(json.dumps({"body": found.text}).encode()) < MAX_ANSWER_BYTES


def test_an_archive_has_the_assets_with_their_licences_and_nothing_of_their_package(tmp_path, monkeypatch):
    path = tmp_path / "deployment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chalicelib/runtime/assets.py", "")
    prepare_archive(path)
    once = path.read_bytes()
    prepare_archive(path)
    assert path.read_bytes() == once
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith((".py", ".pyc"))}
        assert names == {f"chalicelib/runtime/assets/{name}" for name in (*SOURCES, *LICENCES)}
        archive.extractall(tmp_path)
    # A function has no such package: what was packaged is what is served.
    monkeypatch.setattr(assets, "FOLDER", tmp_path / "chalicelib/runtime/assets")
    monkeypatch.setattr(assets, "PACKAGE", "no_such_package")
    read_asset.cache_clear()
    assert all(read_asset(name).text for name in (*SOURCES, *LICENCES))
    read_asset.cache_clear()


def test_an_archive_without_the_application_gets_none(tmp_path):
    path = tmp_path / "layer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("python/library.py", "")
    prepare_archive(path)
    with zipfile.ZipFile(path) as archive:
        assert not any("assets" in name for name in archive.namelist())


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}, which is not there")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


def scroll_through(page, selector):
    """Return the texts that pass by: of a long list Swagger UI keeps only what is in view."""
    seen, unchanged = set(), 0
    while unchanged < 20:
        before = len(seen)
        seen |= set(page.locator(selector).all_inner_texts())
        page.mouse.wheel(0, 700)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        unchanged = 0 if len(seen) > before else unchanged + 1
    return seen


@pytest.mark.parametrize("route", PAGES)
def test_a_browser_shows_every_operation_and_has_nothing_to_object_to(browser, route):
    documented = sum(len(each) for each in json.loads(DOCUMENT.read_text())["paths"].values())
    complaints, asked = [], []
    with serve() as url:
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(WATCH)
        page.goto(url + route)
        page.locator(OPERATIONS[route]).first.wait_for(timeout=60_000)
        if route == "/docs":
            page.locator(".opblock-summary-control").first.click()
            page.locator(".opblock-body").first.wait_for()
            page.locator(".opblock-summary-control").first.click()
            assert len(scroll_through(page, ".opblock-summary")) == documented
        else:
            assert page.locator(OPERATIONS[route]).count() == documented
        assert page.evaluate("window.violations") == []
        page.close()
    assert complaints == []
    assert all(each.startswith((url, "data:")) for each in asked)
