"""How a person comes to be: asked for with a password, and made when who has the mail gives it again.

The answer, the reads, the writes and the mails are the same for an address that is known. A person is made
only with the password of the sign-up *and* the link of the mail: who signs somebody else up gets nothing by
the other opening the link.
"""

from dataclasses import dataclass, field

from chalicelib.core.errors import Conflict, Unauthenticated
from chalicelib.core.ports import Mail
from chalicelib.identity import messages
from chalicelib.identity.guessing import pass_gates
from chalicelib.identity.model import (
    DAY_MS,
    Person,
    Token,
    clean_name,
    derive_email_key,
    normalise_email,
)
from chalicelib.identity.passwords import check_password, is_long_enough_alone, normalise_password
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    EMAIL,
    NAME,
    Browser,
    StartedSession,
    add_audit,
    add_session,
    find_token,
    issue_token,
)

VERIFY_MS = DAY_MS
#: How often the mail of one sign-up may be asked for again, and with which password it may be tried.
MAX_RESENDS = 5
MAX_VERIFY_TRIES = 10


@dataclass(frozen=True, slots=True)
class SignUp:
    email: str
    password: str = field(repr=False)
    name: str


def sign_up(ports: IdentityPorts, command: SignUp, browser: Browser) -> str:
    """Send a mail; return a secret with which it can be sent again.

    Raises:
        InvalidInput: ``invalid_email``, ``invalid_name``, and as `check_password`.
        Conflict: ``too_many_attempts``.
        Unavailable: the mail was not taken.
    """
    email, name = normalise_email(command.email), clean_name(command.name)
    password = normalise_password(command.password)
    check_password(password, second_factor=False, own_words=(email, name), is_common=ports.is_common)
    email_key = derive_email_key(email, ports.read_pepper())
    pass_gates(ports, [("mails", browser.address), ("mail", f"signup#{email_key}")])
    known = ports.store.find_user_id(email_key)
    user_id = known or ports.ids.new_id("usr")
    ports.vault.ensure_key(user_id)
    data = {
        "email_key": email_key,
        "email": ports.vault.seal(user_id, EMAIL, email),
        "name": ports.vault.seal(user_id, NAME, name),
        "password": ports.hasher.hash(password),
        "known": "yes" if known else "",
    }
    tx = ports.transactions()
    again = issue_token(ports, tx, "signup", lasts_ms=VERIFY_MS, user_id=user_id, data=data)
    verify = issue_token(ports, tx, "verify", lasts_ms=VERIFY_MS, user_id=user_id, data=data)
    if known is None:
        # As much work as an entry of the trail, which never goes, and which nobody is there yet to have.
        issue_token(ports, tx, "signup", lasts_ms=VERIFY_MS)
    else:
        add_audit(ports, tx, user_id, "person.signup_asked", user_id)
    tx.commit()
    ports.mailer.send(_write(ports, email, verify, known=known is not None))
    return again


def send_again(ports: IdentityPorts, secret: str | None, browser: Browser) -> None:
    """Send the mail of a sign-up again, with another link; the first one stays good.

    Raises:
        Unauthenticated: ``link_expired``.
        Conflict: ``too_many_attempts``.
    """
    token = find_token(ports, "signup", secret)
    pass_gates(ports, [("mails", browser.address), ("mail", f"signup#{token.data['email_key']}")])
    if not ports.store.count_use(token, MAX_RESENDS):
        raise Conflict("The mail was sent often enough. Begin again later.", code="too_many_attempts")
    assert token.user_id is not None
    email = ports.vault.open(token.user_id, EMAIL, token.data["email"])
    assert email is not None, "nobody erases a person who is not there yet"
    tx = ports.transactions()
    verify = issue_token(
        ports, tx, "verify", lasts_ms=VERIFY_MS, user_id=token.user_id, data=dict(token.data)
    )
    tx.commit()
    ports.mailer.send(_write(ports, email, verify, known=bool(token.data["known"])))


def verify_address(ports: IdentityPorts, secret: str, password: str, browser: Browser) -> StartedSession:
    """Make the person whose sign-up this is, and sign them in.

    Raises:
        Unauthenticated: ``link_expired``, or ``invalid_credentials``: it is not the password of the sign-up.
        Conflict: ``email_taken``: the address belongs to somebody by now.
    """
    token = find_token(ports, "verify", secret)
    if token.data["known"] or not ports.store.count_use(token, MAX_VERIFY_TRIES):
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    given = normalise_password(password)
    if not ports.hasher.verify(token.data["password"], given):
        raise Unauthenticated("This is not the password that you signed up with.")
    person = _build_person(token, ports.clock.now_ms(), is_long=is_long_enough_alone(given))
    tx = ports.transactions()
    ports.store.use_token(tx, token, ports.clock.now_ms())
    ports.store.add_person(tx, person)
    started = add_session(ports, tx, person, frozenset({"pwd"}), browser)
    add_audit(ports, tx, person.user_id, "person.signed_up", person.user_id)
    tx.commit()
    return started


def _build_person(token: Token, now_ms: int, *, is_long: bool) -> Person:
    assert token.user_id is not None
    return Person(
        user_id=token.user_id,
        email_key=token.data["email_key"],
        sealed_email=token.data["email"],
        sealed_name=token.data["name"],
        status="active",
        epoch=1,
        created_at_ms=now_ms,
        email_verified_at_ms=now_ms,
        password_digest=token.data["password"],
        password_is_long=is_long,
    )


def _write(ports: IdentityPorts, email: str, secret: str, *, known: bool) -> Mail:
    base = ports.public_url()
    if known:
        return messages.tell_known(email, f"{base}/signin", f"{base}/reset")
    return messages.verify_address(email, f"{base}/verify?token={secret}")
