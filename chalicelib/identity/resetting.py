"""Back in by mail, and other changes of password and address. None of them skips the second factor."""

from dataclasses import replace

from chalicelib.core.errors import InvalidInput, Unauthenticated
from chalicelib.identity import messages
from chalicelib.identity.guessing import DEVICE_MS, pass_gates
from chalicelib.identity.model import (
    HOUR_MS,
    Person,
    Session,
    User,
    derive_email_key,
    normalise_email,
)
from chalicelib.identity.passwords import check_password, is_long_enough_alone, normalise_password
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    EMAIL,
    Browser,
    StartedSession,
    add_audit,
    find_token,
    issue_token,
    open_user,
    raise_epoch,
    renew_session,
    require_fresh,
    require_person,
)

RESET_MS = HOUR_MS
CHANGE_MS = HOUR_MS


def ask_reset(ports: IdentityPorts, email: str, browser: Browser) -> None:
    """Send a link to choose a new password; whoever has no account is told so by mail, and only there.

    Raises:
        InvalidInput: ``invalid_email``.
        Conflict: ``too_many_attempts``.
    """
    address = normalise_email(email)
    email_key = derive_email_key(address, ports.read_pepper())
    # Apart from sign-ups, which send the owner no link: nobody uses up the owner's mails with those.
    pass_gates(ports, [("mails", browser.address), ("mail", f"reset#{email_key}")])
    user_id = ports.store.find_user_id(email_key)
    tx = ports.transactions()
    # Without a person the link is written too, and sent to nobody: the work is the same.
    subject = user_id or ports.ids.new_id("usr")
    data = {"email_key": email_key}
    secret = issue_token(ports, tx, "reset", lasts_ms=RESET_MS, user_id=user_id, data=data)
    add_audit(ports, tx, subject, "password.reset_asked", subject)
    tx.commit()
    base = ports.public_url()
    known = messages.reset_password(address, f"{base}/reset/confirm?token={secret}")
    ports.mailer.send(known if user_id else messages.tell_unknown(address, f"{base}/signup"))


def reset_password(ports: IdentityPorts, secret: str, password: str) -> str:
    """Put a new password in place of the old and end every session; return a secret for this browser.

    It signs nobody in: who has a second factor gives it at the next sign-in, as ever. By the secret that
    sign-in is counted apart, so that whoever guesses meanwhile shuts nobody out.

    Raises:
        Unauthenticated: ``link_expired``.
        InvalidInput: as `check_password`.
    """
    token = find_token(ports, "reset", secret)
    person = None if token.user_id is None else ports.store.get_person(token.user_id)
    if person is None or person.email_key != token.data["email_key"] or person.status != "active":
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    after = _with_password(ports, person, password)
    tx = ports.transactions()
    ports.store.use_token(tx, token, ports.clock.now_ms())
    ports.store.replace_person(tx, person, after)
    data = {"email_key": token.data["email_key"]}
    device = issue_token(ports, tx, "device", lasts_ms=DEVICE_MS, user_id=person.user_id, data=data)
    add_audit(ports, tx, person.user_id, "password.reset", person.user_id)
    tx.commit()
    _tell(ports, person, "Your password was reset by mail.")
    return device


def change_password(
    ports: IdentityPorts, user: User, session: Session, current: str, password: str, browser: Browser
) -> StartedSession:
    """Put a new password in place of the one that the person gives; every other session ends.

    Raises:
        Unauthenticated: ``invalid_credentials``: it is not the current one.
        Conflict: ``too_many_attempts``.
        InvalidInput: as `check_password`.
    """
    person = require_person(ports, user.user_id)
    pass_gates(ports, [("code", f"{user.user_id}#password")])
    if not ports.hasher.verify(person.password_digest, normalise_password(current)):
        raise Unauthenticated("The current password is not right.")
    after = _with_password(ports, person, password)
    tx = ports.transactions()
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "password.changed", user.user_id)
    tx.commit()
    _tell(ports, person, "Your password was changed.")
    return started


def ask_new_address(ports: IdentityPorts, user: User, session: Session, email: str, browser: Browser) -> None:
    """Send a link to the new address; nothing changes until it is opened by who is signed in.

    Raises:
        Forbidden: ``step_up_needed``.
        InvalidInput: ``invalid_email``.
        Conflict: ``too_many_attempts``.
    """
    require_fresh(ports, session)
    address = normalise_email(email)
    if address == user.email:
        raise InvalidInput("This is your address already.", code="invalid_email")
    email_key = derive_email_key(address, ports.read_pepper())
    pass_gates(ports, [("mails", browser.address), ("mail", f"change#{email_key}")])
    known = ports.store.find_user_id(email_key)
    data = {"email_key": email_key, "email": ports.vault.seal(user.user_id, EMAIL, address)}
    tx = ports.transactions()
    secret = issue_token(ports, tx, "email", lasts_ms=CHANGE_MS, user_id=user.user_id, data=data)
    add_audit(ports, tx, user.user_id, "email.change_asked", user.user_id)
    tx.commit()
    base = ports.public_url()
    change = messages.confirm_change(address, f"{base}/account/email/confirm?token={secret}")
    # Whose it is already is told as at a sign-up; who asked learns nothing.
    taken = messages.tell_known(address, f"{base}/signin", f"{base}/reset")
    ports.mailer.send(change if known is None else taken)


def change_address(
    ports: IdentityPorts, user: User, session: Session, secret: str, browser: Browser
) -> StartedSession:
    """Move the person to the address whose mail they opened; every other session ends.

    Raises:
        Unauthenticated: ``link_expired``: also when it is somebody else's.
        Conflict: ``email_taken``.
    """
    token = find_token(ports, "email", secret)
    if token.user_id != user.user_id:
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    person = require_person(ports, user.user_id)
    now_ms = ports.clock.now_ms()
    after = replace(
        raise_epoch(person),
        email_key=token.data["email_key"],
        sealed_email=token.data["email"],
        email_verified_at_ms=now_ms,
    )
    tx = ports.transactions()
    ports.store.use_token(tx, token, now_ms)
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "email.changed", user.user_id)
    tx.commit()
    _tell(ports, person, "The address of your account was changed; this one is no longer used.")
    return started


def _with_password(ports: IdentityPorts, person: Person, text: str) -> Person:
    user, password = open_user(ports, person), normalise_password(text)
    second = ports.store.get_factors(person.user_id).is_enrolled
    own = [each for each in (user.email, user.name) if each]
    check_password(password, second_factor=second, own_words=own, is_common=ports.is_common)
    return replace(
        raise_epoch(person),
        password_digest=ports.hasher.hash(password),
        password_is_long=is_long_enough_alone(password),
    )


def _tell(ports: IdentityPorts, person: Person, what: str) -> None:
    email = open_user(ports, person).email
    if email is not None:
        ports.mailer.send(messages.tell_change(email, what, f"{ports.public_url()}/reset"))
