"""Whatever a body may hold is bounded: every text, list and map; and patterns take linear time."""

import gzip
import json

import pydantic_core
import pytest
from pydantic import BaseModel

import app
from chalicelib.runtime.bodies import MAX_BODY_BYTES, RequestBody, parse_body
from chalicelib.runtime.http import Answer, Api
from infra.openapi.examples import EXAMPLES
from infra.openapi.schemas import build_schemas
from tests.unit.runtime.gateway import build_api, build_event, call


def list_models(model):
    for each in model.__subclasses__():
        yield each
        yield from list_models(each)


MODELS = sorted(
    {each for each in list_models(RequestBody) if each.__module__.startswith("chalicelib.")},
    key=lambda each: (each.__module__, each.__name__),
)
_, SCHEMAS = build_schemas(MODELS, [])


def walk(schema, where):
    if isinstance(schema, dict):
        yield where, schema
        for name, each in schema.items():
            yield from walk(each, f"{where}/{name}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from walk(each, f"{where}/{number}")


def find_unbounded(schema, where):
    for place, each in walk(schema, where):
        kind = each.get("type")
        if kind == "string" and not {"maxLength", "enum", "const"} & set(each):
            yield f"{place}: a text of any length"
        if kind == "array" and "maxItems" not in each:
            yield f"{place}: a list of any length"
        is_map = each.get("additionalProperties") or "patternProperties" in each
        if kind == "object" and is_map and "maxProperties" not in each:
            yield f"{place}: a map of any size"
        named = {"properties", "patternProperties", "additionalProperties"}
        if kind == "object" and not named & set(each):
            yield f"{place}: anything"


def test_every_body_of_a_route_is_one_of_these():
    bodies = {operation.body for api in app.APIS for operation in api.operations if operation.body}
    assert bodies <= set(MODELS)
    assert len(bodies) > 30


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_no_text_list_or_map_of_a_body_is_unbounded(name):
    assert list(find_unbounded(SCHEMAS[name], name)) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "string"}}},
        {"properties": {"a": {"anyOf": [{"type": "string", "pattern": "^a+$"}, {"type": "null"}]}}},
        {"properties": {"a": {"type": "array", "items": {"type": "integer"}}}},
        {"properties": {"a": {"type": "object", "additionalProperties": {"type": "integer"}}}},
        {"properties": {"a": {"type": "object"}}},
    ],
)
def test_one_that_is_unbounded_is_seen(schema):
    assert len(list(find_unbounded(schema, "X"))) == 1


PATTERNS = sorted(
    {
        each["pattern"]
        for schema in SCHEMAS.values()
        for _, each in walk(schema, "")
        if isinstance(each.get("pattern"), str)
    }
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_one_of_an_engine_that_never_backtracks(pattern):
    """pydantic's engine, Rust's regex, is linear by construction and takes no pattern that would not be."""
    schema = pydantic_core.core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    pydantic_core.SchemaValidator(schema)
    # Only an engine that backtracks has these.
    for backtracking in (f"(?={pattern})", f"({pattern})\\1"):
        beyond = pydantic_core.core_schema.str_schema(pattern=backtracking, regex_engine="rust-regex")
        with pytest.raises(pydantic_core.SchemaError):
            pydantic_core.SchemaValidator(beyond)


def test_there_are_patterns_and_every_model_uses_that_engine():
    assert len(PATTERNS) > 10
    assert {model.model_config.get("regex_engine", "rust-regex") for model in MODELS} == {"rust-regex"}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_of_each_body_fits(name):
    for value in EXAMPLES[name].values():
        assert len(json.dumps(value).encode()) < MAX_BODY_BYTES // 8


def list_bounded(model: type[BaseModel]):
    """Yield (field, length at most) of the texts directly in a model."""
    for field, schema in SCHEMAS.get(model.__name__, {}).get("properties", {}).items():
        for each in (schema, *schema.get("anyOf", ())):
            if each.get("type") == "string" and "maxLength" in each:
                yield field, each["maxLength"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_one_character_more_is_refused(model):
    from chalicelib.core.errors import InvalidInput

    example = next(iter(EXAMPLES.get(model.__name__, {}).values()), None)
    if example is None:
        return
    for field, length in list_bounded(model):
        raw = json.dumps({**example, field: "a" * (length + 1)}).encode()
        with pytest.raises(InvalidInput) as refused:
            parse_body(raw, model)
        assert field in {each["field"] for each in refused.value.extra["errors"]}


class ThingRequest(RequestBody):
    count: int


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "identity, gzip", "zstd"])
def test_a_compressed_body_is_refused_and_never_unpacked(encoding):
    seen = []

    def declare(api: Api) -> None:
        @api.route("POST", "/v1/things", permission="things:read", body=ThingRequest)
        def create_thing(request):
            seen.append(request)
            return Answer("{}")

    event = build_event(
        "POST", "/v1/things", raw=gzip.compress(b'{"count": 1}'), headers={"Content-Encoding": encoding}
    )
    status, body, _ = call(build_api(declare), event)
    assert (status, body["code"]) == (415, "unsupported_media_type")
    assert seen == []
    event = build_event("POST", "/v1/things", body={"count": 1}, headers={"Content-Encoding": "identity"})
    assert call(build_api(declare), event)[0] == 200
