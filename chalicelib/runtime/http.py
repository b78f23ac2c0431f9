"""The HTTP edge: one wrapper authenticates, authorises, parses and maps errors for every route.

A route declares the permission it needs, or that it is public; one that declares neither fails at import.
Views are ``(call, **path_parameters) -> Answer[Body]``: parse, one service call, schema. What a route
declares, and what its view is annotated with, is what the API's document says of it (`infra.openapi`).
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Any, Generic, Literal, TypeVar

from chalice.app import Blueprint, Request, Response
from pydantic import BaseModel
from pynamodb.exceptions import PynamoDBException

from chalicelib.core.errors import (
    DomainError,
    Forbidden,
    InvalidInput,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from chalicelib.core.ports import Clock
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal, require_fresh
from chalicelib.core.throttling import CostClass
from chalicelib.runtime.bodies import RequestBody, parse_body, read_bytes
from chalicelib.runtime.conventions import Deprecation, compute_tag, names_tag, names_tag_strongly
from chalicelib.runtime.cross_origin import allow_origin
from chalicelib.runtime.cursors import SIGNER, name_scope
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.problems import SECURITY_HEADERS, build_internal_error, build_problem
from chalicelib.runtime.request_parts import (
    NO_QUERY,
    decode_parameter,
    read_query,
    require_address,
    require_identity,
    require_json,
    require_standing,
)
from chalicelib.runtime.security_log import (
    Refusal,
    describe_caller,
    log_refusal,
    log_told_refusal,
    note_caller,
)
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Gate, Limiter, read_address

MAX_IDEMPOTENCY_KEY = 255

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: What an answer holds that is no body of ours, with the media type under which its headers send it.
Html = Annotated[str, "text/html"]
Json = Annotated[str, "application/json"]
#: What a refusal may be beside a problem document: the JSON of RFC 6749, section 5.2, or a page.
Refusals = Literal["problem", "oauth", "page"]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, parsed request."""

    _principal: Principal | None
    raw_body: bytes
    query: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str
    _body: RequestBody | None = None
    #: Whom to count it to: the caller's address, as API Gateway saw it, of IPv6 the network of one customer.
    address: str = ""

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
    #: A list, as of several cookies, is sent as that many headers.
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: Of an attempt that failed, where the answer is no problem document: the security log is told.
    refusal: Refusal | None = None


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
    cost: CostClass = "read"
    tagged: bool = False
    conditional: bool = False
    deprecation: Deprecation | None = None
    #: What the view answers, where its source does not show it; empty: it does.
    statuses: tuple[HTTPStatus, ...] = ()
    refusals: Refusals = "problem"
    fresh: bool = False
    ends: bool = False


View = Callable[..., Answer[Any]]


class Api:
    """The routes of one slice. ``authenticate`` turns a key into a principal or raises Unauthenticated.

    Without it all routes are public.
    """

    def __init__(
        self,
        import_name: str,
        authenticate: Callable[[str], Principal] | None = None,
        *,
        refusals: Refusals = "problem",
    ) -> None:
        self.blueprint = Blueprint(import_name)
        self.module = import_name
        self.operations: list[Operation] = []
        self._authenticate, self._refusals = authenticate, refusals
        self._find_limiter: Callable[[], Limiter] | None = None
        self._find_clock: Callable[[], Clock] = SystemClock

    def tell_time_by(self, find_clock: Callable[[], Clock]) -> None:
        """Ask this clock how long ago a person signed in."""
        self._find_clock = find_clock

    def limit_by(self, find_limiter: Callable[[], Limiter]) -> None:
        """Hold all routes to the limits that the process keeps."""
        self._find_limiter = find_limiter

    def route(  # noqa: PLR0913  # each is a fact of its own
        self,
        method: str,
        path: str,
        *,
        permission: str | None = None,
        public: bool = False,
        body: type[RequestBody] | None = None,
        query: frozenset[str] = NO_QUERY,
        cost: CostClass | None = None,
        tagged: bool = False,
        conditional: bool = False,
        deprecation: Deprecation | None = None,
        statuses: tuple[HTTPStatus, ...] = (),
        fresh: bool = False,
        ends: bool = False,
    ) -> Callable[[View], View]:
        """Declare a route; ``cost`` decides how often it may be called, see `choose_cost`.

        ``tagged``: its answer has an entity tag, and who has it already is told so in no bytes.
        ``conditional``: it heeds ``If-Match``, by `Call.match`; every other change refuses the header.
        ``fresh``: a person must have signed in within `STEP_UP_MS`; keys and programs are no persons.
        ``ends``: who is suspended may end what costs; the view refuses the rest, by `require_standing`.

        Raises:
            ValueError: neither a permission nor ``public=True``, or both; or nobody reads keys here.
        """
        if (permission is None) == (not public) or (fresh and public):
            raise ValueError(f"{method} {path} must declare a permission or be public")
        if permission is not None and self._authenticate is None:
            raise ValueError(f"{method} {path} needs a permission, and nobody reads keys here")

        charged = cost or choose_cost(method, public=public)

        def declare(view: View) -> View:
            answering = view if conditional or method == "GET" else _refuse_match(view)

            @functools.wraps(view)
            def handle(**parameters: str) -> Response:
                request = self.blueprint.current_request
                gate = self._build_gate(charged, request)
                response = self._answer(answering, request, parameters, operation, gate)
                return _finish(response, request, operation)

            name = view.__name__
            operation = Operation(
                method=method,
                path=path,
                name=name,
                permission=permission,
                view=view,
                body=body,
                query=query,
                cost=charged,
                tagged=tagged,
                conditional=conditional,
                deprecation=deprecation,
                statuses=statuses,
                refusals=self._refusals,
                fresh=fresh,
                ends=ends,
            )
            self.operations.append(operation)
            # Any content type reaches us, so that the refusal is a problem document too.
            self.blueprint.route(path, methods=[method], content_types=["*/*"], name=name)(handle)
            return view

        return declare

    def _build_gate(self, cost: CostClass, request: Request) -> Gate:
        limiter = None if self._find_limiter is None else self._find_limiter()
        return Gate(limiter, cost, read_address(request.to_original_event()))

    def _answer(
        self,
        view: View,
        request: Request,
        parameters: Mapping[str, str],
        operation: Operation,
        gate: Gate,
    ) -> Response:
        request_id = str(request.context.get("requestId", "unknown"))
        note_caller(None)
        try:
            call = self._admit(request, request_id, operation, gate)
            scope = ""
            if "cursor" in operation.query:
                account_id = "" if operation.permission is None else call.principal.account_id
                scope = name_scope(account_id, view.__name__, parameters, call.query)
                call = _open_cursor(call, scope)
            answer = view(call, **{name: decode_parameter(value) for name, value in parameters.items()})
            if answer.refusal is not None:
                log_told_refusal(request.to_original_event(), request_id, answer.refusal)
            response = _render(_sign_cursor(answer, scope) if scope else answer, request_id)
        except DomainError as error:
            log_refusal(request.to_original_event(), request_id, error)
            response = build_problem(error, request_id)
        except PynamoDBException as error:
            get_logger().warning("storage did not answer", exc_info=error)
            response = build_problem(Unavailable("The store did not answer; try again."), request_id)
        except Exception:
            get_logger().exception("unhandled", extra={"request_id": request_id})
            response = build_internal_error(request_id)
        response.headers.update(gate.build_headers())
        get_logger().info(
            "request",
            extra={
                "request_id": request_id,
                "method": request.method,
                "resource": request.context.get("resourcePath"),
                "status": response.status_code,
                **describe_caller(),
            },
        )
        return response

    def _admit(self, request: Request, request_id: str, operation: Operation, gate: Gate) -> Call:
        event, permission, body = request.to_original_event(), operation.permission, operation.body
        call = Call(None, b"", {}, request.headers, request_id)
        principal = None
        gate.enter(public=permission is None)
        if permission is not None:
            principal = self._identify(call.bearer, gate)
            note_caller(principal)
            gate.admit(principal)
            if principal.limits.networks:
                require_address(event, principal.limits.networks)
            if not operation.ends:
                require_standing(principal, permission)
            if permission not in principal.permissions | principal.withheld:
                raise Forbidden(f"This key may not do this; it needs the permission {permission}.")
            if operation.fresh:
                require_fresh(principal, self._find_clock().now_ms())
        raw = read_bytes(event)
        parsed = None
        if body is not None:
            require_identity(request.headers.get("content-encoding", ""))
            require_json(request.headers.get("content-type", ""))
            parsed = parse_body(raw, body)
        address = read_address(event)
        query = read_query(event, operation.query)
        return Call(principal, raw, query, request.headers, request_id, parsed, address)

    def _identify(self, token: str, gate: Gate) -> Principal:
        assert self._authenticate is not None
        try:
            return self._authenticate(token)
        except Unauthenticated:
            gate.note_bad_key()
            raise


def choose_cost(method: str, *, public: bool) -> CostClass:
    """What a route costs that says nothing of it. Who changes something without a key is about to get one."""
    if method in {"GET", "HEAD"}:
        return "read"
    return "auth" if public else "write"


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
