"""Parts of a request beside its body: where it came from, how it was sent, its query and its path."""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

from chalicelib.core.errors import AccountSuspended, Forbidden, InvalidInput, NotFound
from chalicelib.core.principal import Principal

#: Query parameters a route may take: name -> nothing else is accepted.
NO_QUERY: frozenset[str] = frozenset()
#: Of a route whose protocol says that unknown ones are ignored, as RFC 6749 does in section 3.1.
ANY_QUERY = frozenset({"*"})
MAX_PATH_PARAMETER = 128


def read_source(event: Mapping[str, Any]) -> str:
    """Return the address that API Gateway saw: what a header says of it is the caller's own word."""
    return event.get("requestContext", {}).get("identity", {}).get("sourceIp") or ""


def require_address(event: Mapping[str, Any], networks: Collection[str]) -> None:
    from chalicelib.core.networks import is_inside

    if not is_inside(read_source(event), networks):
        raise Forbidden("This key may not be used from this address.", code="address_not_allowed")


def require_standing(principal: Principal, permission: str) -> None:
    """Raises AccountSuspended: this is not among what is left to it."""
    if permission in principal.withheld:
        raise AccountSuspended(
            "The account is suspended: it can read, pay, and end what runs, and nothing else."
        )


def require_json(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("Send the body as application/json.", code="unsupported_media_type")


def require_identity(content_encoding: str) -> None:
    # Nothing is ever unpacked, so nothing small becomes large. Source: RFC 9110, section 8.4.
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise InvalidInput("Send the body as it is, not compressed.", code="unsupported_media_type")


def read_query(event: Mapping[str, Any], allowed: frozenset[str]) -> Mapping[str, str]:
    given: Mapping[str, list[str]] = event.get("multiValueQueryStringParameters") or {}
    unknown = sorted(set(given) - allowed)
    if unknown and not allowed >= ANY_QUERY:
        raise InvalidInput(f"Unknown query parameter: {unknown[0][:64]}.")
    repeated = sorted(name for name, values in given.items() if len(values) > 1)
    if repeated:
        raise InvalidInput(f"The query parameter {repeated[0]} is given more than once.")
    return {name: values[0] for name, values in given.items()}


def decode_parameter(value: str) -> str:
    # API Gateway hands path parameters over percent-encoded, and Chalice leaves them so (aws/chalice#511).
    decoded = unquote(value, errors="replace")
    if not 0 < len(decoded) <= MAX_PATH_PARAMETER or not decoded.isprintable() or "#" in decoded:
        raise NotFound("There is no such thing.")
    return decoded
