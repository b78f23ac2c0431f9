"""What routes declare as data, and every answer then says: entity tags, an end in sight, who may read it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

#: Of an answer that was given before, to the same Idempotency-Key.
REPLAYED = "Idempotency-Replayed"
_MS = 1000


@dataclass(frozen=True, slots=True)
class Deprecation:
    """A route that goes. ``successor``: what to use instead, relative to the API's document.

    Sources: RFC 9745 (Deprecation, since when), RFC 8594 (Sunset, until when).
    """

    since_ms: int
    sunset_ms: int
    successor: str | None = None

    def build_headers(self) -> Mapping[str, str]:
        link = {} if self.successor is None else {"Link": f'<{self.successor}>; rel="successor-version"'}
        return {
            "Deprecation": f"@{self.since_ms // _MS}",
            "Sunset": formatdate(self.sunset_ms // _MS, usegmt=True),
            **link,
        }


class Repeatable(Protocol):
    """What a request made, or had made before under the same Idempotency-Key."""

    @property
    def replayed(self) -> bool: ...


def tell_replayed(made: Repeatable) -> Mapping[str, str]:
    """Return `REPLAYED` where it is so, and else nothing."""
    return {REPLAYED: "true"} if made.replayed else {}


def compute_tag(representation: str) -> str:
    """Return the strong entity tag of what an answer says. Source: RFC 9110, section 8.8.3."""
    return f'"{hashlib.sha256(representation.encode()).hexdigest()[:32]}"'


def names_tag(header: str, tag: str) -> bool:
    """Say whether If-None-Match names ``tag``, by weak comparison. Source: RFC 9110, 13.1.2 and 8.8.3.2."""
    given = (each.strip().removeprefix("W/") for each in header.split(","))
    return header.strip() == "*" or tag in given


def names_tag_strongly(header: str, tag: str) -> bool:
    """Say whether If-Match names ``tag``: a weak tag never does. Source: RFC 9110, 13.1.1 and 8.8.3.2."""
    return header.strip() == "*" or tag in (each.strip() for each in header.split(","))
