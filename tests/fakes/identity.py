"""People in memory, with whatever is slow or outside in a form that can be counted."""

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.core.errors import Conflict, DomainError, NotFound, Unavailable
from chalicelib.core.ports import Mail
from chalicelib.identity.model import Factors, FederatedLink, Passkey, Person, Session, Token
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.throttling import Tries
from chalicelib.identity.totp_gateway import TotpCodes
from tests.fakes.database import FakeClock, FakeIds, MemoryDatabase, MemoryStore
from tests.fakes.records import FakeAuditTrail

PUBLIC_URL = "http://127.0.0.1:8000/base"


class FakePeopleStore(MemoryStore):
    """Counts its calls in ``calls``."""

    def __init__(self, db: MemoryDatabase) -> None:
        super().__init__(db)
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in {"db", "calls"}:
            object.__getattribute__(self, "calls")[name] += 1
        return object.__getattribute__(self, name)

    def get_person(self, user_id: str) -> Person | None:
        return self.db.table("people").get(user_id)

    def find_user_id(self, email_key: str) -> str | None:
        return self.db.table("emails").get(email_key)

    def add_person(self, tx: Any, person: Person) -> None:
        tx.put_new("people", person.user_id, person, Conflict("taken", code="email_taken"))
        tx.put_new("emails", person.email_key, person.user_id, Conflict("taken", code="email_taken"))

    def replace_person(self, tx: Any, before: Person, after: Person) -> None:
        people, emails = self.db.table("people"), self.db.table("emails")
        moved = before.email_key != after.email_key

        def check() -> DomainError | None:
            if people[before.user_id].version != before.version:
                return Unavailable("changed")
            if moved and after.email_key in emails:
                return Conflict("taken", code="email_taken")
            return None

        def effect() -> None:
            people[after.user_id] = after
            if moved:
                emails.pop(before.email_key, None)
                if after.email_key is not None:
                    emails[after.email_key] = after.user_id

        tx.add(check, effect)

    def rehash(self, person: Person, digest: str) -> None:
        self.db.table("people")[person.user_id] = replace(person, password_digest=digest)

    def get_factors(self, user_id: str) -> Factors:
        return self.db.table("factors").get(user_id, Factors(user_id))

    def replace_factors(self, tx: Any, before: Factors, after: Factors) -> None:
        rows = self.db.table("factors")

        def check() -> DomainError | None:
            now = rows.get(before.user_id, Factors(before.user_id))
            return None if now.version == before.version else Unavailable("changed")

        tx.add(check, lambda: rows.__setitem__(after.user_id, after))

    def get_session(self, session_id: str) -> Session | None:
        return self.db.table("sessions").get(session_id)

    def list_sessions(self, user_id: str) -> list[Session]:
        return [each for each in self.db.table("sessions").values() if each.user_id == user_id]

    def find_sessions(self, user_id: str) -> Iterator[Session]:
        return iter(self.list_sessions(user_id))

    def remove_session(self, session_id: str) -> None:
        self.db.table("sessions").pop(session_id, None)

    def add_session(self, tx: Any, session: Session) -> None:
        tx.put_new("sessions", session.session_id, session, Unavailable("session"))

    def end_session(self, tx: Any, session_id: str, at_ms: int) -> None:
        rows = self.db.table("sessions")
        tx.add(
            lambda: None if session_id in rows else Unavailable("session"),
            lambda: rows.__setitem__(session_id, replace(rows[session_id], ended_at_ms=at_ms)),
        )

    def note_seen(self, session: Session, now_ms: int) -> None:
        rows = self.db.table("sessions")
        rows[session.session_id] = replace(rows[session.session_id], seen_at_ms=now_ms)

    def get_token(self, digest: str) -> Token | None:
        return self.db.table("tokens").get(digest)

    def add_token(self, tx: Any, token: Token) -> None:
        tx.put_new("tokens", token.digest, token, Unavailable("token"))

    def use_token(self, tx: Any, token: Token, now_ms: int) -> None:
        rows = self.db.table("tokens")

        def check() -> DomainError | None:
            used = rows[token.digest].used_at_ms is not None
            return Conflict("used", code="link_used") if used else None

        tx.add(check, lambda: rows.__setitem__(token.digest, replace(rows[token.digest], used_at_ms=now_ms)))

    def count_use(self, token: Token, at_most: int) -> bool:
        rows = self.db.table("tokens")
        with self.db.lock:
            now = rows[token.digest]
            if now.used_at_ms is not None or now.uses >= at_most:
                return False
            rows[token.digest] = replace(now, uses=now.uses + 1)
        return True

    def get_tries(self, key: str) -> Tries:
        return self.db.table("tries").get(key, Tries())

    def replace_tries(self, key: str, before: Tries, after: Tries, expires_at_ms: int) -> bool:
        with self.db.lock:
            if self.get_tries(key).version != before.version:
                return False
            self.db.table("tries")[key] = after
        return True

    def list_passkeys(self, user_id: str) -> list[Passkey]:
        return [each for each in self.db.table("passkeys").values() if each.user_id == user_id]

    def get_passkey(self, user_id: str, credential_id: str) -> Passkey | None:
        return self.db.table("passkeys").get((user_id, credential_id))

    def add_passkey(self, tx: Any, passkey: Passkey) -> None:
        key = (passkey.user_id, passkey.credential_id)
        tx.put_new("passkeys", key, passkey, Conflict("known", code="passkey_known"))

    def remove_passkey(self, tx: Any, passkey: Passkey) -> None:
        rows, key = self.db.table("passkeys"), (passkey.user_id, passkey.credential_id)
        tx.add(lambda: None if key in rows else Unavailable("passkey"), lambda: rows.pop(key))

    def use_passkey(self, tx: Any, passkey: Passkey, sign_count: int, now_ms: int) -> None:
        rows, key = self.db.table("passkeys"), (passkey.user_id, passkey.credential_id)
        tx.add(
            lambda: None if rows[key].sign_count == passkey.sign_count else Unavailable("passkey"),
            lambda: rows.__setitem__(key, replace(passkey, sign_count=sign_count, used_at_ms=now_ms)),
        )

    def get_link(self, issuer: str, subject: str) -> FederatedLink | None:
        return self.db.table("links").get((issuer, subject))

    def list_links(self, user_id: str) -> list[FederatedLink]:
        return [each for each in self.db.table("links").values() if each.user_id == user_id]

    def add_link(self, tx: Any, link: FederatedLink) -> None:
        tx.put_new("links", (link.issuer, link.subject), link, Conflict("linked", code="link_taken"))
        # A link is two items.
        tx.add(lambda: None, lambda: None)

    def remove_link(self, tx: Any, link: FederatedLink) -> None:
        rows, key = self.db.table("links"), (link.issuer, link.subject)
        tx.add(lambda: None if key in rows else Unavailable("link"), lambda: rows.pop(key))
        tx.add(lambda: None, lambda: None)


class FakeVault:
    """Seals by marking whose a text is; once the key is gone, nothing opens."""

    def __init__(self) -> None:
        self.keys: dict[str, bool] = {}
        self.calls: Counter[str] = Counter()

    def ensure_key(self, user_id: str) -> None:
        self.calls["ensure_key"] += 1
        if self.keys.setdefault(user_id, True) is False:
            raise Conflict("The key was destroyed.")

    def seal(self, user_id: str, field: str, text: str) -> str:
        self.calls["seal"] += 1
        if not self.keys.get(user_id):
            raise NotFound("There is no key.")
        return base64.b64encode(f"{user_id}|{field}|{text}".encode()).decode()

    def open(self, user_id: str, field: str, sealed: str) -> str | None:
        self.calls["open"] += 1
        owner, name, text = base64.b64decode(sealed).decode().split("|", 2)
        assert (owner, name) == (user_id, field), "sealed for another person or field"
        return text if self.keys.get(user_id) else None

    def destroy_key(self, user_id: str) -> None:
        self.keys[user_id] = False


class FakeMailer:
    """Takes nothing while it ``is_down``."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.is_down = False

    def send(self, mail: Mail) -> None:
        if self.is_down:
            raise Unavailable("mail")
        self.sent.append(mail)

    def read_link(self) -> str:
        """The token of the newest mail's link."""
        return self.sent[-1].text.partition("token=")[2].split()[0]


class FakeHasher:
    """As fast as an equality, and counted."""

    def __init__(self) -> None:
        self.work = 0
        self.scheme = "v1"

    def hash(self, password: str) -> str:
        self.work += 1
        return f"{self.scheme}:{password}"

    def verify(self, digest: str | None, password: str) -> bool:
        self.work += 1
        return digest is not None and digest.partition(":")[2] == password

    def is_outdated(self, digest: str) -> bool:
        return not digest.startswith(f"{self.scheme}:")


@dataclass
class FakeMemberships:
    strict: set[str] = field(default_factory=set)

    def needs_second_factor(self, user_id: str) -> bool:
        return user_id in self.strict


class FakePeople:
    """All ports of `identity` over one database in memory."""

    def __init__(self, db: MemoryDatabase | None = None, clock: FakeClock | None = None) -> None:
        from chalicelib.identity.common_gateway import is_common
        from chalicelib.identity.passkey_gateway import WebAuthnPasskeys

        self.db, self.clock, self.ids = db or MemoryDatabase(), clock or FakeClock(), FakeIds()
        self.store, self.vault = FakePeopleStore(self.db), FakeVault()
        self.mailer, self.hasher, self.memberships = FakeMailer(), FakeHasher(), FakeMemberships()
        self.audit, self.codes = FakeAuditTrail(self.db), TotpCodes()
        self.public_url = PUBLIC_URL
        #: Persons who were not told of a change to their account.
        self.untold: list[str] = []
        self.ports = IdentityPorts(
            self.store,
            self.vault,
            self.mailer,
            self.hasher,
            is_common,
            self.codes,
            WebAuthnPasskeys(lambda: self.public_url),
            self.memberships,
            self.audit,
            self.db.begin,
            self.clock,
            self.ids,
            lambda: b"pepper of the tests",
            lambda: self.public_url,
            self.untold.append,
        )

    def count_work(self) -> tuple[int, ...]:
        """Calls made so far: hashes, reads and writes of the store and the trail, seals, mails, commits."""
        return (
            self.hasher.work,
            sum(self.store.calls.values()) + len(self.audit.entries),
            sum(self.vault.calls.values()),
            len(self.mailer.sent),
            self.db.commits,
        )
