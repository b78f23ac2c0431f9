"""A person before a question: who it is, for which organisations they may agree, and that it was they."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.core.errors import Forbidden
from chalicelib.core.ids import is_id
from chalicelib.identity.model import SESSION_COOKIE, Session, derive_form_token, is_form_token
from chalicelib.oauth.model import SECOND_MS, Client, Consent

if TYPE_CHECKING:
    from chalicelib.oauth.ports import OAuthPorts

COOKIE = SESSION_COOKIE
LEAST_MAX_AGE, MAX_AGE_DIGITS = 60, 9


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in, in which browser. ``form_token``: what every form of theirs carries."""

    user_id: str
    name: str
    epoch: int
    session: Session
    form_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Organisation:
    account_id: str
    name: str
    role: str


def find_person(ports: "OAuthPorts", cookie: str | None) -> Person | None:
    """Return who is signed in; ``None``: nobody, or somebody who is no longer active."""
    found = None if not cookie else ports.standing.find_session(cookie)
    if cookie is None or found is None or found[0].status != "active":
        return None
    user, session = found
    if session.ended_at_ms is not None or session.epoch != user.epoch:
        return None
    return Person(user.user_id, user.name or user.user_id, user.epoch, session, derive_form_token(cookie))


def is_too_old(ports: "OAuthPorts", person: Person, max_age: str) -> bool:
    """Say whether a program wants a later sign-in: ``max_age`` in seconds, and no less than a minute.

    Source: OpenID Connect Core 1.0, section 3.1.2.1; RFC 9470, section 4. What is no number asks for nothing.
    """
    if not (max_age.isascii() and max_age.isdecimal()) or len(max_age) > MAX_AGE_DIGITS:
        return False
    # Less than it takes to come back from the sign-in would lead there for ever.
    seconds = max(int(max_age), LEAST_MAX_AGE)
    return ports.clock.now_ms() - person.session.authenticated_at_ms > seconds * SECOND_MS


def check_form(cookie: str | None, given: str) -> None:
    """Raises Forbidden: the form was not one that we gave to this browser."""
    if not cookie or not is_form_token(cookie, given):
        raise Forbidden("The form is too old; go back, and load the page again.", code="form_token_invalid")


def list_organisations(ports: "OAuthPorts", person: Person, client: Client) -> Sequence[Organisation]:
    """Return for which organisations a person may agree: a registered client is of one of them alone."""
    members = ports.standing.list_memberships(person.user_id)
    mine = [each for each in members if client.is_first_party or each.account_id == client.account_id]
    return [
        Organisation(each.account_id, ports.standing.name_account(each.account_id), each.role)
        for each in mine
    ]


def build_consent(
    ports: "OAuthPorts", person: Person, client: Client, account_id: str, scope: str
) -> Consent:
    """Return what a person agrees to. Raises Forbidden: not for this organisation."""
    known = is_id(account_id, "acc")
    member = ports.standing.get_membership(account_id, person.user_id) if known else None
    if member is None or not (client.is_first_party or client.account_id == account_id):
        raise Forbidden("You do not belong to this organisation, or the program does not.")
    session = person.session
    return Consent(
        user_id=person.user_id,
        account_id=account_id,
        scope=scope,
        epoch=person.epoch,
        authenticated_at_ms=session.authenticated_at_ms,
        methods=tuple(sorted(session.methods)),
        browser_session_id=session.session_id,
    )
