"""Clients, codes, grants and the claims of a token: what an authorization server keeps.

Invariant: no text of a secret, a code or a refresh token is kept, only digests under the pepper.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from chalicelib.core.errors import InvalidInput
from chalicelib.core.ids import is_id

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 24 * 60 * MINUTE_MS

#: ASVS 5.0, 10.4.8 leaves it to us: what was taken away from a role or a session acts earlier anyhow.
ACCESS_TOKEN_SECONDS = 600
#: RFC 9700, section 2.1.1 asks for short; RFC 6749, section 4.1.2 for ten minutes at most.
CODE_MS = MINUTE_MS
REFRESH_IDLE_MS = 7 * DAY_MS
REFRESH_ABSOLUTE_MS = 30 * DAY_MS
#: A client that lost the answer may ask again for so long, and gets the same refresh token.
REFRESH_RETRY_MS = 10 * SECOND_MS
DEVICE_SECONDS = 600
#: RFC 8628, section 3.5, both numbers.
DEVICE_INTERVAL_SECONDS = 5
SLOW_DOWN_SECONDS = 5
MAX_GUESSES = 5
GUESS_WINDOW_MS = 10 * MINUTE_MS
MAX_LIVE_SECRETS = 2
MAX_REDIRECT_URIS = 10
MAX_REDIRECT_URI = 512

#: RFC 8628, section 6.1: without vowels no words come out; 20**8 is 34.5 bits.
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
USER_CODE_LENGTH = 8

#: All that the role has, also what it is given later.
ALL_SCOPE = "all"
CLI_CLIENT_ID = "cli"
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
#: The version of a refresh token's text stands in its prefix: scanners look for it.
_REFRESH_TOKEN = re.compile(r"prt_([0-9a-hjkmnp-tv-z]{26})_([0-9A-Za-z]{32,64})_([0-9a-f]{32})", re.ASCII)
CLIENT_PREFIX, SERVICE_PREFIX, GRANT_PREFIX = "oac", "sva", "ogr"

ClientKind = Literal["public", "confidential", "service"]
DeviceState = Literal["pending", "approved", "denied", "used"]
#: RFC 6749, section 8.3 and RFC 8628, section 3.4.
CODE_GRANT, REFRESH_GRANT, CREDENTIALS_GRANT = "authorization_code", "refresh_token", "client_credentials"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def is_client_id(text: str) -> bool:
    """Say whether a text has the form of a client's id; nothing else is looked up, or fit for a log."""
    return text == CLI_CLIENT_ID or is_id(text, CLIENT_PREFIX) or is_id(text, SERVICE_PREFIX)


@dataclass(frozen=True, slots=True)
class Secret:
    """``digest``: of the text under the pepper."""

    secret_id: str
    digest: str
    created_at_ms: int
    revoked_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """Those of one confidential client or service account, newest last."""

    owner_id: str
    secrets: tuple[Secret, ...] = ()
    version: int = 0

    @property
    def live(self) -> tuple[Secret, ...]:
        return tuple(each for each in self.secrets if each.revoked_at_ms is None)

    def match(self, digest: str) -> bool:
        # No early end: which of two it was is nobody's business.
        found = [hmac.compare_digest(each.digest.encode(), digest.encode()) for each in self.live]
        return any(found)


@dataclass(frozen=True, slots=True)
class Client:
    """``account_id`` ``None``: built in. A service account is the client ``sva_…`` of its own."""

    client_id: str
    account_id: str | None
    name: str
    kind: ClientKind
    redirect_uris: tuple[str, ...]
    created_at_ms: int
    created_by: str = ""
    deleted_at_ms: int | None = None
    version: int = 0

    @property
    def grant_types(self) -> frozenset[str]:
        if self.kind == "service":
            return frozenset({CREDENTIALS_GRANT})
        if self.client_id == CLI_CLIENT_ID:
            return frozenset({CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT})
        return frozenset({CODE_GRANT, REFRESH_GRANT})

    @property
    def is_first_party(self) -> bool:
        return self.account_id is None


#: RFC 8252, section 7.3: a native app listens on a port that it is given.
CLI = Client(
    CLI_CLIENT_ID,
    None,
    "Provocative command line",
    "public",
    ("http://127.0.0.1/callback", "http://[::1]/callback"),
    0,
)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person agreed to: for which organisation, how and when they proved who they are."""

    user_id: str
    account_id: str
    scope: str
    epoch: int
    authenticated_at_ms: int
    methods: tuple[str, ...]
    #: The browser's, in which it was given.
    browser_session_id: str


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """``grant_id``: of what it is redeemed for, known before, so that a second use finds what to end."""

    digest: str
    client_id: str
    redirect_uri: str
    challenge: str
    consent: Consent
    grant_id: str
    expires_at_ms: int
    used_at_ms: int | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """``address`` and ``created_at_ms`` are shown before consent: who asks, from where."""

    digest: str
    user_code_digest: str
    client_id: str
    scope: str
    address: str
    created_at_ms: int
    expires_at_ms: int
    grant_id: str
    interval_seconds: int = DEVICE_INTERVAL_SECONDS
    polled_at_ms: int | None = None
    state: DeviceState = "pending"
    entries: int = 0
    consent: Consent | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class UserCode:
    """Leads from what a person types to the device's request."""

    digest: str
    device_digest: str
    expires_at_ms: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class Guesses:
    """Wrong codes of one address or person in one window."""

    who: str
    expires_at_ms: int
    count: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A family of tokens, and the session that they are of: ``sid`` names it.

    ``current`` is the digest of the refresh token that rotates it, ``previous`` of the one before, which is
    good for a retry until ``REFRESH_RETRY_MS`` after ``rotated_at_ms``. Every other of its refresh tokens
    tells of a theft.
    """

    grant_id: str
    client_id: str
    consent: Consent
    created_at_ms: int
    expires_at_ms: int
    current: str | None = None
    previous: str | None = None
    rotated_at_ms: int = 0
    ended_at_ms: int | None = None
    end_reason: str | None = None
    version: int = 0

    def is_live(self, now_ms: int) -> bool:
        """Say whether its access tokens are good: they may outlive an idle refresh token by minutes."""
        return self.ended_at_ms is None and now_ms < self.expires_at_ms

    def is_refreshable(self, now_ms: int) -> bool:
        return self.is_live(now_ms) and now_ms < self.rotated_at_ms + REFRESH_IDLE_MS


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """A service account's token that ended before its time."""

    token_id: str
    expires_at_ms: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """RFC 9068, section 2.2, and ours: ``org``, ``sid``, ``epoch``. Times are whole seconds."""

    iss: str
    sub: str
    aud: str
    client_id: str
    scope: str
    org: str
    iat: int
    exp: int
    jti: str
    sid: str | None = None
    epoch: int | None = None
    auth_time: int | None = None
    amr: tuple[str, ...] = ()


def compute_digest(text: str, pepper: bytes, use: str) -> str:
    """Return what is kept of a secret text; ``use`` keeps one kind from passing for another."""
    return hmac.new(pepper, f"oauth:{use}:{text}".encode(), hashlib.sha256).hexdigest()


def build_refresh_token(grant_id: str, secret: str, pepper: bytes) -> str:
    """Return the text of a refresh token: its tag shows that we issued it once, whichever it was.

    Without the tag anybody who knows a grant's id could have it ended by a token that never was.
    """
    body = f"{grant_id.removeprefix(f'{GRANT_PREFIX}_')}_{secret}"
    return f"prt_{body}_{_tag(body, pepper)}"


def parse_refresh_token(text: str, pepper: bytes) -> str | None:
    """Return the grant of a refresh token that was ours at some time."""
    match = _REFRESH_TOKEN.fullmatch(text)
    if match is None or not hmac.compare_digest(_tag(f"{match[1]}_{match[2]}", pepper), match[3]):
        return None
    return f"{GRANT_PREFIX}_{match[1]}"


def derive_refresh_secret(text: str, pepper: bytes) -> str:
    """Return the secret of a refresh token's successor (256 bits, hexadecimal).

    A retry finds it again, so that it is stored nowhere. It takes the pepper and the text of the token that
    asks, of which only the one is ours.
    """
    return hmac.new(pepper, f"oauth:refresh-successor:{text}".encode(), hashlib.sha256).hexdigest()


def _tag(body: str, pepper: bytes) -> str:
    return hmac.new(pepper, f"oauth:refresh-tag:{body}".encode(), hashlib.sha256).hexdigest()[:32]


def normalise_user_code(text: str) -> str | None:
    """Return the letters of what a person typed; ``None``: it cannot be a code."""
    letters = re.sub(r"[\s-]", "", text).upper()
    good = len(letters) == USER_CODE_LENGTH and set(letters) <= set(USER_CODE_LETTERS)
    return letters if good else None


def split_scope(scope: str) -> frozenset[str]:
    return frozenset(scope.split())


def join_scope(names: Collection[str]) -> str:
    return " ".join(sorted(names))


def select_permissions(granted: frozenset[str], scope: str) -> frozenset[str]:
    """Return what of a role's permissions a token may use."""
    names = split_scope(scope)
    return granted if ALL_SCOPE in names else granted & names


def check_redirect_uri(text: str) -> str:
    """Return a redirect address that may be registered.

    Raises:
        InvalidInput: ``invalid_redirect_uri``: neither HTTPS nor a loopback address (RFC 8252, section 7.3),
            or with a fragment, a user, or characters that have no business in an address.
    """
    reason = "A redirect URI is https://… without a fragment, or http://127.0.0.1/… for a native app."
    fine = 0 < len(text) <= MAX_REDIRECT_URI and text.isascii() and text.isprintable()
    if not fine or set(text) & set(' "\\<>#*^`{|}'):
        raise InvalidInput(reason, code="invalid_redirect_uri")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(reason, code="invalid_redirect_uri") from error
    secure = parts.scheme == "https" and host and "." in host
    if "@" in parts.netloc or not (secure or (parts.scheme == "http" and host in _LOOPBACK)):
        raise InvalidInput(reason, code="invalid_redirect_uri")
    return text


def is_redirect_allowed(registered: Iterable[str], given: str) -> bool:
    """Say whether ``given`` is registered: by every character, but for the port of a loopback address."""
    return any(given == each or _is_same_but_port(each, given) for each in registered)


def _is_same_but_port(registered: str, given: str) -> bool:
    try:
        ours, theirs = urlsplit(registered), urlsplit(given)
        port = theirs.port
    except ValueError:
        return False
    if ours.scheme != "http" or ours.hostname not in _LOOPBACK or ours.port is not None or port is None:
        return False
    return given == registered.replace(ours.netloc, f"{ours.netloc}:{port}", 1)
