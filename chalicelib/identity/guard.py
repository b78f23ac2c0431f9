"""The one way to a page: who is there, whether the form is ours, and what a refusal looks like.

A page is public to the API and guarded here, so that no page can forget it. Every form carries a token that
its session derives; before there is a session, a cookie that we signed takes its place.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote, urlencode

from chalicelib import wiring
from chalicelib.core.errors import DomainError, Forbidden
from chalicelib.identity import service
from chalicelib.identity.model import (
    SESSION_COOKIE,
    Session,
    User,
    choose_path,
    derive_form_token,
    is_form_token,
    label_agent,
)
from chalicelib.identity.service import Browser, StartedSession
from chalicelib.runtime.http import Answer, Api, Call, Html
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.pages import read_cookie, read_form, redirect, render_page, set_cookie
from chalicelib.runtime.problems import get_status

#: Stands in for a session in forms of who has none.
FORM_COOKIE = "__Host-form"
#: A browser that somebody signed in from: see `identity.guessing`.
DEVICE_COOKIE = "__Host-device"
#: What a first factor opened: the next step, and nothing else.
TICKET_COOKIE = "__Host-signin"
#: With what the mail of a sign-up is sent again.
SIGNUP_COOKIE = "__Host-signup"
FORM_SECONDS, TICKET_SECONDS, DEVICE_SECONDS, SIGNUP_SECONDS = 86_400, 600, 180 * 86_400, 86_400
#: Where a sign-in may lead by redirects: to an application that asked for it, by https or on this machine.
ANYWHERE = "'self' https: http://127.0.0.1:* http://localhost:*"

#: ``fresh``: who signed in within five minutes.
Who = Literal["anyone", "signed_in", "fresh"]


@dataclass(slots=True)
class Visit:
    """One request for a page. ``secret``: what its forms are tied to; ``cookies`` go out with the answer."""

    call: Call
    base: str
    secret: str
    nonce: str
    now_ms: int
    user_: User | None = None
    session_: Session | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)

    @property
    def user(self) -> User:
        assert self.user_ is not None, "this page is open to who is not signed in"
        return self.user_

    @property
    def session(self) -> Session:
        assert self.session_ is not None, "this page is open to who is not signed in"
        return self.session_

    @property
    def browser(self) -> Browser:
        agent = label_agent(self.call.headers.get("user-agent", ""))
        return Browser(self.call.address, agent, read_cookie(self.call, DEVICE_COOKIE) or None)

    @property
    def next(self) -> str:
        """Where to go when this is done: a path of ours, or nothing."""
        return choose_path(self.fields.get("next", self.call.query.get("next")), "")

    def read(self, name: str) -> str:
        return self.fields.get(name, "")

    def cookie(self, name: str) -> str | None:
        return read_cookie(self.call, name)

    def set_cookie(self, name: str, value: str, lasts_seconds: int) -> None:
        self.cookies.append(set_cookie(name, value, lasts_seconds=lasts_seconds)["Set-Cookie"])

    def sign_in(self, started: StartedSession, device: str | None = None) -> None:
        """Let the browser keep a session, and be known the next time."""
        lasts_ms = started.session.expires_at_ms - self.now_ms
        self.set_cookie(SESSION_COOKIE, started.cookie, max(1, lasts_ms // 1000))
        self.secret = started.cookie
        if device is not None:
            self.set_cookie(DEVICE_COOKIE, device, DEVICE_SECONDS)
        if self.cookie(TICKET_COOKIE):
            self.set_cookie(TICKET_COOKIE, "", 0)

    def go(self, path: str, **query: str) -> Answer[Html]:
        """Send the browser to a page of ours."""
        given = {name: value for name, value in query.items() if value}
        return redirect(f"{self.base}{path}{'?' if given else ''}{urlencode(given)}")

    def show(
        self, template: str, title: str, error: DomainError | None = None, **given: object
    ) -> Answer[Html]:
        status = HTTPStatus.OK if error is None else get_page_status(error)
        if error is not None:
            who = None if self.user_ is None else self.user_.user_id
            told = {"code": error.code, "template": template, "address": self.call.address, "user_id": who}
            get_logger().info("page refused", extra=told)
        values: dict[str, Any] = {"wide": False, "notice": "", **given}
        return render_page(
            template,
            nonce=self.nonce,
            status=status,
            headers=build_retry(error),
            form_action=ANYWHERE if self.next or values.get("providers") else "'self'",
            title=title,
            error="" if error is None else error.detail,
            base=self.base,
            form_token=derive_form_token(self.secret),
            next=self.next,
            user=self.user_,
            **values,
        )


View = Callable[..., Answer[Html]]


def page(
    api: Api,
    method: Literal["GET", "POST"],
    path: str,
    *,
    who: Who = "anyone",
    query: frozenset[str] = frozenset(),
    lead: str = "/account",
) -> Callable[[View], View]:
    """Declare a page: ``(visit, **path_parameters) -> Answer[Html]``.

    ``lead``: where a form leads back to when its sender has to sign in first.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def handle(call: Call, **parameters: str) -> Answer[Html]:
            asked = path.format(**{name: quote(value, safe="") for name, value in parameters.items()})
            if call.query:
                asked += f"?{urlencode(call.query)}"
            return _serve(view, call, parameters, who, asked if method == "GET" else lead, method)

        return api.route(method, path, public=True, query=query)(handle)

    return declare


def get_page_status(error: DomainError) -> HTTPStatus:
    return HTTPStatus.TOO_MANY_REQUESTS if error.code == "too_many_attempts" else get_status(error)


def build_retry(error: DomainError | None) -> Mapping[str, str]:
    seconds = None if error is None else error.extra.get("retry_after_seconds")
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _serve(
    view: View, call: Call, parameters: Mapping[str, str], who: Who, back: str, method: str
) -> Answer[Html]:
    visit = _open(call)
    try:
        if method == "POST":
            _read_form(visit)
        answer = _admit(visit, who, back) or view(visit, **parameters)
    except DomainError as error:
        answer = visit.show("identity_refused.html", "That did not work", error)
    return _with_cookies(visit, answer)


def _open(call: Call) -> Visit:
    ports = wiring.identity_ports()
    visit = Visit(call, wiring.public_url(), "", ports.ids.new_secret(), ports.clock.now_ms())
    cookie = read_cookie(call, SESSION_COOKIE)
    found = service.find_session(ports, cookie)
    if found is not None and cookie is not None:
        visit.user_, visit.session_ = found
        visit.secret = cookie
        return visit
    pepper, kept = ports.read_pepper(), read_cookie(call, FORM_COOKIE)
    if kept is None or not _is_ours(kept, pepper):
        kept = _sign(ports.ids.new_secret(), pepper)
        visit.set_cookie(FORM_COOKIE, kept, FORM_SECONDS)
    visit.secret = kept
    return visit


def _read_form(visit: Visit) -> None:
    # Sent by every browser in use; where it is missing, the token decides alone.
    elsewhere = visit.call.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    visit.fields = read_form(visit.call)
    if elsewhere or not is_form_token(visit.secret, visit.read("form")):
        visit.fields = {}
        raise Forbidden(
            "This form is out of date. Go back, load the page anew and send it again.", code="form_expired"
        )


def _admit(visit: Visit, who: Who, back: str) -> Answer[Html] | None:
    if who == "anyone":
        return None
    if visit.user_ is None or visit.session_ is None:
        return visit.go("/signin", next=back)
    if who == "fresh" and not visit.session_.is_fresh(visit.now_ms):
        return visit.go("/signin", step_up="1", next=back)
    return None


def _with_cookies(visit: Visit, answer: Answer[Html]) -> Answer[Html]:
    if not visit.cookies:
        return answer
    headers: dict[str, Any] = {**answer.headers, "Set-Cookie": visit.cookies}
    return Answer(answer.body, answer.status, headers)


def _sign(text: str, pepper: bytes) -> str:
    return f"{text}.{hmac.new(pepper, f'form:{text}'.encode(), hashlib.sha256).hexdigest()[:32]}"


def _is_ours(value: str, pepper: bytes) -> bool:
    return hmac.compare_digest(value.encode(), _sign(value.partition(".")[0], pepper).encode())
