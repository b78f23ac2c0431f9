"""Signing in through another provider (OpenID Connect): by issuer and subject, never by an address.

A link to a person who is here already is made by that person, freshly signed in. Only whose address the
provider has verified, and nobody here has, becomes a new person by it.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from chalicelib.core.ports import Transaction
from chalicelib.identity.guessing import pass_gates
from chalicelib.identity.model import (
    MINUTE_MS,
    FederatedLink,
    Person,
    Purpose,
    Session,
    Token,
    User,
    clean_name,
    derive_email_key,
    hash_secret,
    normalise_email,
)
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import (
    EMAIL,
    NAME,
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
from chalicelib.identity.signing_in import SignedIn, Ticket, finish_first_factor
from chalicelib.identity.telling import tell

STATE_MS = 10 * MINUTE_MS
#: A provider's clock may be behind ours by this much.
AGAIN_LEEWAY_MS = MINUTE_MS
MAX_LINKS = 10
CALLBACK = "/signin/callback"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as an operator set it up; ``issuer`` is where its metadata is found."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str = "openid email profile"


@dataclass(frozen=True, slots=True)
class Claims:
    """What an id token said, once it was verified. ``authenticated_at_ms``: when the provider last asked."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    authenticated_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Proofs:
    """What ties an answer to the request: derived from its state, so that none of them is stored."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class ProviderClient(Protocol):
    """OpenID Connect, with the provider's metadata and keys as it publishes them."""

    def build_url(self, provider: Provider, proofs: Proofs, redirect_uri: str, *, again: bool) -> str:
        """``again``: the provider is to ask, whoever is signed in there, and to say when it did.

        The browser may change the address that it is given; `Claims` say what came of it. Raises Unavailable.
        """
        ...

    def redeem(self, provider: Provider, code: str, proofs: Proofs, redirect_uri: str) -> Claims:
        """Exchange a code, and verify signature, issuer, audience, times and nonce of the id token.

        Raises:
            Unauthenticated: ``provider_refused``.
            Unavailable: the provider did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProviderPorts:
    identity: IdentityPorts
    read_providers: Callable[[], Mapping[str, Provider]]
    client: ProviderClient

    def names(self) -> list[str]:
        return sorted(self.read_providers())


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where the browser goes, and what it keeps so that nobody else's answer is taken for its own."""

    url: str
    state: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """What came back: ``kept`` is the browser's own state; ``issuer`` as RFC 9207 has it, if it is sent."""

    kept: str | None = field(repr=False)
    state: str | None = field(repr=False)
    code: str | None = field(repr=False)
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """``outcome``: of a sign-in, or, where a link was made for who was signed in, the session that replaces
    theirs. ``next``: where they were going.
    """

    outcome: SignedIn | Ticket | StartedSession
    next: str


def leave(
    ports: ProviderPorts,
    name: str,
    browser: Browser,
    *,
    next_path: str = "",
    linking: tuple[User, Session] | None = None,
    again: bool = False,
) -> Leaving:
    """Send a browser to a provider, to sign in or, for who is signed in, to be linked.

    Raises:
        NotFound: no such provider.
        Forbidden: ``step_up_needed``: who wants a link has not just signed in.
        Conflict: ``too_many_attempts``.
    """
    provider = _find(ports, name)
    identity = ports.identity
    pass_gates(identity, [("address", f"provider#{browser.address}")])
    user_id = None
    if linking is not None:
        require_fresh(identity, linking[1])
        user_id = linking[0].user_id
    data = {"provider": name, "next": next_path}
    if again and linking is None:
        data["again"] = "1"
    tx = identity.transactions()
    purpose: Purpose = "federation" if linking is None else "link"
    state = issue_token(identity, tx, purpose, lasts_ms=STATE_MS, user_id=user_id, data=data)
    tx.commit()
    url = ports.client.build_url(
        provider, derive_proofs(state), f"{identity.public_url()}{CALLBACK}", again=again
    )
    return Leaving(url, state)


def come_back(
    ports: ProviderPorts, answer: Callback, browser: Browser, signed_in: tuple[User, Session] | None
) -> Returned:
    """Take a provider's answer.

    Raises:
        Unauthenticated: ``link_expired``: the state is not this browser's, old or used; ``provider_refused``.
        Conflict: ``link_taken``: somebody is linked already; ``too_many_links``; ``email_taken``: sign in,
            and link it there.
        Forbidden: ``step_up_needed``; ``email_not_verified``: the provider does not vouch for the address;
            ``step_up_not_proved``: it was to ask again, and does not say that it did.
    """
    identity = ports.identity
    if not answer.state or not answer.code or answer.kept != answer.state:
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    token = _find_state(identity, answer.state)
    linking = signed_in if token.purpose == "link" else None
    if token.purpose == "link" and (linking is None or token.user_id != linking[0].user_id):
        raise Unauthenticated("This is no longer valid. Begin again.", code="link_expired")
    provider = _find(ports, token.data["provider"])
    if answer.issuer is not None and answer.issuer != provider.issuer:
        raise Unauthenticated("The provider's answer was not accepted.", code="provider_refused")
    # Used before it is redeemed: one state is one attempt.
    tx = identity.transactions()
    identity.store.use_token(tx, token, identity.clock.now_ms())
    tx.commit()
    redirect_uri = f"{identity.public_url()}{CALLBACK}"
    claims = ports.client.redeem(provider, answer.code, derive_proofs(answer.state), redirect_uri)
    if linking is not None:
        return Returned(_link(identity, provider, claims, linking, browser), token.data["next"])
    if "again" in token.data:
        _require_asked(claims, token.created_at_ms)
    link = identity.store.get_link(claims.issuer, claims.subject)
    person = _sign_up(identity, provider, claims) if link is None else _find_person(identity, link)
    replaced = None if signed_in is None else signed_in[1]
    proved_at_ms = _bound_proof(claims, identity.clock.now_ms())
    outcome = finish_first_factor(identity, person, "fed", browser, replaced, proved_at_ms)
    return Returned(outcome, token.data["next"])


def unlink(ports: ProviderPorts, user: User, session: Session, name: str, browser: Browser) -> StartedSession:
    """Take a link away; every other session ends, as whoever signed in by it has one.

    Raises:
        Forbidden: ``step_up_needed``.
        NotFound: there is none.
        Conflict: ``last_sign_in``: nothing else would let the person in.
    """
    identity = ports.identity
    require_fresh(identity, session)
    links = identity.store.list_links(user.user_id)
    link = next((each for each in links if each.provider == name), None)
    if link is None:
        raise NotFound("There is no such link.")
    if user.password_digest is None and len(links) == 1:
        raise Conflict("Choose a password first, or you could not sign in again.", code="last_sign_in")
    person = require_person(identity, user.user_id)
    after = raise_epoch(person)
    tx = identity.transactions()
    identity.store.remove_link(tx, link)
    identity.store.replace_person(tx, person, after)
    started = renew_session(identity, tx, after, session, browser)
    add_audit(identity, tx, user.user_id, "provider.unlinked", user.user_id, provider=name)
    tx.commit()
    tell(identity, user, f"{name} is no longer linked to your account.")
    return started


def derive_proofs(state: str) -> Proofs:
    def derive(what: str) -> str:
        raw = hashlib.sha256(f"{what}:{state}".encode()).digest()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return Proofs(state, derive("nonce"), derive("verifier"))


def _find_state(ports: IdentityPorts, state: str) -> Token:
    """A state is either of a sign-in or of a link; which of them, it was made for."""
    token = ports.store.get_token(hash_secret(state))
    purpose: Purpose = "link" if token is not None and token.purpose == "link" else "federation"
    return find_token(ports, purpose, state)


def _find(ports: ProviderPorts, name: str) -> Provider:
    provider = ports.read_providers().get(name)
    if provider is None:
        raise NotFound("There is no such provider.")
    return provider


def _require_asked(claims: Claims, since_ms: int) -> None:
    """Who sits at a browser that is signed in there proves nothing: the provider must have asked since."""
    if claims.authenticated_at_ms is None or claims.authenticated_at_ms < since_ms - AGAIN_LEEWAY_MS:
        raise Forbidden(
            "The provider does not say that it asked you just now. Confirm with your password or a passkey; "
            "who has no password chooses one by a reset.",
            code="step_up_not_proved",
        )


def _bound_proof(claims: Claims, now_ms: int) -> int:
    """Return since when a session counts as fresh: never, where the provider does not say when it asked."""
    return min(claims.authenticated_at_ms or 0, now_ms)


def _find_person(ports: IdentityPorts, link: FederatedLink) -> Person:
    person = require_person(ports, link.user_id)
    if person.status != "active":
        raise Unauthenticated("The provider's answer was not accepted.", code="provider_refused")
    return person


def _link(
    ports: IdentityPorts, provider: Provider, claims: Claims, linking: tuple[User, Session], browser: Browser
) -> StartedSession:
    """Add a way in; every other session ends."""
    user, session = linking
    require_fresh(ports, session)
    person = require_active(ports, user.user_id)
    if len(ports.store.list_links(user.user_id)) >= MAX_LINKS:
        raise Conflict(f"There are {MAX_LINKS} links already.", code="too_many_links")
    after = raise_epoch(person)
    tx = ports.transactions()
    _add_link(ports, tx, provider, claims, user.user_id)
    # Of two at once, or of one beside an erasure, the second begins again.
    ports.store.replace_person(tx, person, after)
    started = renew_session(ports, tx, after, session, browser)
    add_audit(ports, tx, user.user_id, "provider.linked", user.user_id, provider=provider.name)
    tx.commit()
    what = f"{provider.name} was linked to your account: it signs in without the password."
    tell(ports, user, what)
    return started


def _sign_up(ports: IdentityPorts, provider: Provider, claims: Claims) -> Person:
    if claims.email is None or not claims.email_verified:
        raise Forbidden(
            "The provider does not vouch for your address. Create an account with it, and link it there.",
            code="email_not_verified",
        )
    email, now_ms = normalise_email(claims.email), ports.clock.now_ms()
    email_key = derive_email_key(email, ports.read_pepper())
    if ports.store.find_user_id(email_key) is not None:
        raise Conflict(
            "There is an account with your address. Sign in to it, and link the provider there.",
            code="email_taken",
        )
    user_id = ports.ids.new_id("usr")
    ports.vault.ensure_key(user_id)
    person = Person(
        user_id=user_id,
        email_key=email_key,
        sealed_email=ports.vault.seal(user_id, EMAIL, email),
        sealed_name=ports.vault.seal(user_id, NAME, clean_name(claims.name or email)),
        status="active",
        epoch=1,
        created_at_ms=now_ms,
        email_verified_at_ms=now_ms,
        password_digest=None,
        password_is_long=False,
    )
    tx = ports.transactions()
    ports.store.add_person(tx, person)
    _add_link(ports, tx, provider, claims, user_id)
    add_audit(ports, tx, user_id, "person.signed_up", user_id, provider=provider.name)
    tx.commit()
    return person


def _add_link(
    ports: IdentityPorts, tx: Transaction, provider: Provider, claims: Claims, user_id: str
) -> None:
    link = FederatedLink(claims.issuer, claims.subject, user_id, provider.name, ports.clock.now_ms())
    ports.store.add_link(tx, link)
