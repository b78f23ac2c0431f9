"""The API's document: whole, of the rules of OpenAPI 3.1, and what routes, bodies and client say."""

import json
import re
from http import HTTPStatus

import pytest

import app
from chalicelib.core.errors import Conflict
from chalicelib.rentals.schemas import CreateRentalRequest
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.bodies import INSTANT_SCHEMA, RequestBody, ResponseBody, parse_body
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_choice
from chalicelib.runtime.request_parts import ANY_QUERY
from infra import checks
from infra.openapi import problems, protocol
from infra.openapi.document import render_document
from infra.openapi.examples import EXAMPLES, PARAMETERS
from infra.openapi.views import Undetermined
from provocative.operations import OPERATIONS
from tests.unit.infra.json_schema import ANNOTATIONS, CHECKS, find_faults, resolve
from tests.unit.provocative.test_client import MACHINES

CONTRACT = json.loads(DOCUMENT.read_text())
ROUTES = {(operation.method, operation.path): operation for api in app.APIS for operation in api.operations}
WRITTEN = {
    (method.upper(), path): operation
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
}
BODIES = {operation.body.__name__: operation.body for operation in ROUTES.values() if operation.body}
#: Keywords that hold schemas, by how they hold them.
HOLD_ONE = {"items", "additionalProperties", "propertyNames"}
HOLD_MANY = {"anyOf", "prefixItems"}
HOLD_NAMED = {"properties", "patternProperties"}
SIZES = ("s", "m")


class ThingRequest(RequestBody):
    count: int


class ThingBody(ResponseBody):
    count: int


def walk(value, where="#"):
    yield where, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from walk(each, f"{where}/{key}")


def test_it_is_what_the_routes_say_and_a_drift_is_told_with_its_remedy(monkeypatch):
    assert list(checks.check_api_document()) == []
    monkeypatch.setattr(checks, "render_document", lambda _apis: "{}\n")
    assert list(checks.check_api_document()) == [
        "chalicelib/runtime/openapi.json is not what the routes say; run `make openapi`"
    ]


def test_the_same_routes_give_the_same_bytes_in_whatever_order_they_are_declared():
    assert render_document(tuple(reversed(app.APIS))) == render_document(app.APIS)
    assert DOCUMENT.read_bytes().endswith(b"}\n")


def test_it_names_every_route_with_its_permission_and_nothing_else():
    assert set(WRITTEN) == set(ROUTES)
    for route, operation in WRITTEN.items():
        declared = ROUTES[route]
        assert operation["x-permission"] == declared.permission
        assert operation["operationId"] == declared.name
        assert operation["summary"]
        assert operation["security"] == ([] if declared.permission is None else [{"key": []}]) or (
            route == ("POST", "/v1/hosts") and operation["security"] == [{"enrolment": []}]
        )


def test_it_and_the_client_know_the_same_operations():
    assert {(each.method, each.path) for each in OPERATIONS} == set(WRITTEN) - MACHINES
    keyed = {
        route
        for route, operation in WRITTEN.items()
        if any(each["name"] == "Idempotency-Key" for each in operation["parameters"])
    }
    assert keyed == {(each.method, each.path) for each in OPERATIONS if each.keyed}


def test_every_operation_has_an_id_and_a_tag_that_are_declared_once():
    ids = [operation["operationId"] for operation in WRITTEN.values()]
    assert len(ids) == len(set(ids))
    tags = [tag["name"] for tag in CONTRACT["tags"]]
    assert len(tags) == len(set(tags))
    assert {tag for operation in WRITTEN.values() for tag in operation["tags"]} == set(tags)


def test_no_reference_dangles_and_every_component_is_used():
    references = {value["$ref"] for _, value in walk(CONTRACT) if isinstance(value, dict) and "$ref" in value}
    for reference in references:
        assert reference.startswith("#/components/")
        resolve(reference, CONTRACT)
    kept = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in CONTRACT["components"][kind]
    }
    assert kept == references
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name.rpartition("/")[2]) for name in kept)


def test_parameters_of_paths_are_declared_and_no_parameter_twice():
    for (_, path), operation in WRITTEN.items():
        places = [(each["in"], each["name"]) for each in operation["parameters"]]
        assert len(places) == len(set(places))
        assert [name for place, name in places if place == "path"] == re.findall(r"{(\w+)}", path)
        for each in operation["parameters"]:
            assert each["in"] != "path" or each["required"] is True
            assert each["schema"]["type"] in {"string", "integer"}


def test_queries_are_those_of_the_routes_with_what_is_read_of_them():
    for route, operation in WRITTEN.items():
        given = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
        # What OAuth defines is read by its library.
        known = ROUTES[route].query - ANY_QUERY | set(protocol.QUERIES.get(ROUTES[route].name, ()))
        assert given == known
    starts = {each["name"]: each for each in WRITTEN["GET", "/v1/carbon/best-starts"]["parameters"]}
    assert starts["deadline"]["schema"] == INSTANT_SCHEMA
    assert starts["signal"]["schema"] == {
        "type": "string",
        "enum": ["average", "marginal"],
        "default": "average",
    }
    assert {name for name, each in starts.items() if each.get("required")} == {
        "region",
        "duration_seconds",
        "deadline",
    }
    named = {each["name"] for operation in WRITTEN.values() for each in operation["parameters"]}
    assert set(PARAMETERS) <= named


def test_every_schema_uses_words_of_json_schema_alone_each_in_its_form():
    schemas = [
        value["schema"] for _, value in walk(CONTRACT) if isinstance(value, dict) and "schema" in value
    ]
    waiting = [*CONTRACT["components"]["schemas"].values(), *schemas]
    assert len(waiting) > len(WRITTEN)
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, bool):
            continue
        assert set(schema) <= ANNOTATIONS | set(CHECKS), schema
        waiting += [schema[word] for word in HOLD_ONE & set(schema)]
        waiting += [each for word in HOLD_MANY & set(schema) for each in schema[word]]
        waiting += [each for word in HOLD_NAMED & set(schema) for each in schema[word].values()]
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
        for pattern in [schema.get("pattern", ""), *schema.get("patternProperties", ())]:
            re.compile(pattern)


def test_json_schema_finds_it_valid():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, which is no requirement")
    for schema in CONTRACT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_body_has_examples_that_the_api_takes_and_the_schema_too():
    assert set(EXAMPLES) == set(BODIES)
    for name, examples in EXAMPLES.items():
        assert examples, name
        for each in examples.values():
            parse_body(json.dumps(each).encode(), BODIES[name])
            faults = list(find_faults(CONTRACT["components"]["schemas"][name], each, CONTRACT))
            assert not faults, (name, faults)


def test_examples_of_a_start_are_whole_but_for_what_a_template_gives():
    for each in EXAMPLES["RentalForm"].values():
        template = {"gpu_type": "H100", "image": "busybox"} if "template_id" in each else {}
        start = CreateRentalRequest.model_validate({**template, **each})
        assert start.gpu_type == {**template, **each}["gpu_type"]


def test_instants_of_requests_are_texts_and_comments_of_fields_are_told():
    schemas = CONTRACT["components"]["schemas"]
    assert schemas["CreateReservationRequest"]["properties"]["starts_at"] == INSTANT_SCHEMA
    assert schemas["WalletBody"]["properties"]["available_micros"]["description"] == (
        "What a new start may hold: posted - held."
    )


def test_two_slices_may_call_bodies_by_the_same_name():
    schemas = CONTRACT["components"]["schemas"]
    assert "version" in schemas["BillingEntryBody"]["properties"]
    assert "version" not in schemas["RemovalsEntryBody"]["properties"]
    assert "EntryBody" not in schemas


def test_refusals_are_problem_documents_with_the_codes_of_the_code():
    responses = CONTRACT["components"]["responses"]
    for operation in WRITTEN.values():
        refused = {status for status in operation["responses"] if int(status) >= HTTPStatus.BAD_REQUEST}
        assert {"400", "429", "500", "503"} <= refused
        assert ({"401", "403", "404"} <= refused) >= (operation["security"] != [])
        assert ("422" in refused) == any(
            each["name"] == "Idempotency-Key" for each in operation["parameters"]
        )
    for name, each in responses.items():
        beside = {"OAuth": ["application/json"], "Page": ["text/html"]}
        others = next((types for prefix, types in beside.items() if name.startswith(prefix)), [])
        assert list(each["content"]) == ["application/problem+json", *others]
    assert "no_capacity" in responses["Conflict"]["x-codes"]
    assert "budget_exhausted" in responses["PaymentRequired"]["x-codes"]
    assert "bad_signature" in responses["BadRequest"]["x-codes"]
    assert "locked" in responses["Conflict"]["x-codes"]
    assert Conflict.code in responses["Conflict"]["x-codes"]


def test_a_code_that_is_no_constant_is_an_error_where_nobody_says_what_it_may_be(monkeypatch):
    monkeypatch.setattr(problems, "_REFUSING_MODULE", DOCUMENT)
    with pytest.raises(Undetermined, match=r"rentals/model\.py raises refusal"):
        problems.list_codes()


@pytest.mark.parametrize(
    ("route", "statuses", "media_type"),
    [
        (("POST", "/v1/rentals"), {"201"}, "application/json"),
        (("POST", "/v1/hosts"), {"200", "201"}, "application/json"),
        (("DELETE", "/v1/api-keys/{key_id}"), {"204"}, None),
        (("POST", "/v1/rentals/{rental_id}/logs"), {"202"}, "application/json"),
        (("GET", "/v1/certificates/{serial}/page"), {"200"}, "text/html"),
        (("GET", "/openapi.json"), {"200", "304"}, "application/json"),
    ],
)
def test_an_answer_has_its_statuses_and_its_media_type(route, statuses, media_type):
    responses = {status: each for status, each in WRITTEN[route]["responses"].items() if status < "4"}
    assert set(responses) == statuses
    contents = [each["content"] for status, each in responses.items() if status < "204"]
    assert all(list(each) == [media_type] for each in contents)


def declare(view, *, body=None, query=frozenset(), method="GET"):
    api = Api("chalicelib.accounts.api", lambda _token: None)
    api.route(method, "/v1/things", permission="things:read", body=body, query=query)(view)
    return (api,)


def unannotated(call):
    """Show a thing."""
    return Answer(ThingBody(count=1))


def of_no_body(call) -> Answer[dict]:
    """Show a thing."""
    return Answer({"count": 1})


def with_a_hidden_status(call) -> Answer[ThingBody]:
    """Show a thing."""
    return Answer(ThingBody(count=1), find_status())


def said_to_be_empty(call) -> Answer[None]:
    """Show a thing."""
    return Answer(ThingBody(count=1))


def silent(call) -> Answer[ThingBody]:
    return Answer(ThingBody(count=1))


def reading_one(call) -> Answer[ThingBody]:
    """Show a thing."""
    read_choice(call.query, "size", SIZES)
    return Answer(ThingBody(count=1))


def reading_what_is_made_up(call) -> Answer[ThingBody]:
    """Show a thing."""
    read_choice(call.query, "size", tuple("sm"))
    return Answer(ThingBody(count=1))


def by_another_name(request: Call) -> Answer[ThingBody]:
    """Show a thing."""
    return Answer(ThingBody(count=len(request.idempotency_key)))


def find_status():
    return HTTPStatus.OK


@pytest.mark.parametrize(
    ("view", "declared", "told"),
    [
        (unannotated, {}, "unannotated is not annotated with what it answers"),
        (of_no_body, {}, "an answer that is no body"),
        (with_a_hidden_status, {}, "a status that is not to be seen"),
        (said_to_be_empty, {}, "another answer than it gives"),
        (by_another_name, {}, "by_another_name calls its Call request"),
        (silent, {}, "silent says nothing of itself"),
        (reading_one, {}, "['size'], and not both"),
        (reading_one, {"query": PAGING}, "['cursor', 'limit', 'size'], and not both"),
        (reading_what_is_made_up, {"query": frozenset({"size"})}, "is no constant of its module"),
        (reading_one, {"query": frozenset({"size"}), "body": ThingRequest}, "ThingRequest has no example"),
    ],
)
def test_what_cannot_be_seen_of_a_route_is_an_error_and_no_guess(view, declared, told):
    with pytest.raises(Undetermined, match=re.escape(told)):
        render_document(declare(view, **declared))


def test_what_is_seen_of_a_route_is_written_down():
    text = render_document(declare(reading_one, query=frozenset({"size"})))
    operation = json.loads(text)["paths"]["/v1/things"]["get"]
    assert operation["parameters"] == [
        {"name": "size", "in": "query", "schema": {"type": "string", "enum": ["s", "m"]}}
    ]


def test_what_oauth_refuses_has_the_shape_of_oauth_and_what_a_page_refuses_is_a_page():
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/device_authorization"):
        operation = CONTRACT["paths"][path]["post"]
        assert list(operation["requestBody"]["content"]) == ["application/x-www-form-urlencoded"]
        assert {"200", "400", "401", "429"} <= set(operation["responses"])
        assert operation["responses"]["401"] == {"$ref": "#/components/responses/OAuthUnauthorized"}
    for path in ("/oauth/authorize", "/device"):
        for operation in CONTRACT["paths"][path].values():
            assert "content" not in operation["responses"]["303"]
            assert "Location" in operation["responses"]["303"]["headers"]
            assert operation["responses"]["403"] == {"$ref": "#/components/responses/PageForbidden"}
