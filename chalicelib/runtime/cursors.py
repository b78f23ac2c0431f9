"""Cursors as they go out: signed, and good for the same caller, route and filter alone.

A view reads and writes plain ones (`chalicelib.core.paging`); `chalicelib.runtime.http` signs what goes out
and verifies what comes in.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chalicelib.core.errors import InvalidInput, Unavailable

_PURPOSE = b"cursor"
#: 128 bits: forging one is beyond guessing, as RFC 2104, section 5, asks of a shortened HMAC.
_MAC_BYTES = 16
MAX_CURSOR_CHARACTERS = 512
#: How much is listed at a time says nothing of what is listed.
_FREE = frozenset({"cursor", "limit"})


@dataclass(slots=True)
class Signer:
    """``read_secret`` is bound by the composition root."""

    read_secret: Callable[[], bytes] | None = None

    def sign(self, scope: str, cursor: str) -> str:
        """Raises Unavailable: the secret cannot be read."""
        return f"{cursor}.{self._compute(scope, cursor)}"

    def verify(self, scope: str, signed: str) -> str:
        """Return the plain cursor.

        Raises:
            InvalidInput: ``invalid_cursor``: it is not ours, another caller's, or of another filter.
            Unavailable: the secret cannot be read.
        """
        cursor, dot, mac = signed.rpartition(".")
        well_formed = dot and len(signed) <= MAX_CURSOR_CHARACTERS and signed.isascii()
        if not well_formed or not hmac.compare_digest(mac, self._compute(scope, cursor)):
            raise InvalidInput("The cursor is not one that this API gave out here.", code="invalid_cursor")
        return cursor

    def _compute(self, scope: str, cursor: str) -> str:
        if self.read_secret is None:
            raise Unavailable("Cursors cannot be signed; try again.")
        text = json.dumps([scope, cursor]).encode()
        key = hmac.digest(self.read_secret(), _PURPOSE, hashlib.sha256)
        mac = hmac.digest(key, text, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")


SIGNER = Signer()


def name_scope(account_id: str, route: str, parameters: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return what a cursor is bound to: who asks, where, and for what."""
    filters = {name: value for name, value in query.items() if name not in _FREE}
    return json.dumps([account_id, route, sorted(parameters.items()), sorted(filters.items())])
