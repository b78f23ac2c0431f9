"""People: who they are, and what they proved when they signed in."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

#: Holds the session of a browser. The prefix makes browsers refuse it without Secure or from another host.
SESSION_COOKIE = "__Host-session"
#: RFC 8176: password, one-time code, passkey, recovery code counted as a one-time code.
Method = Literal["pwd", "otp", "hwk", "fed"]
UserStatus = Literal["active", "suspended", "erased"]


@dataclass(frozen=True, slots=True)
class User:
    """A person. ``email`` and ``name`` are sealed at rest under the person's own key; ``None`` once erased.

    ``epoch`` rises with every change that ends what was granted before (password, second factor, suspension):
    a token of an older epoch is refused.
    """

    user_id: str
    email: str | None
    name: str | None
    status: UserStatus
    epoch: int
    created_at_ms: int
    email_verified_at_ms: int | None = None
    password_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that signed in; ``authenticated_at_ms``: last with all that was asked, by ``methods``."""

    session_id: str
    user_id: str
    epoch: int
    created_at_ms: int
    authenticated_at_ms: int
    methods: frozenset[Method]
    expires_at_ms: int
    ended_at_ms: int | None = None


def derive_form_token(session_secret: str) -> str:
    """Return what every form of a session carries, so that no other site can send one in its name."""
    return hmac.new(session_secret.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(session_secret: str, given: str) -> bool:
    return hmac.compare_digest(derive_form_token(session_secret).encode(), given.encode())
