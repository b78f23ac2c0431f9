"""Pages to sign up, in, out and back in. Each form ends in a redirect; a refusal shows it again."""

from chalicelib import wiring
from chalicelib.core.errors import DomainError
from chalicelib.identity import enrolling, resetting, service, signing_in, signing_up
from chalicelib.identity.guard import (
    DEVICE_COOKIE,
    DEVICE_SECONDS,
    SIGNUP_COOKIE,
    SIGNUP_SECONDS,
    TICKET_COOKIE,
    TICKET_SECONDS,
    Visit,
    page,
)
from chalicelib.identity.model import SESSION_COOKIE
from chalicelib.identity.signing_in import SignedIn, Ticket
from chalicelib.runtime.http import Answer, Api, Html

api = Api(__name__)
NEXT = frozenset({"next"})
HOME = "/account"


@page(api, "GET", "/signup", query=NEXT)
def show_sign_up(visit: Visit) -> Answer[Html]:
    """Show the form to sign up."""
    return _show_sign_up(visit)


@page(api, "POST", "/signup")
def send_sign_up(visit: Visit) -> Answer[Html]:
    """Send the mail that makes an account, whoever has the address."""
    command = signing_up.SignUp(visit.read("email"), visit.read("password"), visit.read("name"))
    try:
        again = signing_up.sign_up(wiring.identity_ports(), command, visit.browser)
    except DomainError as error:
        return _show_sign_up(visit, error)
    visit.set_cookie(SIGNUP_COOKIE, again, SIGNUP_SECONDS)
    return visit.go("/signup/sent")


@page(api, "GET", "/signup/sent", query=frozenset({"again"}))
def show_sign_up_sent(visit: Visit) -> Answer[Html]:
    """Say that a mail is on its way."""
    notice = "The mail was sent again." if visit.call.query.get("again") else ""
    return visit.show("identity_sent.html", "Look into your mail", what="signup", notice=notice)


@page(api, "POST", "/signup/resend")
def resend_sign_up(visit: Visit) -> Answer[Html]:
    """Send the mail of this browser's sign-up again."""
    try:
        signing_up.send_again(wiring.identity_ports(), visit.cookie(SIGNUP_COOKIE), visit.browser)
    except DomainError as error:
        return visit.show("identity_sent.html", "Look into your mail", error, what="signup")
    return visit.go("/signup/sent", again="1")


@page(api, "GET", "/verify", query=frozenset({"token"}))
def show_verify(visit: Visit) -> Answer[Html]:
    """Show the button that confirms an address: opening the link changes nothing."""
    return visit.show("identity_verify.html", "Confirm your address", token=visit.call.query.get("token", ""))


@page(api, "POST", "/verify")
def verify(visit: Visit) -> Answer[Html]:
    """Make the account."""
    token = visit.read("token")
    try:
        started = signing_up.verify_address(
            wiring.identity_ports(), token, visit.read("password"), visit.browser
        )
    except DomainError as error:
        return visit.show("identity_verify.html", "Confirm your address", error, token=token)
    visit.sign_in(started)
    return visit.go(HOME)


@page(api, "GET", "/signin", query=frozenset({"next", "step_up", "notice"}))
def show_sign_in(visit: Visit) -> Answer[Html]:
    """Show the form to sign in; who is signed in goes on, unless a fresh sign-in is asked for."""
    if visit.user_ is not None and not visit.call.query.get("step_up"):
        return visit.go(visit.next or HOME)
    return _show_sign_in(visit)


@page(api, "POST", "/signin")
def sign_in(visit: Visit) -> Answer[Html]:
    """Check a password."""
    try:
        found = signing_in.sign_in(
            wiring.identity_ports(),
            visit.read("email"),
            visit.read("password"),
            visit.browser,
            visit.session_,
        )
    except DomainError as error:
        return _show_sign_in(visit, error)
    return go_on(visit, found)


@page(api, "GET", "/signin/code", query=NEXT)
def show_code(visit: Visit) -> Answer[Html]:
    """Ask for a code of the app."""
    return _show_code(visit)


@page(api, "POST", "/signin/code")
def send_code(visit: Visit) -> Answer[Html]:
    """Check a code of the app."""
    ticket, code = visit.cookie(TICKET_COOKIE), visit.read("code")
    try:
        found = signing_in.sign_in_with_code(
            wiring.identity_ports(), ticket, code, visit.browser, visit.session_
        )
    except DomainError as error:
        return _show_code(visit, error)
    return go_on(visit, found)


@page(api, "GET", "/signin/recovery", query=NEXT)
def show_recovery(visit: Visit) -> Answer[Html]:
    """Ask for one of the codes that were written down."""
    return visit.show("identity_recovery.html", "Use a recovery code")


@page(api, "POST", "/signin/recovery")
def send_recovery(visit: Visit) -> Answer[Html]:
    """Check one of the codes that were written down."""
    ticket, code = visit.cookie(TICKET_COOKIE), visit.read("code")
    try:
        found = signing_in.sign_in_with_recovery(
            wiring.identity_ports(), ticket, code, visit.browser, visit.session_
        )
    except DomainError as error:
        return visit.show("identity_recovery.html", "Use a recovery code", error)
    return go_on(visit, found)


@page(api, "GET", "/signin/enrol", query=NEXT)
def show_enrol(visit: Visit) -> Answer[Html]:
    """Say that a role asks for a second factor."""
    signing_in.find_ticket(wiring.identity_ports(), visit.cookie(TICKET_COOKIE))
    return show_enrolment(visit, "/signin/enrol")


@page(api, "POST", "/signin/enrol")
def begin_enrol(visit: Visit) -> Answer[Html]:
    """Show the secret of a new app, once."""
    ports = wiring.identity_ports()
    _, person = signing_in.find_ticket(ports, visit.cookie(TICKET_COOKIE))
    enrolment = enrolling.begin_enrolment(ports, person.user_id)
    return show_enrolment(visit, "/signin/enrol", enrolment)


@page(api, "POST", "/signin/enrol/confirm")
def confirm_enrol(visit: Visit) -> Answer[Html]:
    """Take the app into use, and show the recovery codes, once."""
    ticket, code = visit.cookie(TICKET_COOKIE), visit.read("code")
    try:
        done = enrolling.enrol_at_sign_in(wiring.identity_ports(), ticket, code, visit.browser)
    except DomainError as error:
        return show_enrolment(visit, "/signin/enrol", error=error)
    visit.sign_in(done.started, done.device)
    return visit.show("identity_codes.html", "Your recovery codes", codes=done.codes)


@page(api, "POST", "/signout")
def sign_out(visit: Visit) -> Answer[Html]:
    """End this session."""
    if visit.user_ is not None:
        service.end_session(wiring.identity_ports(), visit.user, visit.session.session_id)
    visit.set_cookie(SESSION_COOKIE, "", 0)
    return visit.go("/signin", notice="signed_out")


@page(api, "GET", "/reset")
def show_reset(visit: Visit) -> Answer[Html]:
    """Show the form to ask for a new password."""
    return visit.show("identity_reset.html", "Choose a new password")


@page(api, "POST", "/reset")
def ask_reset(visit: Visit) -> Answer[Html]:
    """Send the mail, whoever has the address."""
    try:
        resetting.ask_reset(wiring.identity_ports(), visit.read("email"), visit.browser)
    except DomainError as error:
        return visit.show("identity_reset.html", "Choose a new password", error)
    return visit.go("/reset/sent")


@page(api, "GET", "/reset/sent")
def show_reset_sent(visit: Visit) -> Answer[Html]:
    """Say that a mail is on its way."""
    return visit.show("identity_sent.html", "Look into your mail", what="reset")


@page(api, "GET", "/reset/confirm", query=frozenset({"token"}))
def show_new_password(visit: Visit) -> Answer[Html]:
    """Ask for the new password: opening the link changes nothing."""
    token = visit.call.query.get("token", "")
    return visit.show("identity_new_password.html", "Choose a new password", token=token)


@page(api, "POST", "/reset/confirm")
def reset_password(visit: Visit) -> Answer[Html]:
    """Put the new password in place; who it is signs in with it, and with a code as ever.

    What signs in without it is shown: whoever added one of those could not be shut out by a password.
    """
    token = visit.read("token")
    try:
        done = resetting.reset_password(wiring.identity_ports(), token, visit.read("password"))
    except DomainError as error:
        return visit.show("identity_new_password.html", "Choose a new password", error, token=token)
    visit.set_cookie(DEVICE_COOKIE, done.device, DEVICE_SECONDS)
    if done.ways:
        return visit.show("identity_ways.html", "Your password is changed", ways=done.ways)
    return visit.go("/signin", notice="reset")


def go_on(visit: Visit, found: SignedIn | Ticket) -> Answer[Html]:
    """Send who gave a first factor to the second, and who gave all to where they were going."""
    if isinstance(found, Ticket):
        visit.set_cookie(TICKET_COOKIE, found.secret, TICKET_SECONDS)
        return visit.go("/signin/code" if found.enrolled else "/signin/enrol", next=visit.next)
    visit.sign_in(found.started, found.device)
    return visit.go(visit.next or HOME)


def show_enrolment(
    visit: Visit, action: str, enrolment: enrolling.Enrolment | None = None, error: DomainError | None = None
) -> Answer[Html]:
    """Show how an app is set up: its use, then its secret, and after a wrong code only the question."""
    return visit.show(
        "identity_enrol.html",
        "Set up a second factor",
        error,
        enrolment=enrolment,
        again=error is not None,
        action=action,
    )


def _show_sign_up(visit: Visit, error: DomainError | None = None) -> Answer[Html]:
    kept = {"email": visit.read("email"), "name": visit.read("name")}
    return visit.show("identity_signup.html", "Create an account", error, **kept)


def _show_code(visit: Visit, error: DomainError | None = None) -> Answer[Html]:
    return visit.show("identity_code.html", "Enter a code", error)


_NOTICES = {
    "signed_out": "You are signed out.",
    "reset": "Your password is changed. Sign in with it.",
}


def _show_sign_in(visit: Visit, error: DomainError | None = None) -> Answer[Html]:
    step_up = visit.user_ is not None
    return visit.show(
        "identity_signin.html",
        "Confirm that it is you" if step_up else "Sign in",
        error,
        email=visit.user.email if step_up else visit.read("email"),
        step_up=step_up,
        notice=_NOTICES.get(visit.call.query.get("notice", ""), ""),
        providers=wiring.provider_ports().names(),
    )
