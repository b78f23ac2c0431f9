"""What is deployed is what is written down: no path and no method more, and none less."""

import json
from http import HTTPStatus

import httpx
import pytest

import app
from chalicelib.runtime.api_document import DOCUMENT
from infra.local.cloud import EmbeddedCloud
from infra.local.deploy import list_api_resources

PREFLIGHT = "OPTIONS"


def test_the_document_the_routes_and_the_deployed_api_have_the_same_operations(cloud: EmbeddedCloud) -> None:
    written = {
        (method.upper(), path)
        for path, item in json.loads(DOCUMENT.read_text())["paths"].items()
        for method in item
    }
    pages = {(each.method, each.path) for api in app.PAGES for each in api.operations}
    routes = {(method, path) for path, methods in app.app.routes.items() for method in methods}
    deployed = {
        (method, resource["path"])
        for _, resource in list_api_resources(cloud.aws)
        for method in resource["resourceMethods"]
    }
    preflights = {path for method, path in routes if method == PREFLIGHT}
    others = {path for method, path in deployed if method == "ANY"}
    assert not written & pages
    assert {each for each in routes if each[0] != PREFLIGHT} == written | pages
    assert preflights == {path for _, path in written}, "a page of another site asks before it calls"
    assert {each for each in deployed if each[0] != "ANY"} == routes
    assert others == {path for _, path in routes}, "each path says itself what it does not take"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(
    cloud: EmbeddedCloud, method: str
) -> None:
    answer = httpx.request(method, f"{cloud.api_url}/v1/hosts", timeout=30)
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert answer.headers["allow"] == "GET, OPTIONS, POST"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_preflight_needs_no_key_and_says_the_methods_of_its_path(cloud: EmbeddedCloud) -> None:
    answer = httpx.request(PREFLIGHT, f"{cloud.api_url}/v1/hosts", timeout=30)
    assert answer.status_code == HTTPStatus.NO_CONTENT
    assert answer.headers["allow"] == "GET, POST"


def test_what_is_written_down_is_what_is_served(cloud: EmbeddedCloud) -> None:
    assert httpx.get(f"{cloud.api_url}/openapi.json", timeout=30).json() == json.loads(DOCUMENT.read_text())
