"""The HTTP edge: one wrapper authenticates, authorises, parses and maps errors for every route.

A route declares the permission it needs, or that it is public; one that declares neither fails at import.
Views are ``(call, **path_parameters) -> Answer[Body]``: parse, one service call, schema. What a route
declares, and what its view is annotated with, is what the API's document says of it (`infra.openapi`).
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import unquote

from chalice.app import Blueprint, Request, Response
from pydantic import BaseModel
from pynamodb.exceptions import PynamoDBException

from chalicelib.core.errors import (
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.runtime.bodies import RequestBody, parse_body, read_bytes
from chalicelib.runtime.conventions import Deprecation, compute_tag, names_tag, names_tag_strongly
from chalicelib.runtime.cross_origin import allow_origin
from chalicelib.runtime.cursors import SIGNER, name_scope
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.problems import SECURITY_HEADERS, build_internal_error, build_problem

#: Query parameters a route may take: name -> nothing else is accepted.
NO_QUERY: frozenset[str] = frozenset()
MAX_PATH_PARAMETER = 128
MAX_IDEMPOTENCY_KEY = 255

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: What an answer holds that is no body of ours, with the media type under which its headers send it.
Html = Annotated[str, "text/html"]
Json = Annotated[str, "application/json"]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, parsed request."""

    _principal: Principal | None
    raw_body: bytes
    query: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str
    _body: RequestBody | None = None

    @property
    def principal(self) -> Principal:
        if self._principal is None:
            raise Unauthenticated("This operation needs a key.")
        return self._principal

    @property
    def bearer(self) -> str:
        """Raises Unauthenticated: there is no ``Authorization: Bearer`` header."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send a key as 'Authorization: Bearer <key>'.")
        return token.strip()

    @property
    def idempotency_key(self) -> str:
        """Raises InvalidInput (``idempotency_key_missing``): the header is absent or malformed."""
        key = self.headers.get("idempotency-key", "").strip()
        if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not key.isascii() or not key.isprintable():
            raise InvalidInput(
                f"Send an Idempotency-Key header of 1 to {MAX_IDEMPOTENCY_KEY} printable characters.",
                code="idempotency_key_missing",
            )
        return key

    def match(self, render: Callable[[T], BaseModel]) -> Check[T]:
        """Return the check of ``If-Match`` against what ``render`` says of what is about to be changed."""
        header = self.headers.get("if-match")
        if header is None:
            return accept_any

        def check(found: T) -> None:
            if not names_tag_strongly(header, compute_tag(render(found).model_dump_json())):
                raise PreconditionFailed("It has changed since it was read; read it again.")

        return check

    def read_body(self, model: type[Any]) -> Any:
        assert isinstance(self._body, model)
        return self._body


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """What a view returns. ``body`` may be a text that was rendered earlier (an idempotent replay)."""

    body: T_co | str | None = None
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One declared route, for tests and documents."""

    method: str
    path: str
    name: str
    permission: str | None
    view: "View"
    body: type[RequestBody] | None
    query: frozenset[str]
    tagged: bool = False
    conditional: bool = False
    deprecation: Deprecation | None = None


View = Callable[..., Answer[Any]]


class Api:
    """The routes of one slice. ``authenticate`` turns a key into a principal or raises Unauthenticated.

    Without it all routes are public.
    """

    def __init__(self, import_name: str, authenticate: Callable[[str], Principal] | None = None) -> None:
        self.blueprint = Blueprint(import_name)
        self.operations: list[Operation] = []
        self._authenticate = authenticate

    def route(
        self,
        method: str,
        path: str,
        *,
        permission: str | None = None,
        public: bool = False,
        body: type[RequestBody] | None = None,
        query: frozenset[str] = NO_QUERY,
        tagged: bool = False,
        conditional: bool = False,
        deprecation: Deprecation | None = None,
    ) -> Callable[[View], View]:
        """Declare a route.

        ``tagged``: its answer has an entity tag, and who has it already is told so in no bytes.
        ``conditional``: it heeds ``If-Match``, by `Call.match`; every other change refuses the header.

        Raises:
            ValueError: neither a permission nor ``public=True``, or both; or nobody reads keys here.
        """
        if (permission is None) == (not public):
            raise ValueError(f"{method} {path} must declare a permission or be public")
        if permission is not None and self._authenticate is None:
            raise ValueError(f"{method} {path} needs a permission, and nobody reads keys here")

        def declare(view: View) -> View:
            answering = view if conditional or method == "GET" else _refuse_match(view)

            @functools.wraps(view)
            def handle(**parameters: str) -> Response:
                request = self.blueprint.current_request
                response = self._answer(answering, request, parameters, permission, body, query)
                return _finish(response, request, operation)

            operation = Operation(
                method, path, view.__name__, permission, view, body, query, tagged, conditional, deprecation
            )
            self.operations.append(operation)
            # Any content type reaches us, so that the refusal is a problem document too.
            self.blueprint.route(path, methods=[method], content_types=["*/*"], name=view.__name__)(handle)
            return view

        return declare

    def _answer(
        self,
        view: View,
        request: Request,
        parameters: Mapping[str, str],
        permission: str | None,
        body: type[RequestBody] | None,
        query: frozenset[str],
    ) -> Response:
        request_id = str(request.context.get("requestId", "unknown"))
        try:
            call = self._admit(request, request_id, permission, body, query)
            scope = ""
            if "cursor" in query:
                account_id = "" if permission is None else call.principal.account_id
                scope = name_scope(account_id, view.__name__, parameters, call.query)
                call = _open_cursor(call, scope)
            answer = view(call, **{name: _decode_parameter(value) for name, value in parameters.items()})
            response = _render(_sign_cursor(answer, scope) if scope else answer, request_id)
        except DomainError as error:
            response = build_problem(error, request_id)
        except PynamoDBException as error:
            get_logger().warning("storage did not answer", exc_info=error)
            response = build_problem(Unavailable("The store did not answer; try again."), request_id)
        except Exception:
            get_logger().exception("unhandled", extra={"request_id": request_id})
            response = build_internal_error(request_id)
        get_logger().info(
            "request",
            extra={
                "request_id": request_id,
                "method": request.method,
                "resource": request.context.get("resourcePath"),
                "status": response.status_code,
            },
        )
        return response

    def _admit(
        self,
        request: Request,
        request_id: str,
        permission: str | None,
        body: type[RequestBody] | None,
        query: frozenset[str],
    ) -> Call:
        event = request.to_original_event()
        call = Call(None, b"", {}, request.headers, request_id)
        principal = None
        if permission is not None:
            assert self._authenticate is not None
            principal = self._authenticate(call.bearer)
            if principal.limits.networks:
                _require_address(event, principal.limits.networks)
            if permission not in principal.permissions:
                raise Forbidden(f"This key may not do this; it needs the permission {permission}.")
        raw = read_bytes(event)
        parsed = None
        if body is not None:
            _require_identity(request.headers.get("content-encoding", ""))
            _require_json(request.headers.get("content-type", ""))
            parsed = parse_body(raw, body)
        return Call(principal, raw, _read_query(event, query), request.headers, request_id, parsed)


def _require_address(event: Mapping[str, Any], networks: Collection[str]) -> None:
    from chalicelib.core.networks import is_inside

    # As API Gateway saw the caller: whatever a header such as X-Forwarded-For says is the caller's own word.
    address = event.get("requestContext", {}).get("identity", {}).get("sourceIp") or ""
    if not is_inside(address, networks):
        raise Forbidden("This key may not be used from this address.", code="address_not_allowed")


def _require_json(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("Send the body as application/json.", code="unsupported_media_type")


def _require_identity(content_encoding: str) -> None:
    # Nothing is ever unpacked, so nothing small becomes large. Source: RFC 9110, section 8.4.
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise InvalidInput("Send the body as it is, not compressed.", code="unsupported_media_type")


def _open_cursor(call: Call, scope: str) -> Call:
    signed = call.query.get("cursor")
    if signed is None:
        return call
    return replace(call, query={**call.query, "cursor": SIGNER.verify(scope, signed)})


def _sign_cursor(answer: Answer[Any], scope: str) -> Answer[Any]:
    body: Any = answer.body
    cursor = getattr(body, "next_cursor", None)
    if cursor is None:
        return answer
    return replace(answer, body=body.model_copy(update={"next_cursor": SIGNER.sign(scope, cursor)}))


def _read_query(event: Mapping[str, Any], allowed: frozenset[str]) -> Mapping[str, str]:
    given: Mapping[str, list[str]] = event.get("multiValueQueryStringParameters") or {}
    unknown = sorted(set(given) - allowed)
    if unknown:
        raise InvalidInput(f"Unknown query parameter: {unknown[0][:64]}.")
    repeated = sorted(name for name, values in given.items() if len(values) > 1)
    if repeated:
        raise InvalidInput(f"The query parameter {repeated[0]} is given more than once.")
    return {name: values[0] for name, values in given.items()}


def _decode_parameter(value: str) -> str:
    # API Gateway hands path parameters over percent-encoded, and Chalice leaves them so (aws/chalice#511).
    decoded = unquote(value, errors="replace")
    if not 0 < len(decoded) <= MAX_PATH_PARAMETER or not decoded.isprintable() or "#" in decoded:
        raise NotFound("There is no such thing.")
    return decoded


def _render(answer: Answer[Any], request_id: str) -> Response:
    body = answer.body.model_dump_json() if isinstance(answer.body, BaseModel) else (answer.body or "")
    return Response(
        body=body,
        status_code=answer.status.value,
        headers={
            **SECURITY_HEADERS,
            "Content-Type": "application/json",
            "X-Request-Id": request_id,
            **answer.headers,
        },
    )


def _refuse_match(view: View) -> View:
    """To go on as if If-Match were not there would lose what somebody else has written."""

    @functools.wraps(view)
    def refuse(call: Call, **parameters: str) -> Answer[Any]:
        if "if-match" in call.headers:
            raise InvalidInput("This operation takes no If-Match.", code="if_match_not_taken")
        return view(call, **parameters)

    return refuse


def _finish(response: Response, request: Request, operation: Operation) -> Response:
    """Add what the route declares of all its answers."""
    headers = response.headers
    if operation.deprecation is not None:
        headers.update(operation.deprecation.build_headers())
    tagged = operation.tagged or operation.conditional
    if tagged and response.status_code == HTTPStatus.OK and response.body:
        tag = headers["ETag"] = compute_tag(response.body)
        if operation.tagged and names_tag(request.headers.get("if-none-match", ""), tag):
            response.body, response.status_code = "", HTTPStatus.NOT_MODIFIED.value
    headers.update(allow_origin(request.headers))
    return response
