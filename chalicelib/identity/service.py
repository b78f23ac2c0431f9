"""Use cases of people and their sessions; how they sign in, up and back in stands beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.identity.model import (
    SEEN_EVERY_MS,
    SESSION_MS,
    Factors,
    Method,
    Person,
    Purpose,
    Session,
    Token,
    User,
    UserStatus,
    build_cookie,
    hash_secret,
    is_digest_of,
    parse_cookie,
)
from chalicelib.identity.ports import IdentityPorts

EMAIL, NAME, TOTP = "email", "name", "totp"
#: Passkeys, of one item each, and links, of two, that one transaction takes away.
SIGN_INS_PER_ACT = 10


@dataclass(frozen=True, slots=True)
class Browser:
    """Who asks, before anybody knows who it is. ``device``: the secret of a browser that is known."""

    address: str
    label: str = "A browser on an unknown system"
    device: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StartedSession:
    """``cookie`` exists nowhere else."""

    session: Session
    cookie: str = field(repr=False)


def find_session(ports: IdentityPorts, secret: str | None) -> tuple[User, Session] | None:
    """Return who a cookie is of, read consistently; ``None``: nobody, or no longer.

    Who has a role that asks for a second factor, and gave none, is nobody until it is given.
    """
    parsed = None if secret is None else parse_cookie(secret)
    if parsed is None:
        return None
    session = ports.store.get_session(parsed[0])
    if session is None or not is_digest_of(session.digest, parsed[1]):
        return None
    found = _check_session(ports, session)
    if found is None:
        return None
    now_ms = ports.clock.now_ms()
    if now_ms - session.seen_at_ms >= SEEN_EVERY_MS:
        ports.store.note_seen(session, now_ms)
    return open_user(ports, found), session


def get_session(ports: IdentityPorts, session_id: str) -> Session | None:
    """Return a session that still stands, by its id alone: for tokens that were granted within it."""
    session = ports.store.get_session(session_id)
    return None if session is None or _check_session(ports, session) is None else session


def get_user(ports: IdentityPorts, user_id: str) -> User | None:
    person = ports.store.get_person(user_id)
    return None if person is None else open_user(ports, person)


def list_sessions(ports: IdentityPorts, user: User) -> Sequence[Session]:
    """Return where the person is signed in, newest first."""
    now_ms = ports.clock.now_ms()
    sessions = ports.store.list_sessions(user.user_id)
    live = [each for each in sessions if each.epoch == user.epoch and each.is_live(now_ms)]
    return sorted(live, key=lambda each: each.created_at_ms, reverse=True)


def end_session(ports: IdentityPorts, user: User, session_id: str) -> None:
    """End one of the person's own sessions, this one or another. A repeat changes nothing.

    Raises:
        NotFound: no such session, or not theirs.
    """
    session = ports.store.get_session(session_id)
    if session is None or session.user_id != user.user_id:
        raise NotFound("There is no such session.")
    if session.ended_at_ms is not None:
        return
    tx = ports.transactions()
    ports.store.end_session(tx, session_id, ports.clock.now_ms())
    add_audit(ports, tx, user.user_id, "session.ended", session_id)
    tx.commit()


def end_all_sessions(ports: IdentityPorts, user: User) -> None:
    """End every session and every token that was granted in one: the epoch says that they are of before."""
    person = require_person(ports, user.user_id)
    tx = ports.transactions()
    ports.store.replace_person(tx, person, raise_epoch(person))
    add_audit(ports, tx, user.user_id, "session.all_ended", user.user_id)
    tx.commit()


def set_status(ports: IdentityPorts, actor: str, user_id: str, status: UserStatus) -> None:
    """Suspend a person, take them back, or erase what is personal in their record. Ends every session.

    Who is erased stays so. The key under which the fields were sealed is destroyed by who calls, and what is
    kept beside the record is taken away by `forget_sign_ins` and `forget_sessions`.

    Raises:
        NotFound: there is no such person.
        Conflict: ``person_erased``.
    """
    tx = ports.transactions()
    if add_status(ports, tx, actor, user_id, status):
        tx.commit()


def add_status(ports: IdentityPorts, tx: Transaction, actor: str, user_id: str, status: UserStatus) -> bool:
    """As `set_status`, as a part of a transaction; ``False``: there is nothing to change."""
    person = require_person(ports, user_id)
    if person.status == status:
        return False
    if person.status == "erased":
        raise Conflict("The person is erased.", code="person_erased")
    after = replace(raise_epoch(person), status=status)
    if status == "erased":
        after = replace(after, email_key=None, sealed_email=None, sealed_name=None, password_digest=None)
    ports.store.replace_person(tx, person, after)
    if status == "erased":
        factors = ports.store.get_factors(user_id)
        ports.store.replace_factors(tx, factors, Factors(user_id, version=factors.version + 1))
    add_audit(ports, tx, user_id, f"person.{status}", user_id, actor=actor)
    return True


def forget_sign_ins(ports: IdentityPorts, user_id: str, deadline_ms: int) -> bool:
    """Take passkeys and links away of who signs in no more; ``False``: time ran out, after one part."""
    acts = [partial(ports.store.remove_passkey, passkey=each) for each in ports.store.list_passkeys(user_id)]
    acts += [partial(ports.store.remove_link, link=each) for each in ports.store.list_links(user_id)]
    for start in range(0, len(acts), SIGN_INS_PER_ACT):
        tx = ports.transactions()
        for act in acts[start : start + SIGN_INS_PER_ACT]:
            act(tx)
        tx.commit()
        if ports.clock.now_ms() >= deadline_ms:
            return False
    return True


def forget_sessions(ports: IdentityPorts, user_id: str, deadline_ms: int) -> bool:
    """Take every session away of who can begin none any more; ``False``: time ran out, after one."""
    for session in ports.store.find_sessions(user_id):
        ports.store.remove_session(session.session_id)
        if ports.clock.now_ms() >= deadline_ms:
            return False
    return True


def add_session(
    ports: IdentityPorts,
    tx: Transaction,
    person: Person,
    methods: frozenset[Method],
    browser: Browser,
    replaced: Session | None = None,
    proved_at_ms: int | None = None,
) -> StartedSession:
    """Write a session under a new id and a new secret; ``replaced``, of the same browser, ends with it.

    ``proved_at_ms``: when who it is was proved, if not now.
    """
    now_ms = ports.clock.now_ms()
    session_id, secret = ports.ids.new_id("ses"), ports.ids.new_secret()
    session = Session(
        session_id=session_id,
        user_id=person.user_id,
        epoch=person.epoch,
        created_at_ms=now_ms,
        authenticated_at_ms=now_ms if proved_at_ms is None else proved_at_ms,
        methods=methods,
        expires_at_ms=now_ms + SESSION_MS,
        seen_at_ms=now_ms,
        digest=hash_secret(secret),
        label=browser.label,
    )
    ports.store.add_session(tx, session)
    if replaced is not None:
        ports.store.end_session(tx, replaced.session_id, now_ms)
    return StartedSession(session, build_cookie(session_id, secret))


def renew_session(
    ports: IdentityPorts, tx: Transaction, person: Person, session: Session, browser: Browser
) -> StartedSession:
    """Write a session of the person's new epoch in place of one, for who has just ended all the others.

    It is as old and as fresh as the one that it replaces.

    Raises:
        Unauthenticated: that one ended since it was read, as all of its epoch did.
    """
    if session.epoch != person.epoch - 1:
        raise Unauthenticated("You are signed out. Sign in again.")
    now_ms = ports.clock.now_ms()
    session_id, secret = ports.ids.new_id("ses"), ports.ids.new_secret()
    renewed = replace(
        session,
        session_id=session_id,
        epoch=person.epoch,
        created_at_ms=now_ms,
        seen_at_ms=now_ms,
        digest=hash_secret(secret),
        label=browser.label,
    )
    ports.store.add_session(tx, renewed)
    ports.store.end_session(tx, session.session_id, now_ms)
    return StartedSession(renewed, build_cookie(session_id, secret))


def require_fresh(ports: IdentityPorts, session: Session) -> None:
    """Raises Forbidden (``step_up_needed``): the person signed in more than five minutes ago."""
    if not session.is_fresh(ports.clock.now_ms()):
        raise Forbidden("Sign in again to do this.", code="step_up_needed")


def require_person(ports: IdentityPorts, user_id: str) -> Person:
    person = ports.store.get_person(user_id)
    if person is None:
        raise NotFound("There is no such person.")
    return person


def require_active(ports: IdentityPorts, user_id: str) -> Person:
    """As `require_person`, for what is added: nothing is to who was suspended or erased meanwhile.

    Raises:
        Unauthenticated: ``link_expired``.
    """
    person = require_person(ports, user_id)
    if person.status != "active":
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    return person


def open_user(ports: IdentityPorts, person: Person) -> User:
    def unseal(name: str, sealed: str | None) -> str | None:
        return None if sealed is None else ports.vault.open(person.user_id, name, sealed)

    return User(
        person.user_id,
        unseal(EMAIL, person.sealed_email),
        unseal(NAME, person.sealed_name),
        person.status,
        person.epoch,
        person.created_at_ms,
        person.email_verified_at_ms,
        person.password_digest,
    )


def raise_epoch(person: Person) -> Person:
    return replace(person, epoch=person.epoch + 1, version=person.version + 1)


def issue_token(
    ports: IdentityPorts,
    tx: Transaction,
    purpose: Purpose,
    *,
    lasts_ms: int,
    user_id: str | None = None,
    data: dict[str, str] | None = None,
) -> str:
    """Write a token and return its text, which is stored nowhere."""
    secret, now_ms = ports.ids.new_secret(), ports.clock.now_ms()
    token = Token(hash_secret(secret), purpose, user_id, now_ms, now_ms + lasts_ms, data or {})
    ports.store.add_token(tx, token)
    return secret


def find_token(ports: IdentityPorts, purpose: Purpose, secret: str | None) -> Token:
    """Raises Unauthenticated: ``link_expired``: no such token, or it is used, old, or for something else."""
    token = ports.store.get_token(hash_secret(secret or ""))
    if token is None or not token.is_good(purpose, ports.clock.now_ms()):
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    return token


def add_audit(
    ports: IdentityPorts,
    tx: Transaction,
    user_id: str,
    action: str,
    subject: str,
    *,
    actor: str | None = None,
    **details: object,
) -> None:
    """Write down what a person did, in the person's own trail."""
    entry = AuditEntry(
        ports.ids.new_id("aud"), user_id, actor or user_id, action, subject, ports.clock.now_ms(), details
    )
    ports.audit.add_entry(tx, entry)


def _check_session(ports: IdentityPorts, session: Session) -> Person | None:
    if not session.is_live(ports.clock.now_ms()):
        return None
    person = ports.store.get_person(session.user_id)
    if person is None or person.status != "active" or person.epoch != session.epoch:
        return None
    if not session.has_second_factor and ports.memberships.needs_second_factor(person.user_id):
        return None
    return person
