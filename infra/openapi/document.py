"""The API's document: OpenAPI 3.1, from the routes, their views and the bodies.

Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.
"""

import importlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from chalicelib.core.clock import format_instant
from chalicelib.core.principal import STEP_UP_MS
from chalicelib.runtime.http import MAX_IDEMPOTENCY_KEY, Api, Operation
from chalicelib.runtime.request_parts import MAX_PATH_PARAMETER
from infra.openapi import problems, protocol
from infra.openapi.examples import EXAMPLES, FORMS, PARAMETERS, PATH_FORMS
from infra.openapi.schemas import build_schemas, mark_down
from infra.openapi.views import Reading, Undetermined, read_view

Schema = dict[str, Any]
VERSION = "3.1.1"
_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
_PARAMETER = re.compile(r"\{(\w+)\}")
_KEY_HEADER: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Of your choice. The same key with the same body has one effect and one answer.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_IDEMPOTENCY_KEY,
        # Printable ASCII; spaces at the ends are no part of a header's value (RFC 9110, section 5.5).
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}
_TAG_HEADER: Schema = {
    "description": "The entity tag of what is answered; it changes with every member.",
    "schema": {"type": "string"},
}
_MATCH_HEADERS: dict[str, Schema] = {
    name: {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
    for name, text in (
        ("If-None-Match", "Entity tags that are known; one that still holds is answered with 304."),
        ("If-Match", "Change it only if it is still what has this entity tag."),
    )
}
_SECURITY: Schema = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key: `Authorization: Bearer <key>`."},
    "enrolment": {
        "type": "http",
        "scheme": "bearer",
        "description": "A one-time enrolment token, with which a machine becomes a host.",
    },
}
_DESCRIPTIONS = {
    HTTPStatus.OK: "Done.",
    HTTPStatus.CREATED: "Created.",
    HTTPStatus.ACCEPTED: "Accepted; it is done later.",
    HTTPStatus.NO_CONTENT: "Done; there is nothing to say.",
    HTTPStatus.NOT_MODIFIED: "It is what the caller has already.",
    HTTPStatus.SEE_OTHER: "The browser goes on to another page.",
}


def render_document(apis: Sequence[Api]) -> str:
    """Return the document as it is kept and served: the same routes give the same bytes.

    Raises:
        Undetermined: something of a route is not to be seen, or a body has no example.
    """
    return json.dumps(build_document(apis), indent=1, ensure_ascii=False) + "\n"


def build_document(apis: Sequence[Api]) -> Schema:
    """Raises Undetermined: something of a route is not to be seen, or a body has no example."""
    operations = [operation for api in apis for operation in api.operations]
    readings = {operation.name: read_view(operation) for operation in operations}
    requests = {each.body: None for each in operations if each.body is not None}
    answers = {model: None for reading in readings.values() for model in reading.models}
    references, schemas = build_schemas(requests, answers)
    paths: dict[str, Schema] = {}
    ordered = sorted(operations, key=lambda each: (each.path, _METHODS.index(each.method)))
    for operation in ordered:
        built = _build_operation(operation, readings[operation.name], references)
        paths.setdefault(operation.path, {})[operation.method.lower()] = built
    return {
        "openapi": VERSION,
        "info": {
            "title": "Provocative Cloud",
            "version": "v1",
            "summary": "GPUs by the second, with what they used and what it emitted.",
            "description": "Money is in micros (millionths of the currency), mass in milligrams, energy in "
            "millijoules or joules as its name says; instants are RFC 3339 in UTC. Bodies are strict: no "
            "unknown member, no coercion. Every refusal is a problem document with a stable `code`; "
            "`x-codes` of a response lists those that are known. `x-permission` is what a key must have; of "
            "a person `x-sign-in-within-seconds` asks for a sign-in that is no older.",
        },
        "servers": [{"url": ".", "description": "Where this document is served."}],
        "tags": _build_tags(operations),
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": problems.PROBLEM, "OAuthError": protocol.OAUTH_ERROR},
            "responses": {
                name: response
                for name, response in problems.build_responses().items()
                if f'"#/components/responses/{name}"' in json.dumps(paths)
            },
            "headers": dict(problems.HEADERS),
            "securitySchemes": _SECURITY,
        },
    }


def _build_tags(operations: Sequence[Operation]) -> list[Schema]:
    """One a slice, with what its first module of routes says of itself."""
    tags: dict[str, str] = {}
    for operation in sorted(operations, key=lambda each: each.view.__module__):
        module = importlib.import_module(operation.view.__module__)
        text = mark_down((module.__doc__ or "").partition("\n\n")[0])
        tags.setdefault(_name_tag(operation), text)
    return [{"name": name, "description": text} for name, text in sorted(tags.items())]


def _name_tag(operation: Operation) -> str:
    return operation.view.__module__.split(".")[1]


def _build_operation(
    operation: Operation, reading: Reading, references: Mapping[type[BaseModel], Schema]
) -> Schema:
    templated = _PARAMETER.findall(operation.path)
    security = [{"key": list[str]()}] if operation.permission is not None else []
    if operation.permission is None and reading.bearer:
        security = [{"enrolment": []}]
    built: Schema = {
        "operationId": operation.name,
        "tags": [_name_tag(operation)],
        "summary": _summarize(operation),
        "x-permission": operation.permission,
        "security": security,
        "parameters": [
            *(_build_path_parameter(name) for name in templated),
            *(_build_query_parameter(name, reading) for name in sorted(reading.queries)),
            *protocol.list_parameters(operation.name),
            *([_KEY_HEADER] if reading.keyed else []),
            *(_build_header(name) for name in reading.headers),
            *([_MATCH_HEADERS["If-None-Match"]] if operation.tagged else []),
            *([_MATCH_HEADERS["If-Match"]] if operation.conditional else []),
        ],
    }
    if operation.fresh:
        built["x-sign-in-within-seconds"] = STEP_UP_MS // 1000
    if operation.deprecation is not None:
        built["deprecated"] = True
        built["x-sunset"] = format_instant(operation.deprecation.sunset_ms)
    body = _build_request_body(operation, reading, references)
    if body is not None:
        built["requestBody"] = body
    refusals = problems.list_statuses(operation, reading, templated=bool(templated))
    statuses = [*reading.statuses, *([HTTPStatus.NOT_MODIFIED] if operation.tagged else [])]
    answers = {str(each.value): _build_answer(each, reading, references) for each in statuses}
    for status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
        if (operation.tagged or operation.conditional) and str(status.value) in answers:
            answers[str(status.value)]["headers"]["ETag"] = _TAG_HEADER
    built["responses"] = {
        **answers,
        **{
            str(each): {"$ref": f"#/components/responses/{problems.name_response(each, operation.refusals)}"}
            for each in refusals
        },
    }
    return built


def _summarize(operation: Operation) -> str:
    text = inspect.getdoc(operation.view)
    if not text:
        raise Undetermined(f"{operation.name} says nothing of itself")
    return mark_down(text)


def _build_path_parameter(name: str) -> Schema:
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_PATH_PARAMETER, **PATH_FORMS.get(name, {})}
    return {"name": name, "in": "path", "required": True, **_describe(name), "schema": schema}


def _build_query_parameter(name: str, reading: Reading) -> Schema:
    schema = {**reading.queries[name], **FORMS.get(name, {})}
    required = {"required": True} if name in reading.required else {}
    if required and schema == {"type": "string"}:
        schema["minLength"] = 1
    return {"name": name, "in": "query", **required, **_describe(name), "schema": schema}


def _build_header(name: str) -> Schema:
    return {"name": name.title(), "in": "header", "schema": {"type": "string"}}


def _describe(name: str) -> Schema:
    return {"description": PARAMETERS[name]} if name in PARAMETERS else {}


def _build_request_body(
    operation: Operation, reading: Reading, references: Mapping[type[BaseModel], Schema]
) -> Schema | None:
    if operation.body is None:
        if reading.form:
            return protocol.build_form(operation.name)
        if not reading.raw_body:
            return None
        content: Schema = {"schema": {"type": "object"}}
        return {"required": True, "content": {"application/json": content}}
    examples = EXAMPLES.get(operation.body.__name__)
    if not examples:
        raise Undetermined(f"{operation.body.__name__} has no example")
    content = {
        "schema": references[operation.body],
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"required": True, "content": {"application/json": content}}


def _build_answer(
    status: HTTPStatus, reading: Reading, references: Mapping[type[BaseModel], Schema]
) -> Schema:
    sent = {name: {"schema": {"type": "string"}} for name in reading.sent_headers}
    answer: Schema = {"description": _DESCRIPTIONS[status], "headers": {**sent, **problems.REQUEST_ID}}
    answer["headers"] |= problems.RATE_LIMITS
    if status is HTTPStatus.SEE_OTHER:
        answer["headers"]["Location"] = {"schema": {"type": "string"}}
    if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED, HTTPStatus.SEE_OTHER}:
        return answer
    schemas = [references[model] for model in reading.models]
    schema = (
        {"anyOf": schemas} if len(schemas) > 1 else (schemas or [{"type": _TYPES[reading.media_type]}])[0]
    )
    return {**answer, "content": {reading.media_type: {"schema": schema}}}


#: Of answers that are no body of ours.
_TYPES = {"text/html": "string", "text/*": "string", "application/json": "object"}
