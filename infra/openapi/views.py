"""What a view takes from its call, and how it may answer: read from its source and its annotation.

Views are short and read their call by a few names only (`chalicelib.runtime.listing`, ``call.headers``,
``call.idempotency_key``), so what their source says is what they do; what it leaves open is an error here.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from chalicelib.core.paging import DEFAULT_LIMIT, MAX_LIMIT
from chalicelib.runtime import conventions, http, listing
from chalicelib.runtime.bodies import INSTANT_SCHEMA
from chalicelib.runtime.request_parts import ANY_QUERY
from infra.openapi.sources import find_function

Schema = dict[str, Any]
#: What the record of a keyed creation holds, and every repeat of it answers.
STORED_STATUS = HTTPStatus.CREATED
_CALLS = frozenset({"call", "_call"})
_QUERIES = frozenset({"call.query", "query"})
_QUERY_TYPE = "Mapping[str, str]"


class Undetermined(Exception):
    """A view's source does not say what the document must say of it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """``queries`` are schemas by parameter, ``headers`` those that it reads by name.

    ``models`` are what the body may be, none where it is none of ours; no ``media_type`` where there is none.
    """

    queries: Mapping[str, Schema]
    required: frozenset[str]
    headers: tuple[str, ...]
    keyed: bool
    bearer: bool
    raw_body: bool
    form: bool
    statuses: tuple[HTTPStatus, ...]
    sent_headers: tuple[str, ...]
    media_type: str
    models: tuple[type[BaseModel], ...]


def read_view(operation: http.Operation) -> Reading:
    """Raises Undetermined: its answer, a status or a query parameter is not to be seen."""
    view = operation.view
    assert isinstance(view, FunctionType)
    nodes = [node for tree in _list_functions(view) for part in tree.body for node in ast.walk(part)]
    queries = _read_queries(nodes, view.__globals__)
    if set(queries) != operation.query - ANY_QUERY:
        different = sorted(set(queries) ^ (operation.query - ANY_QUERY))
        raise Undetermined(f"{operation.name} declares or reads the query {different}, and not both")
    media_type, models = _read_answer(view)
    statuses = operation.statuses or _read_statuses(nodes, operation.name)
    if (HTTPStatus.NO_CONTENT in statuses) != (not media_type):
        raise Undetermined(f"{operation.name} is annotated with another answer than it gives")
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_call(node.value)}
    return Reading(
        queries=queries,
        required=frozenset(_read_required(nodes)),
        headers=tuple(sorted(_read_names(nodes, {"call.headers"}))),
        keyed="idempotency_key" in used,
        bearer="bearer" in used,
        raw_body="raw_body" in used and operation.body is None,
        form=any(isinstance(node, ast.Name) and node.id == "read_form" for node in nodes),
        statuses=statuses,
        sent_headers=tuple(sorted(set(_read_sent_headers(nodes)))),
        media_type=media_type,
        models=models,
    )


def _list_functions(view: FunctionType) -> Iterator[ast.FunctionDef]:
    """The view, and the helpers of its module that it calls, in all depth."""
    waiting, seen = [view], {view}
    while waiting:
        function = waiting.pop()
        tree = find_function(function.__module__, function.__name__)
        _check_names(tree)
        yield tree
        for node in ast.walk(tree):
            called = view.__globals__.get(node.id) if isinstance(node, ast.Name) else None
            if (
                isinstance(called, FunctionType)
                and called.__module__ == view.__module__
                and called not in seen
            ):
                seen.add(called)
                waiting.append(called)


def _check_names(tree: ast.FunctionDef) -> None:
    """What a call is read by has one name everywhere: another one would hide what is read."""
    for each in tree.args.args:
        said = "" if each.annotation is None else ast.unparse(each.annotation)
        if (said == "Call" and each.arg not in _CALLS) or (said == _QUERY_TYPE and each.arg != "query"):
            raise Undetermined(f"{tree.name} calls its {said} {each.arg}")


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _CALLS


def _read_queries(nodes: list[ast.AST], names: Mapping[str, Any]) -> dict[str, Schema]:
    defaults = dict(_list_defaults(nodes))
    found: dict[str, Schema] = {name: {"type": "string"} for name in _read_names(nodes, _QUERIES)}
    found |= {name: {"type": "string"} for name in _read_required(nodes)}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            reader = _READERS.get(names.get(node.func.id, node.func.id))
            if reader is not None:
                name, schema = reader(node, names)
                found[name] = schema | ({"default": defaults[node]} if node in defaults else {})
    return found


def _list_defaults(nodes: list[ast.AST]) -> Iterator[tuple[ast.expr, Any]]:
    """What stands in for a value that is not given: ``read_choice(...) or "day"``."""
    for node in nodes:
        match node:
            case ast.BoolOp(op=ast.Or(), values=[read, ast.Constant(value=value)]) if value:
                yield read, value


def _read_names(nodes: list[ast.AST], sources: set[str] | frozenset[str]) -> Iterator[str]:
    """What is read of a mapping by its name: ``query.get("a")``, ``query["a"]``, ``"a" in query``."""
    for node in nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(value=source, attr="get"), args=[ast.Constant(value=str(name)), *_]
            ):
                pass
            case ast.Subscript(value=source, slice=ast.Constant(value=str(name))):
                pass
            case ast.Compare(left=ast.Constant(value=str(name)), ops=[ast.In()], comparators=[source]):
                pass
            case _:
                continue
        if ast.unparse(source) in sources:
            yield name


def _read_required(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "require":
            for each in node.args[1:]:
                assert isinstance(each, ast.Constant)
                yield str(each.value)


def _evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    raise Undetermined(f"{ast.unparse(node)} is no constant of its module")


def _read_choice(node: ast.Call, names: Mapping[str, Any]) -> tuple[str, Schema]:
    choices = list(_evaluate(node.args[2], names))
    return _evaluate(node.args[1], names), {"type": "string", "enum": choices}


def _read_integer(node: ast.Call, names: Mapping[str, Any]) -> tuple[str, Schema]:
    given = {each.arg: _evaluate(each.value, names) for each in node.keywords}
    bounds = {"minimum": given.get("minimum", 0), "maximum": given["maximum"]}
    return _evaluate(node.args[1], names), {"type": "integer", **bounds}


def _read_instant(node: ast.Call, names: Mapping[str, Any]) -> tuple[str, Schema]:
    return _evaluate(node.args[1], names), dict(INSTANT_SCHEMA)


def _read_limit(_node: ast.Call, _names: Mapping[str, Any]) -> tuple[str, Schema]:
    return "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}


def _read_sort(_node: ast.Call, _names: Mapping[str, Any]) -> tuple[str, Schema]:
    return "sort", {"type": "string", "enum": list(listing.SORTS), "default": listing.SORTS[0]}


_READERS: Mapping[Any, Callable[[ast.Call, Mapping[str, Any]], tuple[str, Schema]]] = {
    listing.read_choice: _read_choice,
    listing.read_integer: _read_integer,
    listing.read_instant: _read_instant,
    listing.read_limit: _read_limit,
    listing.read_sort: _read_sort,
}


def _list_answers(nodes: list[ast.AST]) -> Iterator[tuple[ast.expr | None, ast.expr | None]]:
    """Status and headers of each ``Answer(...)``."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Answer":
            given = dict(zip(("body", "status", "headers"), node.args, strict=False))
            given |= {str(each.arg): each.value for each in node.keywords}
            yield given.get("status"), given.get("headers")


def _read_statuses(nodes: list[ast.AST], name: str) -> tuple[HTTPStatus, ...]:
    found = set()
    for status, _ in _list_answers(nodes):
        for each in [status] if not isinstance(status, ast.Name) else _list_assigned(nodes, status.id):
            match each:
                case None:
                    found.add(HTTPStatus.OK)
                case ast.Attribute(value=ast.Name(id="HTTPStatus"), attr=member):
                    found.add(HTTPStatus[member])
                case ast.Call(func=ast.Name(id="HTTPStatus"), args=[ast.Attribute(attr="status")]):
                    found.add(STORED_STATUS)
                case _:
                    raise Undetermined(f"{name} answers a status that is not to be seen")
    if not found:
        raise Undetermined(f"{name} answers nothing that is to be seen")
    return tuple(sorted(found))


def _list_assigned(nodes: list[ast.AST], name: str) -> Iterator[ast.expr]:
    """Every value that ``name`` may have, with both branches of a condition."""
    for node in nodes:
        if isinstance(node, ast.Assign) and any(ast.unparse(each) == name for each in node.targets):
            branches = (
                [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
            )
            yield from branches


def _read_sent_headers(nodes: list[ast.AST]) -> Iterator[str]:
    for _, headers in _list_answers(nodes):
        for each in [headers] if not isinstance(headers, ast.Name) else _list_assigned(nodes, headers.id):
            match each:
                case ast.Dict():
                    yield from (str(key.value) for key in each.keys if isinstance(key, ast.Constant))
                case ast.Call(func=ast.Name(id="tell_replayed")):
                    yield conventions.REPLAYED


def _read_answer(view: FunctionType) -> tuple[str, tuple[type[BaseModel], ...]]:
    """Media type and models of the body; no media type where nothing is answered."""
    returned = get_type_hints(view, include_extras=True).get("return")
    if get_origin(returned) is not http.Answer:
        raise Undetermined(f"{view.__name__} is not annotated with what it answers")
    (body,) = get_args(returned)
    if body is NoneType:
        return "", ()
    if get_origin(body) is Annotated:
        return str(get_args(body)[1]), ()
    models = get_args(body) if get_origin(body) is UnionType else (body,)
    if not all(isinstance(each, type) and issubclass(each, BaseModel) for each in models):
        raise Undetermined(f"{view.__name__} is annotated with an answer that is no body")
    return "application/json", tuple(models)
