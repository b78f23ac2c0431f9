"""Passkeys: both factors in one. Who has an app already adds one, so that losing it locks nobody out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chalicelib.core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.ids import is_id
from chalicelib.identity.guessing import pass_gates
from chalicelib.identity.model import MINUTE_MS, Passkey, Purpose, Session, User, hash_secret
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    Browser,
    StartedSession,
    add_audit,
    find_token,
    issue_token,
    raise_epoch,
    renew_session,
    require_active,
    require_fresh,
    require_person,
)
from chalicelib.identity.signing_in import SignedIn, add_sign_in
from chalicelib.identity.telling import tell

CHALLENGE_MS = 5 * MINUTE_MS
MAX_PASSKEYS = 10
MAX_LABEL = 60
#: Of a credential id in base64url: it is part of a sort key. Discoverable ones have 16 to 64 bytes.
MAX_CREDENTIAL = 700


@dataclass(frozen=True, slots=True)
class Asked:
    """``options`` go to the browser; ``secret`` finds the challenge again, which is good once."""

    options: str
    secret: str = field(repr=False)


def begin_registration(ports: IdentityPorts, user: User, session: Session) -> Asked:
    """Ask a browser for a new passkey.

    Raises:
        Forbidden: ``step_up_needed``.
        Conflict: ``not_enrolled``, ``too_many_passkeys``.
    """
    require_fresh(ports, session)
    if not ports.store.get_factors(user.user_id).is_enrolled:
        raise Conflict("Set up an app first: it lets you in when a passkey is lost.", code="not_enrolled")
    known = ports.store.list_passkeys(user.user_id)
    _require_room(known)
    challenge = ports.passkeys.new_challenge()
    secret = _keep(ports, "register", challenge, user.user_id)
    options = ports.passkeys.build_registration(
        challenge,
        user_id=user.user_id,
        user_name=user.email or user.user_id,
        known=[each.credential_id for each in known],
    )
    return Asked(options, secret)


def finish_registration(
    ports: IdentityPorts, user: User, session: Session, secret: str, answer: str, label: str, browser: Browser
) -> StartedSession:
    """Keep a passkey; every other session ends.

    Raises:
        Forbidden: ``step_up_needed``.
        Unauthenticated: ``link_expired``.
        InvalidInput: ``invalid_passkey``.
        Conflict: ``passkey_known``; ``too_many_passkeys``: others were registered since it was begun.
    """
    require_fresh(ports, session)
    token = find_token(ports, "register", secret)
    if token.user_id != user.user_id:
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    credential = ports.passkeys.verify_registration(token.data["challenge"], answer)
    if len(credential.credential_id) > MAX_CREDENTIAL:
        raise InvalidInput("This passkey was not accepted.", code="invalid_passkey")
    now_ms = ports.clock.now_ms()
    name = "".join(c for c in label if c.isprintable()).strip()[:MAX_LABEL] or "Passkey"
    passkey = Passkey(
        credential.credential_id, user.user_id, credential.public_key, credential.sign_count, name, now_ms
    )
    person, factors = require_active(ports, user.user_id), ports.store.get_factors(user.user_id)
    if not factors.is_enrolled:
        raise Conflict("Set up an app first: it lets you in when a passkey is lost.", code="not_enrolled")
    # Of two that end at once the second begins again: both would change the same record.
    _require_room(ports.store.list_passkeys(user.user_id))
    after = raise_epoch(person)
    tx = ports.transactions()
    ports.store.use_token(tx, token, now_ms)
    ports.store.add_passkey(tx, passkey)
    more = replace(factors, passkeys=factors.passkeys + 1, version=factors.version + 1)
    ports.store.replace_factors(tx, factors, more)
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "passkey.registered", hash_secret(credential.credential_id)[:16])
    tx.commit()
    tell(ports, user, "A passkey was added to your account: it signs in without the password.")
    return started


def remove_passkey(
    ports: IdentityPorts, user: User, session: Session, credential_id: str, browser: Browser
) -> StartedSession:
    """Forget a passkey; every other session ends.

    Raises:
        Forbidden: ``step_up_needed``.
        NotFound: there is none, or it is somebody else's.
    """
    require_fresh(ports, session)
    named = 0 < len(credential_id) <= MAX_CREDENTIAL
    passkey = ports.store.get_passkey(user.user_id, credential_id) if named else None
    if passkey is None:
        raise NotFound("There is no such passkey.")
    person, factors = require_person(ports, user.user_id), ports.store.get_factors(user.user_id)
    after = raise_epoch(person)
    tx = ports.transactions()
    ports.store.remove_passkey(tx, passkey)
    fewer = replace(factors, passkeys=max(0, factors.passkeys - 1), version=factors.version + 1)
    ports.store.replace_factors(tx, factors, fewer)
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "passkey.removed", hash_secret(credential_id)[:16])
    tx.commit()
    tell(ports, user, "A passkey was taken away from your account.")
    return started


def begin_assertion(ports: IdentityPorts, browser: Browser) -> Asked:
    """Ask a browser for any passkey that it has of ours.

    Raises:
        Conflict: ``too_many_attempts``.
    """
    pass_gates(ports, [("address", f"passkey#{browser.address}")])
    challenge = ports.passkeys.new_challenge()
    secret = _keep(ports, "assert", challenge, None)
    return Asked(ports.passkeys.build_assertion(challenge), secret)


def finish_assertion(
    ports: IdentityPorts, secret: str, answer: str, browser: Browser, replaced: Session | None = None
) -> SignedIn:
    """Sign in by a passkey: what its owner has, and what the authenticator checked of them.

    Raises:
        Unauthenticated: ``link_expired``, or ``invalid_credentials``; one answer for all that is wrong.
    """
    token = find_token(ports, "assert", secret)
    refusal = Unauthenticated("This passkey was not accepted.")
    try:
        user_id, credential_id = ports.passkeys.read_owner(answer)
        if not is_id(user_id, "usr") or not 0 < len(credential_id) <= MAX_CREDENTIAL:
            raise refusal
        passkey = ports.store.get_passkey(user_id, credential_id)
        person = None if passkey is None else ports.store.get_person(user_id)
        if passkey is None or person is None or person.status != "active":
            raise refusal
        sign_count = ports.passkeys.verify_assertion(token.data["challenge"], answer, passkey)
    except InvalidInput as error:
        raise refusal from error
    tx, now_ms = ports.transactions(), ports.clock.now_ms()
    ports.store.use_token(tx, token, now_ms)
    ports.store.use_passkey(tx, passkey, sign_count, now_ms)
    signed_in = add_sign_in(ports, tx, person, frozenset({"hwk"}), browser, replaced)
    tx.commit()
    return signed_in


def _require_room(known: Sequence[Passkey]) -> None:
    if len(known) >= MAX_PASSKEYS:
        raise Conflict(f"There are {MAX_PASSKEYS} passkeys already.", code="too_many_passkeys")


def _keep(ports: IdentityPorts, purpose: Purpose, challenge: str, user_id: str | None) -> str:
    tx, data = ports.transactions(), {"challenge": challenge}
    secret = issue_token(ports, tx, purpose, lasts_ms=CHALLENGE_MS, user_id=user_id, data=data)
    tx.commit()
    return secret
