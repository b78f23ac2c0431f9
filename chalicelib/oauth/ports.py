"""What the authorization server needs of others: records, keys that sign, and the standing of who asks."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Role
from chalicelib.identity.model import Session, User
from chalicelib.oauth.keyring import KeyRing, SigningKey
from chalicelib.oauth.model import (
    AuthorizationCode,
    Client,
    Consent,
    DeviceAuthorization,
    Grant,
    Guesses,
    RevokedToken,
    Secrets,
    UserCode,
    is_client_id,
)
from chalicelib.organisations.model import Membership, ServiceAccount

if TYPE_CHECKING:
    from chalicelib.oauth.signing import KeyCache

Record = (
    Client
    | Secrets
    | AuthorizationCode
    | DeviceAuthorization
    | UserCode
    | Guesses
    | Grant
    | RevokedToken
    | KeyRing
)
R = TypeVar("R", bound=Record)


class OAuthStore(Protocol):
    """Records by their own key, each with a version. All reads are consistent."""

    def get(self, kind: type[R], key: str) -> R | None: ...
    def add(self, tx: Transaction, record: Record) -> None:
        """Fails with Unavailable when one with its key is there."""

    def replace(self, tx: Transaction, record: Record) -> None:
        """Write ``record`` in place of the one with its version. Fails with Unavailable: that one is gone."""

    def list_clients(self, account_id: str, limit: int, start: str | None) -> Page[Client]: ...
    def list_grants(self, user_id: str, limit: int, start: str | None) -> Page[Grant]: ...


class Standing(Protocol):
    """Who somebody is now, read consistently from where it is kept."""

    def find_session(self, secret: str) -> tuple[User, Session] | None:
        """The signed-in person of a browser's cookie."""
        ...

    def get_user(self, user_id: str) -> User | None: ...
    def get_session(self, session_id: str) -> Session | None: ...
    def get_membership(self, account_id: str, user_id: str) -> Membership | None: ...
    def list_memberships(self, user_id: str) -> Sequence[Membership]: ...
    def get_service_account(self, service_account_id: str) -> ServiceAccount | None: ...
    def name_account(self, account_id: str) -> str: ...


class TokenSigner(Protocol):
    """Keeps the private halves of the signing keys, which never leave it."""

    def make_key(self) -> str:
        """Return what names the new key; it costs its keep from now on. Raises Unavailable."""
        ...

    def read_key(self, key_ref: str) -> tuple[str, str]:
        """Return x and y of the public half, as a JWK has them. Raises Unavailable: also for a new one."""
        ...

    def sign(self, key_ref: str, message: bytes) -> bytes:
        """Return r and s of ECDSA with P-256 and SHA-256, 32 bytes each. Raises Unavailable."""
        ...

    def drop_key(self, key_ref: str) -> None:
        """Have it destroyed in some days; a repeat changes nothing."""


class TokenCodec(Protocol):
    """JSON Web Tokens, signed and checked."""

    def read_kid(self, token: str) -> str:
        """Return the key that a token names. Raises Unauthenticated: its header is not one of ours."""
        ...

    def encode(self, claims: Mapping[str, object], key: SigningKey, signer: TokenSigner) -> str: ...
    def decode(self, token: str, key: SigningKey) -> Mapping[str, object]:
        """Return the claims of a token that ``key`` signed. Raises Unauthenticated: it did not."""
        ...


@dataclass(frozen=True, slots=True)
class OAuthPorts:
    """``issuer``: our address from outside, which is also the audience of our tokens."""

    store: OAuthStore
    standing: Standing
    signer: TokenSigner
    codec: TokenCodec
    keys: "KeyCache"
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    read_pepper: Callable[[], bytes]
    issuer: Callable[[], str]
    permissions: Mapping[Role, frozenset[str]]


def add_audit(
    ports: OAuthPorts, tx: Transaction, account_id: str, actor: str, action: str, subject: str
) -> None:
    entry = AuditEntry(ports.ids.new_id("aud"), account_id, actor, action, subject, ports.clock.now_ms())
    ports.audit.add_entry(tx, entry)


@dataclass(frozen=True, slots=True)
class EndpointCall:
    """A request of one of the protocol's endpoints. ``address``: as of `chalicelib.runtime.http.Call`."""

    method: str
    fields: Mapping[str, str]
    authorization: str = ""
    address: str = ""

    @property
    def client_id(self) -> str | None:
        """Whom it says it is of, if that has the form of a client's id: what else stands there is no id."""
        given = _read_basic(self.authorization) or self.fields.get("client_id", "")
        return given if is_client_id(given) else None


def _read_basic(authorization: str) -> str:
    """Return the name of RFC 7617; empty: there is none."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        text = base64.b64decode(credentials, validate=True).decode("ascii")
    except ValueError:
        return ""
    return text.partition(":")[0] if scheme.lower() == "basic" else ""


@dataclass(slots=True)
class Reply:
    """An answer in the protocol's own shape; ``location``: where the browser goes on."""

    status: int
    body: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = ""


@dataclass(frozen=True, slots=True)
class ConsentQuestion:
    """A good authorization request that a person has to decide."""

    client: Client
    scope: str
    redirect_uri: str


class Protocol20(Protocol):
    """OAuth 2.0 as the endpoints speak it."""

    def read_question(self, call: EndpointCall) -> ConsentQuestion | Reply:
        """Return what is to be decided, or the answer to a request that is not good."""
        ...

    def answer_authorization(self, call: EndpointCall, consent: Consent | None) -> Reply:
        """``None``: the person refused."""
        ...

    def answer_token(self, call: EndpointCall) -> Reply: ...
    def answer_device(self, call: EndpointCall) -> Reply: ...
    def answer_revocation(self, call: EndpointCall) -> Reply: ...
    def answer_introspection(self, call: EndpointCall) -> Reply: ...
    def build_metadata(self) -> Mapping[str, object]: ...
