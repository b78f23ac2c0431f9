"""How a failure is told: a sentence, what to do next, and an exit code that scripts may rely on.

0  done                     3  there is no such thing
1  the API refused          4  no key, or one that may not do this
2  wrong usage              5  no answer, or try again later
"""

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import typer
from typer.exceptions import TyperException

from provocative.cli.profiles import ProfileError
from provocative.cli.session import NotLoggedIn, Refused

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_AUTH = 4
EXIT_UNAVAILABLE = 5

_EXITS = {
    HTTPStatus.UNAUTHORIZED: EXIT_AUTH,
    HTTPStatus.FORBIDDEN: EXIT_AUTH,
    HTTPStatus.NOT_FOUND: EXIT_NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: EXIT_UNAVAILABLE,
}
#: 403, but another key of the account would be refused too.
_NO_MATTER_OF_KEYS = frozenset({"quota"})
_BY_CODE = {
    "insufficient_funds": "See what is held and what is left: provocative cost. An operator grants credit.",
    "no_capacity": "See where there is room: provocative offers. Without --no-queue a rental waits in line.",
    "line_ahead": "Others wait already; without --no-queue the rental stands behind them.",
    "price_cap": "See the prices: provocative offers. Raise --max-price, or wait for a lower one.",
    "gpu_unavailable_on_resume": "Stand in line with --queue; the volume is kept.",
    "locked": "Take the lock away first: provocative unlock RENTAL.",
    "quota": "See what is in use: provocative quota. An operator sets another one.",
    "idempotency_key_reused": "Leave --idempotency-key out, or take a new one.",
    "version_mismatch": "It was changed meanwhile; look at it again and repeat.",
    "log_wiped": "A log can be fetched while the rental runs.",
    "step_up_needed": "Sign in again, and repeat it within five minutes: provocative login --fresh",
    "unknown_offer": "See what is sold: provocative offers.",
    "unknown_gpu_type": "See what is sold: provocative offers.",
    "unreachable": "Check the network and the URL (provocative whoami shows it), then try again.",
}

_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: "Log in again: provocative login",
    HTTPStatus.FORBIDDEN: "See whose key this is: provocative whoami",
    HTTPStatus.NOT_FOUND: "Check the id; what belongs to another account is not shown either.",
}


def get_exit_code(status: int | None, code: str = "") -> int:
    if code in _NO_MATTER_OF_KEYS:
        return EXIT_REFUSED
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return EXIT_UNAVAILABLE
    return _EXITS.get(HTTPStatus(status), EXIT_REFUSED)


def report(error: Exception, *, as_json: bool) -> int | None:
    """Tell of ``error`` on standard error and return the exit code; ``None``: it is no failure of ours."""
    told = _tell_usage(error) or _tell_own(error) or _tell_api(error)
    if told is None:
        return None
    problem, lines, code = told
    typer.echo(json.dumps(problem, ensure_ascii=False) if as_json else "\n".join(lines), err=True)
    return code


Told = tuple[Mapping[str, Any], list[str], int]


def _tell_usage(error: Exception) -> Told | None:
    if not isinstance(error, TyperException):
        return None
    context = getattr(error, "ctx", None)
    detail = error.format_message()
    lines = [f"error: {detail}"]
    if context is not None:
        lines.append(f"next:  {context.command_path} --help")
    return _build_problem("usage", detail), lines, EXIT_USAGE


def _tell_own(error: Exception) -> Told | None:
    if isinstance(error, NotLoggedIn):
        hint = "Log in with: provocative login"
        return _build_problem("not_logged_in", str(error)), _lines(str(error), hint), EXIT_AUTH
    if isinstance(error, ProfileError):
        return _build_problem("unusable_profile", str(error)), _lines(str(error), None), EXIT_USAGE
    if isinstance(error, Refused):
        return _build_problem(error.code, error.detail), _lines(error.detail, error.hint), error.exit_code
    return None


def _tell_api(error: Exception) -> Told | None:
    # Imported by whoever raised it; nothing is imported to tell that nothing is wrong with the API.
    from provocative.errors import ApiError

    if not isinstance(error, ApiError):
        return None
    lines = _lines(error.detail, find_hint(error), list(_list_fields(error.problem)))
    known = f" · request {error.request_id}" if error.request_id else ""
    lines.append(f"       ({error.code}{known})")
    return error.problem, lines, get_exit_code(error.status, error.code)


def find_hint(error: Any) -> str | None:
    """Return what to do next about an `ApiError`, or ``None`` where its sentence says it."""
    if error.idempotency_key is not None:
        return f"Repeat it safely with --idempotency-key {error.idempotency_key}"
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.status in _BY_STATUS:
        return _BY_STATUS[error.status]
    if get_exit_code(error.status) == EXIT_UNAVAILABLE:
        seconds = error.retry_after_seconds
        return f"Try again in {seconds:.0f} s." if seconds else "Try again in a minute."
    return None


def _list_fields(problem: Mapping[str, Any]) -> Iterator[str]:
    """Yield which members of a request were wrong."""
    errors = problem.get("errors")
    for each in errors if isinstance(errors, list) else []:
        if isinstance(each, dict):
            yield "       " + ": ".join(str(value) for value in each.values() if value)


def _lines(detail: str, hint: str | None, more: list[str] | None = None) -> list[str]:
    return [f"error: {detail}", *(more or []), *([] if hint is None else [f"next:  {hint}"])]


def _build_problem(code: str, detail: str) -> dict[str, Any]:
    """Of the form of the API's own (RFC 9457), for what never got there."""
    return {
        "type": f"urn:provocative:problem:{code}",
        "title": "Not sent",
        "status": None,
        "code": code,
        "detail": detail,
        "request_id": None,
    }
