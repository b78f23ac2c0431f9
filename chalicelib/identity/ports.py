"""What the use cases of people need of the world."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.ports import AuditTrail, Clock, Ids, Mailer, PersonVault, Transaction, Transactions
from chalicelib.identity.model import Factors, FederatedLink, Passkey, Person, Session, Token
from chalicelib.identity.throttling import Tries


class PeopleStore(Protocol):
    """Every read is consistent, but the list of sessions, which nothing is decided by."""

    def get_person(self, user_id: str) -> Person | None: ...
    def find_user_id(self, email_key: str) -> str | None: ...
    def add_person(self, tx: Transaction, person: Person) -> None:
        """Also the pointer from its address. Fails with Conflict ``email_taken``, also for who is there."""

    def replace_person(self, tx: Transaction, before: Person, after: Person) -> None:
        """Moves the pointer where the address changes. Fails with Unavailable when ``before`` is no more,
        with Conflict ``email_taken``.
        """

    def rehash(self, person: Person, digest: str) -> None:
        """Put another digest of the same password in place of the person's; a failure changes nothing."""

    def get_factors(self, user_id: str) -> Factors: ...
    def replace_factors(self, tx: Transaction, before: Factors, after: Factors) -> None:
        """Fails with Unavailable when ``before`` is no more."""

    def get_session(self, session_id: str) -> Session | None: ...
    def list_sessions(self, user_id: str) -> Sequence[Session]:
        """The newest, for the person to see."""
        ...

    def find_sessions(self, user_id: str) -> Iterator[Session]:
        """Yield all that have not expired, from an index."""

    def remove_session(self, session_id: str) -> None:
        """Raises Unavailable."""

    def add_session(self, tx: Transaction, session: Session) -> None: ...
    def end_session(self, tx: Transaction, session_id: str, at_ms: int) -> None: ...
    def note_seen(self, session: Session, now_ms: int) -> None:
        """A failure changes nothing."""

    def get_token(self, digest: str) -> Token | None: ...
    def add_token(self, tx: Transaction, token: Token) -> None: ...
    def use_token(self, tx: Transaction, token: Token, now_ms: int) -> None:
        """Fails with Conflict ``link_used`` when somebody was faster."""

    def count_use(self, token: Token, at_most: int) -> bool:
        """Count a try at once; ``False``: there were as many already, or it is used."""
        ...

    def get_tries(self, key: str) -> Tries: ...
    def replace_tries(self, key: str, before: Tries, after: Tries, expires_at_ms: int) -> bool:
        """``False``: another try was counted in between."""
        ...

    def list_passkeys(self, user_id: str) -> Sequence[Passkey]: ...
    def get_passkey(self, user_id: str, credential_id: str) -> Passkey | None: ...
    def add_passkey(self, tx: Transaction, passkey: Passkey) -> None:
        """Fails with Conflict ``passkey_known``."""

    def remove_passkey(self, tx: Transaction, passkey: Passkey) -> None: ...
    def use_passkey(self, tx: Transaction, passkey: Passkey, sign_count: int, now_ms: int) -> None: ...

    def get_link(self, issuer: str, subject: str) -> FederatedLink | None: ...
    def list_links(self, user_id: str) -> Sequence[FederatedLink]: ...
    def add_link(self, tx: Transaction, link: FederatedLink) -> None:
        """Fails with Conflict ``link_taken``."""

    def remove_link(self, tx: Transaction, link: FederatedLink) -> None: ...


class Hasher(Protocol):
    """Slow digests of passwords, which tell their own parameters."""

    def hash(self, password: str) -> str: ...
    def verify(self, digest: str | None, password: str) -> bool:
        """``None``: as much work, and never right."""
        ...

    def is_outdated(self, digest: str) -> bool: ...


class OneTimeCodes(Protocol):
    """RFC 6238: six digits, of 30 seconds each."""

    def new_secret(self) -> str:
        """160 random bits in base 32."""
        ...

    def find_step(self, secret: str, code: str, now_ms: int) -> int | None:
        """The step that the code is of: now, the one before or the one after. ``None``: it is of none."""
        ...

    def draw(self, secret: str, account_name: str) -> str:
        """What an app scans, as SVG."""
        ...


class Memberships(Protocol):
    """What people are in organisations, as far as it is asked of them how they sign in."""

    def needs_second_factor(self, user_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Credential:
    """What an authenticator registered, in base64url."""

    credential_id: str
    public_key: str
    sign_count: int


class Passkeys(Protocol):
    """WebAuthn, level 2. Options and answers are JSON as the browser takes and gives it."""

    def new_challenge(self) -> str: ...
    def build_registration(
        self, challenge: str, *, user_id: str, user_name: str, known: Sequence[str]
    ) -> str: ...
    def verify_registration(self, challenge: str, answer: str) -> Credential:
        """Raises InvalidInput: ``invalid_passkey``."""
        ...

    def build_assertion(self, challenge: str) -> str: ...
    def read_owner(self, answer: str) -> tuple[str, str]:
        """Return (user id, credential id) that an answer names. Raises InvalidInput: ``invalid_passkey``."""
        ...

    def verify_assertion(self, challenge: str, answer: str, passkey: Passkey) -> int:
        """Return the new count. Raises InvalidInput: ``invalid_passkey``."""
        ...


@dataclass(frozen=True, slots=True)
class IdentityPorts:
    """``note_untold``: a person, by id, was not told of a change to their account."""

    store: PeopleStore
    vault: PersonVault
    mailer: Mailer
    hasher: Hasher
    is_common: Callable[[str], bool]
    codes: OneTimeCodes
    passkeys: Passkeys
    memberships: Memberships
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    read_pepper: Callable[[], bytes]
    public_url: Callable[[], str]
    note_untold: Callable[[str], None]
