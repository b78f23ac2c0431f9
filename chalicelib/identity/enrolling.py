"""Second factors: setting up codes of an app, taking them away, and the codes that are written down."""

import base64
import hashlib
from dataclasses import dataclass, field, replace

from chalicelib.core.errors import Conflict, Forbidden, Unauthenticated
from chalicelib.core.ports import Transaction
from chalicelib.identity.guessing import pass_gates, tell_right
from chalicelib.identity.model import MINUTE_MS, Factors, Method, Person, Session, User
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    TOTP,
    Browser,
    StartedSession,
    add_audit,
    open_user,
    raise_epoch,
    renew_session,
    require_fresh,
    require_person,
)
from chalicelib.identity.signing_in import SignedIn, add_sign_in, find_ticket, hash_recovery
from chalicelib.identity.telling import tell

RECOVERY_CODES = 10
#: 24 characters of 5 bits: 120 bits each, so that a fast digest of one cannot be searched.
RECOVERY_GROUPS, GROUP_LENGTH = 4, 6
ENROLMENT_MS = 15 * MINUTE_MS
_ENROLLED = "An app for codes was set up for your account, with new recovery codes."


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What is shown once: the secret as text, and as a picture (SVG) that an app scans."""

    secret: str = field(repr=False)
    picture: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """``codes`` are shown once. ``started`` replaces the session, which ended with all others."""

    started: StartedSession
    codes: tuple[str, ...] = field(repr=False)
    device: str | None = field(default=None, repr=False)


def begin_enrolment(ports: IdentityPorts, user_id: str) -> Enrolment:
    """Make a secret that counts for nothing until `confirm_enrolment`; the one before it is forgotten.

    Raises:
        Conflict: ``already_enrolled``.
    """
    factors = ports.store.get_factors(user_id)
    if factors.is_enrolled:
        raise Conflict("There is an app already; take it away first.", code="already_enrolled")
    secret = ports.codes.new_secret()
    after = replace(
        factors,
        pending=ports.vault.seal(user_id, TOTP, secret),
        pending_until_ms=ports.clock.now_ms() + ENROLMENT_MS,
        version=factors.version + 1,
    )
    tx = ports.transactions()
    ports.store.replace_factors(tx, factors, after)
    add_audit(ports, tx, user_id, "totp.enrolment_begun", user_id)
    tx.commit()
    user = open_user(ports, require_person(ports, user_id))
    return Enrolment(secret, ports.codes.draw(secret, user.email or user_id))


def confirm_enrolment(
    ports: IdentityPorts, user: User, session: Session, code: str, browser: Browser
) -> Enrolled:
    """Take the app into use by its first code; every other session ends.

    Raises:
        Forbidden: ``step_up_needed``.
        Unauthenticated: ``invalid_code``, ``enrolment_expired``.
    """
    require_fresh(ports, session)
    person = require_person(ports, user.user_id)
    change, codes = _confirm(ports, person, code)
    after = raise_epoch(person)
    tx = ports.transactions()
    ports.store.replace_factors(tx, *change)
    ports.store.replace_person(tx, person, after)
    proven: frozenset[Method] = session.methods | {"otp"}
    started = renew_session(ports, tx, after, replace(session, methods=proven), browser)
    add_audit(ports, tx, user.user_id, "totp.enrolled", user.user_id)
    tx.commit()
    tell(ports, user, _ENROLLED)
    return Enrolled(started, codes)


def enrol_at_sign_in(ports: IdentityPorts, ticket: str | None, code: str, browser: Browser) -> Enrolled:
    """Take the app into use for who must have one before they are signed in.

    Raises:
        Unauthenticated: ``link_expired``, ``invalid_code``, ``enrolment_expired``.
        Conflict: ``already_enrolled``: its codes are asked for, not another app.
    """
    token, person = find_ticket(ports, ticket)
    if ports.store.get_factors(person.user_id).is_enrolled:
        raise Conflict("There is an app already; give its code.", code="already_enrolled")
    change, codes = _confirm(ports, person, code)
    user, after = open_user(ports, person), raise_epoch(person)
    tx = ports.transactions()
    ports.store.use_token(tx, token, ports.clock.now_ms())
    ports.store.replace_factors(tx, *change)
    ports.store.replace_person(tx, person, after)
    # Both happen, and each is looked for by its own name.
    add_audit(ports, tx, person.user_id, "totp.enrolled", person.user_id)
    first: Method = "fed" if token.data["method"] == "fed" else "pwd"
    signed_in: SignedIn = add_sign_in(ports, tx, after, frozenset({first, "otp"}), browser)
    tx.commit()
    tell(ports, user, _ENROLLED)
    return Enrolled(signed_in.started, codes, signed_in.device)


def disable_totp(ports: IdentityPorts, user: User, session: Session, browser: Browser) -> StartedSession:
    """Take the app and the written codes away; every other session ends.

    Raises:
        Forbidden: ``step_up_needed``; ``second_factor_needed``: a role asks for one.
        Conflict: ``password_too_short``: it is too short to be the only factor. ``passkeys_left``.
    """
    require_fresh(ports, session)
    person, factors = require_person(ports, user.user_id), ports.store.get_factors(user.user_id)
    if ports.memberships.needs_second_factor(user.user_id):
        raise Forbidden("Your role asks for a second factor.", code="second_factor_needed")
    if not person.password_is_long:
        raise Conflict(
            "Choose a longer password first: without codes it stands alone.", code="password_too_short"
        )
    if factors.passkeys:
        raise Conflict("Take your passkeys away first.", code="passkeys_left")
    after = raise_epoch(person)
    bare = Factors(user.user_id, last_step=factors.last_step, passkeys=factors.passkeys)
    tx = ports.transactions()
    ports.store.replace_factors(tx, factors, replace(bare, version=factors.version + 1))
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "totp.disabled", user.user_id)
    tx.commit()
    tell(ports, user, "The app for codes was taken away from your account, with its recovery codes.")
    return started


def renew_recovery_codes(ports: IdentityPorts, user: User, session: Session) -> tuple[str, ...]:
    """Put new codes in place of those that are left; they are shown once.

    Raises:
        Forbidden: ``step_up_needed``.
        Conflict: ``not_enrolled``.
    """
    require_fresh(ports, session)
    factors = ports.store.get_factors(user.user_id)
    if not factors.is_enrolled:
        raise Conflict("Set up an app first.", code="not_enrolled")
    codes = _make_codes(ports)
    after = replace(factors, recovery=_hash_all(codes), version=factors.version + 1)
    tx: Transaction = ports.transactions()
    ports.store.replace_factors(tx, factors, after)
    add_audit(ports, tx, user.user_id, "recovery_codes.renewed", user.user_id)
    tx.commit()
    tell(ports, user, "New recovery codes were made for your account; those before are worth nothing.")
    return codes


def _confirm(
    ports: IdentityPorts, person: Person, code: str
) -> tuple[tuple[Factors, Factors], tuple[str, ...]]:
    passed = pass_gates(ports, [("code", f"{person.user_id}#enrolment")])
    factors, now_ms = ports.store.get_factors(person.user_id), ports.clock.now_ms()
    if factors.pending is None or now_ms >= factors.pending_until_ms:
        raise Unauthenticated("This took too long. Begin again.", code="enrolment_expired")
    secret = ports.vault.open(person.user_id, TOTP, factors.pending)
    step = None if secret is None else ports.codes.find_step(secret, code, now_ms)
    if step is None:
        raise Unauthenticated("This code is not right.", code="invalid_code")
    tell_right(ports, passed)
    codes = _make_codes(ports)
    after = replace(
        factors,
        sealed_totp=factors.pending,
        last_step=step,
        pending=None,
        pending_until_ms=0,
        recovery=_hash_all(codes),
        version=factors.version + 1,
    )
    return (factors, after), codes


def _make_codes(ports: IdentityPorts) -> tuple[str, ...]:
    return tuple(_spell(ports.ids.new_secret()) for _ in range(RECOVERY_CODES))


def _spell(secret: str) -> str:
    """Return 120 bits of a secret in four groups that can be read out."""
    raw = hashlib.sha256(f"recovery:{secret}".encode()).digest()[: RECOVERY_GROUPS * GROUP_LENGTH * 5 // 8]
    text = base64.b32encode(raw).decode().lower()
    return "-".join(text[start : start + GROUP_LENGTH] for start in range(0, len(text), GROUP_LENGTH))


def _hash_all(codes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(hash_recovery(code) for code in codes)
