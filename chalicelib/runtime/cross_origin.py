"""Which pages of other sites may read answers: those of origins that the stage names, exactly, and no other.

Never ``*``, and never with credentials that a browser adds by itself: a page sends its key as everybody does.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus

from chalice.app import Chalice, Response

from chalicelib.runtime.problems import SECURITY_HEADERS
from chalicelib.runtime.settings import get_settings

#: What a page may send beside what it always may.
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match")
#: What it may read beside what it always may.
ANSWER_HEADERS = (
    "Deprecation",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Retry-After",
    "Sunset",
    "X-Request-Id",
)
#: A browser asks again after this time; two hours is the most that any of them keeps.
PREFLIGHT_SECONDS = 600


@cache
def read_origins() -> frozenset[str]:
    return frozenset(get_settings().allowed_origins.split())


def allow_origin(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of an answer to a request with these headers."""
    origin = headers.get("origin")
    if origin is None:
        return {}
    if origin not in read_origins():
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(ANSWER_HEADERS),
    }


def register_preflights(app: Chalice, methods: Mapping[str, Iterable[str]]) -> None:
    """Let every path say its methods to OPTIONS, which needs no key. Source: Fetch Standard, 3.3."""
    for path, known in sorted(methods.items()):
        _register(app, path, ", ".join(sorted(known)))


def _register(app: Chalice, path: str, methods: str) -> None:
    def answer_preflight(**_parameters: str) -> Response:
        request = app.current_request
        assert request is not None
        allowed = dict(allow_origin(request.headers))
        if "Access-Control-Allow-Origin" in allowed:
            del allowed["Access-Control-Expose-Headers"]
            allowed |= {
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            }
        headers: dict[str, str | list[str]] = {
            **SECURITY_HEADERS,
            "Allow": methods,
            "X-Request-Id": str(request.context.get("requestId", "unknown")),
            **allowed,
        }
        return Response(body="", status_code=HTTPStatus.NO_CONTENT.value, headers=headers)

    name = "preflight_" + "".join(each if each.isalnum() else "_" for each in path)
    app.route(path, methods=["OPTIONS"], content_types=["*/*"], name=name)(answer_preflight)
