"""Back in by mail, and other changes of password and address. None of them skips the second factor."""

from dataclasses import dataclass, field, replace

from chalicelib.core.errors import InvalidInput, Unauthenticated
from chalicelib.identity import messages
from chalicelib.identity.guessing import DEVICE_MS, pass_gates
from chalicelib.identity.model import (
    HOUR_MS,
    Person,
    Session,
    Token,
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
from chalicelib.identity.signing_in import NOBODY
from chalicelib.identity.telling import list_ways, tell

RESET_MS = HOUR_MS
CHANGE_MS = HOUR_MS


@dataclass(frozen=True, slots=True)
class Reset:
    """``device`` makes this browser known. ``ways``: what still signs in without the password."""

    device: str = field(repr=False)
    ways: tuple[str, ...] = ()


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
    person = ports.store.get_person(user_id or NOBODY)
    tx = ports.transactions()
    # Without a person the link is written too, and sent to nobody: the work is the same.
    data = {"email_key": email_key, "epoch": str(0 if person is None else person.epoch)}
    secret = issue_token(ports, tx, "reset", lasts_ms=RESET_MS, user_id=user_id, data=data)
    if user_id is None:
        # As much work as an entry of the trail, which never goes, and which nobody is there to have.
        issue_token(ports, tx, "reset", lasts_ms=RESET_MS)
    else:
        add_audit(ports, tx, user_id, "password.reset_asked", user_id)
    tx.commit()
    base = ports.public_url()
    known = messages.reset_password(address, f"{base}/reset/confirm?token={secret}")
    ports.mailer.send(known if user_id else messages.tell_unknown(address, f"{base}/signup"))


def reset_password(ports: IdentityPorts, secret: str, password: str) -> Reset:
    """Put a new password in place of the old and end every session.

    It signs nobody in: who has a second factor gives it at the next sign-in, as ever. By the secret that
    sign-in is counted apart, so that whoever guesses meanwhile shuts nobody out.

    Raises:
        Unauthenticated: ``link_expired``: also when the person changed since the link was asked for. Who had
            the mail then and has it no longer gets nothing by what was kept.
        InvalidInput: as `check_password`.
    """
    token = find_token(ports, "reset", secret)
    person = None if token.user_id is None else ports.store.get_person(token.user_id)
    if person is None or person.status != "active" or not _is_as_asked(token, person):
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    user, ways = open_user(ports, person), list_ways(ports, person.user_id)
    after = _with_password(ports, person, user, password)
    tx = ports.transactions()
    ports.store.use_token(tx, token, ports.clock.now_ms())
    ports.store.replace_person(tx, person, after)
    data = {"email_key": token.data["email_key"]}
    device = issue_token(ports, tx, "device", lasts_ms=DEVICE_MS, user_id=person.user_id, data=data)
    add_audit(ports, tx, person.user_id, "password.reset", person.user_id)
    tx.commit()
    tell(ports, user, "Your password was reset by mail.", ways)
    return Reset(device, ways)


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
    after = _with_password(ports, person, user, password)
    tx = ports.transactions()
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "password.changed", user.user_id)
    tx.commit()
    tell(ports, user, "Your password was changed.")
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
    tell(ports, user, "The address of your account was changed; this one is no longer used.")
    return started


def _is_as_asked(token: Token, person: Person) -> bool:
    """Neither moved to another address nor otherwise changed by who could end what was granted before."""
    return token.data["email_key"] == person.email_key and token.data.get("epoch") == str(person.epoch)


def _with_password(ports: IdentityPorts, person: Person, user: User, text: str) -> Person:
    password = normalise_password(text)
    second = ports.store.get_factors(person.user_id).is_enrolled
    own = [each for each in (user.email, user.name) if each]
    check_password(password, second_factor=second, own_words=own, is_common=ports.is_common)
    return replace(
        raise_epoch(person),
        password_digest=ports.hasher.hash(password),
        password_is_long=is_long_enough_alone(password),
    )
