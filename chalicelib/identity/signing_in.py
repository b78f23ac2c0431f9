"""Signing in: a password, then a code where there is or must be a second factor. Nobody learns who exists.

Between the two stands a ticket, which is no session: it opens nothing but the next step.
"""

from dataclasses import dataclass, field, replace

from chalicelib.core.errors import Unauthenticated
from chalicelib.core.ports import Transaction
from chalicelib.identity.guessing import DEVICE_MS, Passed, choose_gates, pass_gates, tell_right
from chalicelib.identity.model import (
    MINUTE_MS,
    Factors,
    Method,
    Person,
    Session,
    Token,
    derive_email_key,
    hash_secret,
    normalise_email,
)
from chalicelib.identity.passwords import normalise_password
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    TOTP,
    Browser,
    StartedSession,
    add_audit,
    add_session,
    find_token,
    issue_token,
    require_person,
)

TICKET_MS = 10 * MINUTE_MS
#: Codes that one ticket may try.
MAX_CODES = 5
#: Read in place of a person where there is none, so that it takes as long.
NOBODY = "usr_00000000000000000000000000"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """``device`` is a secret for the browser to keep: by it, it is known the next time."""

    started: StartedSession
    device: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A first factor was right. ``enrolled``: a code is asked for next; else one must be set up first."""

    secret: str = field(repr=False)
    enrolled: bool


def sign_in(
    ports: IdentityPorts, email: str, password: str, browser: Browser, replaced: Session | None = None
) -> SignedIn | Ticket:
    """Check a password.

    Raises:
        Unauthenticated: unknown address, wrong password or a person who may not sign in; one answer for all.
        Conflict: ``too_many_attempts``.
        InvalidInput: no address, or what cannot be a password.
    """
    email_key = derive_email_key(normalise_email(email), ports.read_pepper())
    given = normalise_password(password)
    passed = pass_gates(ports, choose_gates(ports, email_key, browser))
    person = ports.store.get_person(ports.store.find_user_id(email_key) or NOBODY)
    right = ports.hasher.verify(None if person is None else person.password_digest, given)
    if person is None or not right or person.status != "active":
        raise Unauthenticated("The address or the password is not right.")
    tell_right(ports, passed)
    assert person.password_digest is not None
    if ports.hasher.is_outdated(person.password_digest):
        ports.store.rehash(person, ports.hasher.hash(given))
    return finish_first_factor(ports, person, "pwd", browser, replaced)


def finish_first_factor(
    ports: IdentityPorts,
    person: Person,
    method: Method,
    browser: Browser,
    replaced: Session | None = None,
    proved_at_ms: int | None = None,
) -> SignedIn | Ticket:
    """Begin a session, or hand out a ticket to who has a second factor or must have one.

    ``proved_at_ms``: when the factor was given, if not now; a code that follows is given now.
    """
    factors = ports.store.get_factors(person.user_id)
    if factors.is_enrolled or ports.memberships.needs_second_factor(person.user_id):
        tx = ports.transactions()
        data = {"method": method, "epoch": str(person.epoch)}
        secret = issue_token(ports, tx, "signin", lasts_ms=TICKET_MS, user_id=person.user_id, data=data)
        tx.commit()
        return Ticket(secret, factors.is_enrolled)
    return begin_session(ports, person, frozenset({method}), browser, replaced, proved_at_ms)


def find_ticket(ports: IdentityPorts, secret: str | None) -> tuple[Token, Person]:
    """Raises Unauthenticated (``link_expired``): no ticket, or the person changed since it was given."""
    token = find_token(ports, "signin", secret)
    assert token.user_id is not None
    person = require_person(ports, token.user_id)
    if str(person.epoch) != token.data["epoch"] or person.status != "active":
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    return token, person


def sign_in_with_code(
    ports: IdentityPorts, secret: str | None, code: str, browser: Browser, replaced: Session | None = None
) -> SignedIn:
    """Check a code of the person's app.

    Raises:
        Unauthenticated: ``link_expired``, or ``invalid_code``: wrong, old, or used already.
        Conflict: ``too_many_attempts``.
    """
    token, person = find_ticket(ports, secret)
    factors, passed = _admit_code(ports, token, person, browser)
    step = check_code(ports, factors, code)
    after = replace(factors, last_step=step, version=factors.version + 1)
    signed_in = _finish(ports, token, person, (factors, after), browser, replaced)
    tell_right(ports, passed)
    return signed_in


def sign_in_with_recovery(
    ports: IdentityPorts, secret: str | None, code: str, browser: Browser, replaced: Session | None = None
) -> SignedIn:
    """Check one of the codes that were written down; it is good once.

    Raises:
        Unauthenticated: ``link_expired``, ``invalid_code``.
        Conflict: ``too_many_attempts``.
    """
    token, person = find_ticket(ports, secret)
    factors, passed = _admit_code(ports, token, person, browser)
    digest = hash_recovery(code)
    if digest not in factors.recovery:
        raise Unauthenticated("This code is not right.", code="invalid_code")
    after = replace(factors, recovery=factors.recovery - {digest}, version=factors.version + 1)
    signed_in = _finish(ports, token, person, (factors, after), browser, replaced)
    tell_right(ports, passed)
    return signed_in


def check_code(ports: IdentityPorts, factors: Factors, code: str) -> int:
    """Return the step of a right code that is newer than the last one that was taken.

    Raises:
        Unauthenticated: ``invalid_code``.
    """
    sealed = factors.sealed_totp
    totp = None if sealed is None else ports.vault.open(factors.user_id, TOTP, sealed)
    step = None if totp is None else ports.codes.find_step(totp, code, ports.clock.now_ms())
    if step is None or step <= factors.last_step:
        raise Unauthenticated("This code is not right, or it was used already.", code="invalid_code")
    return step


def begin_session(
    ports: IdentityPorts,
    person: Person,
    methods: frozenset[Method],
    browser: Browser,
    replaced: Session | None = None,
    proved_at_ms: int | None = None,
) -> SignedIn:
    """Sign a person in who has given all that is asked."""
    tx = ports.transactions()
    signed_in = add_sign_in(ports, tx, person, methods, browser, replaced, proved_at_ms)
    tx.commit()
    return signed_in


def add_sign_in(
    ports: IdentityPorts,
    tx: Transaction,
    person: Person,
    methods: frozenset[Method],
    browser: Browser,
    replaced: Session | None = None,
    proved_at_ms: int | None = None,
) -> SignedIn:
    """Write a session, and a token for a browser that this person did not come with before."""
    own = replaced if replaced is not None and replaced.user_id == person.user_id else None
    started = add_session(ports, tx, person, methods, browser, own, proved_at_ms)
    email_key, device = person.email_key or "", None
    if choose_gates(ports, email_key, browser)[0][0] != "device":
        data = {"email_key": email_key}
        device = issue_token(ports, tx, "device", lasts_ms=DEVICE_MS, user_id=person.user_id, data=data)
    session_id = started.session.session_id
    add_audit(ports, tx, person.user_id, "person.signed_in", session_id, methods=sorted(methods))
    return SignedIn(started, device)


def hash_recovery(code: str) -> str:
    """Return the digest of a recovery code, however it is spelled."""
    return hash_secret("".join(code.split()).replace("-", "").lower())


def _admit_code(
    ports: IdentityPorts, token: Token, person: Person, browser: Browser
) -> tuple[Factors, Passed]:
    """Count a try at the ticket and at the person's codes, apart by browsers that are known."""
    if not ports.store.count_use(token, MAX_CODES):
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    gate, key = choose_gates(ports, person.email_key or "", browser)[0]
    counted = f"{person.user_id}#{key}" if gate == "device" else person.user_id
    passed = pass_gates(ports, [("code", counted)])
    return ports.store.get_factors(person.user_id), passed


def _finish(
    ports: IdentityPorts,
    token: Token,
    person: Person,
    change: tuple[Factors, Factors],
    browser: Browser,
    replaced: Session | None,
) -> SignedIn:
    """Take the code and begin the session, in one transaction: of two at once with one code, one gets in."""
    method: Method = "fed" if token.data["method"] == "fed" else "pwd"
    tx = ports.transactions()
    ports.store.use_token(tx, token, ports.clock.now_ms())
    ports.store.replace_factors(tx, *change)
    signed_in = add_sign_in(ports, tx, person, frozenset({method, "otp"}), browser, replaced)
    tx.commit()
    return signed_in
