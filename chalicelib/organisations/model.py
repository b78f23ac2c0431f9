"""Who belongs to an organisation, which is an account: what is owned, billed and audited together.

Invariants: an organisation that had an owner has one; nobody gives a role that may do more than their own;
of an invitation no address is stored, and of its token a keyed digest alone.
"""

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass

from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.ids import RANDOM_BYTES, build_id, is_id
from chalicelib.core.principal import MEMBER_ROLES, Role

INVITATION_LIFETIME_MS = 7 * 86_400_000
#: Reasons for which an erasure waits, and closing too. A payment or a debt is no such: a closed account pays.
CLOSING_WAITS_FOR = frozenset({"rental_open", "reservation_open", "volume_kept", "money_held"})
#: Labels of rentals that begin so are projects.
PROJECT_PREFIX = "prj_"
#: An owner is a person: somebody has to answer for the organisation.
SERVICE_ROLES: frozenset[Role] = MEMBER_ROLES - {"owner"}
MAX_ADDRESS = 254
#: Controls, and what else begins a new line: no part of a name that stands in a mail.
_NO_NAME = frozenset({"Cc", "Zl", "Zp"})
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@<>\"(),:;\\\[\]]+\.[^\s@<>\"(),:;\\\[\]]+")
_TOKEN_PARTS = 3


@dataclass(frozen=True, slots=True)
class Organisation:
    """What an account is to its members. Suspended or closed, it can be read and paid for alone."""

    account_id: str
    name: str
    currency: str
    created_at_ms: int
    suspended_at_ms: int | None = None
    closed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's role in one organisation; one per pair.

    ``issued_keys`` counts the API keys that they issued: whoever ends a membership has seen them all.
    """

    account_id: str
    user_id: str
    role: Role
    created_at_ms: int
    issued_keys: int = 0


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A program that acts in an organisation's name, with a role like a person's, and never signs in."""

    service_account_id: str
    account_id: str
    name: str
    role: Role
    created_at_ms: int
    disabled_at_ms: int | None = None
    issued_keys: int = 0


@dataclass(frozen=True, slots=True)
class Invitation:
    """``invitation_id`` is a keyed digest of account and address, so that there is one per address.

    ``token_digest`` is HMAC-SHA256 (hex) of the token under the pepper. ``mailed_at_ms`` ``None``: the mail
    has not been taken yet.
    """

    invitation_id: str
    account_id: str
    role: Role
    token_digest: str
    invited_by: str
    created_at_ms: int
    expires_at_ms: int
    mailed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """Its id is the label of what belongs to it: rentals, and so budgets and usage."""

    project_id: str
    account_id: str
    name: str
    created_at_ms: int
    archived_at_ms: int | None = None


def check_name(name: str) -> None:
    """Hold an organisation's name to what may stand in a mail of ours to somebody who does not know it.

    Raises:
        InvalidInput: ``invalid_name``: it has a link in it, or a character that is no part of a line.
    """
    if "://" in name or any(unicodedata.category(each) in _NO_NAME for each in name):
        raise InvalidInput("A name has no links and no control characters.", code="invalid_name")


def normalise_address(text: str) -> str:
    """Return an e-mail address in the form in which two are compared.

    Raises:
        InvalidInput: ``invalid_email``.
    """
    address = unicodedata.normalize("NFKC", text).strip().casefold()
    if len(address) > MAX_ADDRESS or not _ADDRESS.fullmatch(address) or not address.isprintable():
        raise InvalidInput("This is no e-mail address.", code="invalid_email")
    return address


def derive_invitation_id(account_id: str, address: str, pepper: bytes) -> str:
    """``address`` is normalised. Without the pepper nobody can try addresses against it."""
    message = f"invitation:{account_id}:{address}".encode()
    digest = hmac.new(pepper, message, hashlib.sha256).digest()
    return build_id("inv", now_ms=int.from_bytes(digest[:6]), randomness=digest[6 : 6 + RANDOM_BYTES])


def derive_invitation_token(account_id: str, invitation_id: str, seed: str, pepper: bytes) -> str:
    """Return ``<account>.<invitation>.<secret>`` (256 bits): a repeat of the request finds it again."""
    message = f"invitation-token:{account_id}:{invitation_id}:{seed}".encode()
    return f"{account_id}.{invitation_id}.{hmac.new(pepper, message, hashlib.sha256).hexdigest()}"


def read_invitation_token(token: str) -> tuple[str, str]:
    """Return account and invitation that a token names; its secret is not checked here.

    Raises:
        NotFound: it has another form.
    """
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS or not is_id(parts[0], "acc") or not is_id(parts[1], "inv"):
        raise NotFound("There is no such invitation.")
    return parts[0], parts[1]


def digest_invitation_token(token: str, pepper: bytes) -> str:
    return hmac.new(pepper, token.encode(), hashlib.sha256).hexdigest()


def blind_fingerprint(fingerprint: str, pepper: bytes) -> str:
    """Return what is kept of a request that holds an address: nothing that addresses can be tried against."""
    return hmac.new(pepper, f"fingerprint:{fingerprint}".encode(), hashlib.sha256).hexdigest()
