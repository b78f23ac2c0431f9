"""Stripe's webhook signatures, checked on the raw bytes before anything is parsed.

The library's own check would load the library in the webhook's function, and takes a timestamp of tomorrow.
Source of the scheme: https://docs.stripe.com/webhooks/signature
"""

import hashlib
import hmac
from collections.abc import Sequence

from chalicelib.core.errors import InvalidInput

TOLERANCE_MS = 300_000
MAX_HEADER = 1024


class BadSignature(InvalidInput):
    code = "bad_signature"


def check_signature(body: bytes, header: str, secrets: Sequence[str], now_ms: int) -> None:
    """Accept ``body`` if one of ``secrets`` (two during a roll) signed these bytes within 300 s of now.

    Raises:
        BadSignature: it did not, in whatever way.
    """
    timestamps, signatures = [], []
    if len(header) > MAX_HEADER or not header.isascii():
        raise BadSignature("The signature header is malformed.")
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(timestamps) != 1 or not timestamps[0].isdigit() or len(timestamps[0]) > 12:  # noqa: PLR2004
        raise BadSignature("The signature header names no instant.")
    if abs(now_ms - int(timestamps[0]) * 1000) > TOLERANCE_MS:
        raise BadSignature("The signature is not of now.")
    signed = timestamps[0].encode() + b"." + body
    for secret in secrets:
        if not secret:
            continue
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        if any(hmac.compare_digest(expected, signature) for signature in signatures):
            return
    raise BadSignature("Nobody we know signed this.")
