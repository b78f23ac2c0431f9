"""People: who they are, and what they proved when they signed in."""

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chalicelib.core.errors import InvalidInput
from chalicelib.core.ids import is_id
from chalicelib.core.principal import STEP_UP_MS

#: Holds the session of a browser. The prefix makes browsers refuse it without Secure or from another host.
SESSION_COOKIE = "__Host-session"
#: RFC 8176: password, one-time code, passkey, recovery code counted as a one-time code.
Method = Literal["pwd", "otp", "hwk", "fed"]
UserStatus = Literal["active", "suspended", "erased"]
#: What a second factor is. A passkey asks its owner (user verification), so that it is both factors at once.
SECOND_FACTORS: frozenset[Method] = frozenset({"otp", "hwk"})

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
#: NIST SP 800-63B-4, section 2.2.3: at most 24 hours, and one of inactivity, at AAL2.
SESSION_MS = DAY_MS
IDLE_MS = HOUR_MS
#: A use is written down when the last that was is this old.
SEEN_EVERY_MS = MINUTE_MS
MAX_EMAIL = 254
MAX_NAME = 120
#: Of what is typed. Normalising takes time in the square of a text's length, so that nothing longer is.
MAX_TYPED_EMAIL, MAX_TYPED_NAME = 320, 4 * MAX_NAME


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
class Person:
    """A user as stored. ``email_key`` finds the record by its address and does not tell it.

    ``password_is_long``: long enough to be the only factor. ``version`` rises with each change.
    """

    user_id: str
    email_key: str | None
    sealed_email: str | None
    sealed_name: str | None
    status: UserStatus
    epoch: int
    created_at_ms: int
    email_verified_at_ms: int | None
    password_digest: str | None
    password_is_long: bool
    version: int = 1


@dataclass(frozen=True, slots=True)
class Factors:
    """Second factors of a person. ``last_step``: of the newest code that was taken; it is not taken again.

    ``recovery``: digests of the codes that are left. ``pending``: a secret that no code has confirmed yet.
    """

    user_id: str
    sealed_totp: str | None = None
    last_step: int = 0
    pending: str | None = None
    pending_until_ms: int = 0
    recovery: frozenset[str] = frozenset()
    passkeys: int = 0
    version: int = 0

    @property
    def is_enrolled(self) -> bool:
        """A second factor is asked for at each sign-in."""
        return self.sealed_totp is not None


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that signed in; ``authenticated_at_ms``: last with all that was asked, by ``methods``.

    ``digest`` is of the cookie's secret. ``label`` names browser and system in a word each.
    """

    session_id: str
    user_id: str
    epoch: int
    created_at_ms: int
    authenticated_at_ms: int
    methods: frozenset[Method]
    expires_at_ms: int
    ended_at_ms: int | None = None
    seen_at_ms: int = 0
    digest: str = field(default="", repr=False)
    label: str = ""

    def is_live(self, now_ms: int) -> bool:
        """Neither ended, nor a day old, nor idle for an hour."""
        idle_since_ms = max(self.seen_at_ms, self.created_at_ms)
        return self.ended_at_ms is None and now_ms < self.expires_at_ms and now_ms - idle_since_ms < IDLE_MS

    def is_fresh(self, now_ms: int) -> bool:
        """The person signed in just now: asked before what cannot be taken back."""
        return now_ms - self.authenticated_at_ms <= STEP_UP_MS

    @property
    def has_second_factor(self) -> bool:
        return bool(self.methods & SECOND_FACTORS)


Purpose = Literal[
    "signup", "verify", "reset", "email", "signin", "device", "register", "assert", "federation", "link"
]


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that was handed out, as stored: under the digest of its text, until it is used or expires.

    ``uses`` counts how often it was tried, where it may be tried more than once.
    """

    digest: str
    purpose: Purpose
    user_id: str | None
    created_at_ms: int
    expires_at_ms: int
    data: Mapping[str, str] = field(default_factory=dict)
    used_at_ms: int | None = None
    uses: int = 0

    def is_good(self, purpose: Purpose, now_ms: int) -> bool:
        return self.purpose == purpose and self.used_at_ms is None and now_ms < self.expires_at_ms


@dataclass(frozen=True, slots=True)
class Passkey:
    """``credential_id`` and ``public_key`` in base64url, as WebAuthn gives them."""

    credential_id: str
    user_id: str
    public_key: str
    sign_count: int
    label: str
    created_at_ms: int
    used_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FederatedLink:
    """Who somebody is at another provider: issuer and subject, and never an address."""

    issuer: str
    subject: str
    user_id: str
    provider: str
    created_at_ms: int


def derive_form_token(session_secret: str) -> str:
    """Return what every form of a session carries, so that no other site can send one in its name."""
    return hmac.new(session_secret.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(session_secret: str, given: str) -> bool:
    return hmac.compare_digest(derive_form_token(session_secret).encode(), given.encode())


def hash_secret(secret: str) -> str:
    """Return the digest of a secret of at least 112 random bits; a slow one would protect nothing more."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_digest_of(digest: str, secret: str) -> bool:
    return hmac.compare_digest(digest, hash_secret(secret))


def build_cookie(session_id: str, secret: str) -> str:
    return f"{session_id}.{secret}"


def parse_cookie(value: str) -> tuple[str, str] | None:
    """Return (session id, secret); ``None``: no such text is ours."""
    session_id, dot, secret = value.partition(".")
    return (session_id, secret) if dot and secret and is_id(session_id, "ses") else None


def normalise_email(text: str) -> str:
    """Return the address as people are found by it.

    Case is dropped also before the ``@``: no provider in use tells it apart, and two people of one address
    must not be. ASCII alone: SES sends to no other, and letters that look alike make no second address.

    Raises:
        InvalidInput: ``invalid_email``: no mail would reach it.
    """
    if len(text) > MAX_TYPED_EMAIL:
        raise _refuse_email()
    address = unicodedata.normalize("NFKC", text).strip().casefold()
    local, at, domain = address.rpartition("@")
    proper = bool(at and local) and "." in domain and not domain.startswith(".") and not domain.endswith(".")
    if not proper or len(address) > MAX_EMAIL or any(not "!" <= c <= "~" for c in address):
        raise _refuse_email()
    if any(c in address for c in '<>,;:"()[]\\') or "@" in local:
        raise _refuse_email()
    return address


def _refuse_email() -> InvalidInput:
    return InvalidInput("Give an e-mail address, such as name@example.com.", code="invalid_email")


def derive_email_key(email: str, pepper: bytes) -> str:
    """Return what a normalised address is found by."""
    return hmac.new(pepper, f"email:{email}".encode(), hashlib.sha256).hexdigest()


def clean_name(text: str) -> str:
    """Raises InvalidInput: ``invalid_name``: empty, too long, or not printable."""
    name = " ".join(unicodedata.normalize("NFC", text[: MAX_TYPED_NAME + 1]).split())
    if len(text) > MAX_TYPED_NAME or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"Give a name of 1 to {MAX_NAME} characters.", code="invalid_name")
    return name


def choose_path(given: str | None, otherwise: str) -> str:
    """Return where to go next: a path of ours and nothing else, whatever a link says."""
    path = given or ""
    proper = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
    return path if proper and "\\" not in path and " " not in path and len(path) <= MAX_PATH else otherwise


MAX_PATH = 2_000


def label_agent(agent: str) -> str:
    """Return browser and system, as a person tells the own sessions apart by; no versions."""
    browsers = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"))
    systems = (
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    fallback = "Safari" if "Safari/" in agent else "A browser"
    browser = next((name for mark, name in browsers if mark in agent), fallback)
    system = next((name for mark, name in systems if mark in agent), "an unknown system")
    return f"{browser} on {system}"
