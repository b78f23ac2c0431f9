"""Pages of a person's own account. What cannot be taken back asks for a fresh sign-in."""

from chalicelib import wiring
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import DomainError
from chalicelib.identity import enrolling, resetting, service
from chalicelib.identity.api import show_enrolment
from chalicelib.identity.guard import Visit, page
from chalicelib.identity.model import SESSION_COOKIE
from chalicelib.runtime.http import Answer, Api, Html

api = Api(__name__)
_NOTICES = {
    "changed": "Your password is changed, and your other sessions have ended.",
    "email": "Your address is changed, and your other sessions have ended.",
    "email_sent": "Open the link in the mail to your new address, in this browser.",
    "session": "The session has ended.",
    "totp": "The app is taken away.",
    "passkey": "Your passkeys are changed, and your other sessions have ended.",
    "linked": "The sign-in is linked to your account, and your other sessions have ended.",
    "unlinked": "The sign-in is no longer linked to your account, and your other sessions have ended.",
}


@page(api, "GET", "/account", who="signed_in", query=frozenset({"notice"}))
def show_account(visit: Visit) -> Answer[Html]:
    """Show the person what is theirs."""
    ports, user = wiring.identity_ports(), visit.user
    factors = ports.store.get_factors(user.user_id)
    sessions = [
        {
            "id": each.session_id,
            "label": each.label,
            "since": _tell_minute(each.created_at_ms),
            "seen": _tell_minute(each.seen_at_ms),
            "here": each.session_id == visit.session.session_id,
        }
        for each in service.list_sessions(ports, user)
    ]
    return visit.show(
        "identity_account.html",
        "Your account",
        wide=True,
        notice=_NOTICES.get(visit.call.query.get("notice", ""), ""),
        factors=factors,
        sessions=sessions,
        passkeys=ports.store.list_passkeys(user.user_id),
        links=ports.store.list_links(user.user_id),
        providers=wiring.provider_ports().names(),
    )


@page(api, "POST", "/account/sessions/{session_id}/end", who="signed_in")
def end_session(visit: Visit, session_id: str) -> Answer[Html]:
    """End one of the person's sessions."""
    service.end_session(wiring.identity_ports(), visit.user, session_id)
    if session_id == visit.session.session_id:
        visit.set_cookie(SESSION_COOKIE, "", 0)
        return visit.go("/signin", notice="signed_out")
    return visit.go("/account", notice="session")


@page(api, "POST", "/account/sessions/end-all", who="signed_in")
def end_all_sessions(visit: Visit) -> Answer[Html]:
    """End every session, this one too."""
    service.end_all_sessions(wiring.identity_ports(), visit.user)
    visit.set_cookie(SESSION_COOKIE, "", 0)
    return visit.go("/signin", notice="signed_out")


@page(api, "GET", "/account/password", who="signed_in")
def show_password(visit: Visit) -> Answer[Html]:
    """Show the form to change the password."""
    return visit.show("identity_password.html", "Change your password")


@page(api, "POST", "/account/password", who="signed_in", lead="/account/password")
def change_password(visit: Visit) -> Answer[Html]:
    """Change the password, given the current one."""
    try:
        started = resetting.change_password(
            wiring.identity_ports(),
            visit.user,
            visit.session,
            visit.read("current"),
            visit.read("password"),
            visit.browser,
        )
    except DomainError as error:
        return visit.show("identity_password.html", "Change your password", error)
    visit.sign_in(started)
    return visit.go("/account", notice="changed")


@page(api, "GET", "/account/email", who="fresh")
def show_email(visit: Visit) -> Answer[Html]:
    """Show the form to change the address."""
    return visit.show("identity_email.html", "Change your address", token="")


@page(api, "POST", "/account/email", who="fresh", lead="/account/email")
def ask_email(visit: Visit) -> Answer[Html]:
    """Send a mail to the new address."""
    try:
        resetting.ask_new_address(
            wiring.identity_ports(), visit.user, visit.session, visit.read("email"), visit.browser
        )
    except DomainError as error:
        return visit.show("identity_email.html", "Change your address", error, token="")
    return visit.go("/account", notice="email_sent")


@page(api, "GET", "/account/email/confirm", who="signed_in", query=frozenset({"token"}))
def show_email_confirm(visit: Visit) -> Answer[Html]:
    """Show the button that changes the address: opening the link changes nothing."""
    return visit.show("identity_email.html", "Change your address", token=visit.call.query.get("token", ""))


@page(api, "POST", "/account/email/confirm", who="signed_in")
def change_email(visit: Visit) -> Answer[Html]:
    """Change the address."""
    started = resetting.change_address(
        wiring.identity_ports(), visit.user, visit.session, visit.read("token"), visit.browser
    )
    visit.sign_in(started)
    return visit.go("/account", notice="email")


@page(api, "GET", "/account/totp", who="fresh")
def show_totp(visit: Visit) -> Answer[Html]:
    """Say what an app is for."""
    return show_enrolment(visit, "/account/totp")


@page(api, "POST", "/account/totp", who="fresh", lead="/account/totp")
def begin_totp(visit: Visit) -> Answer[Html]:
    """Show the secret of a new app, once."""
    enrolment = enrolling.begin_enrolment(wiring.identity_ports(), visit.user.user_id)
    return show_enrolment(visit, "/account/totp", enrolment)


@page(api, "POST", "/account/totp/confirm", who="fresh", lead="/account/totp")
def confirm_totp(visit: Visit) -> Answer[Html]:
    """Take the app into use, and show the recovery codes, once."""
    ports, code = wiring.identity_ports(), visit.read("code")
    try:
        done = enrolling.confirm_enrolment(ports, visit.user, visit.session, code, visit.browser)
    except DomainError as error:
        return show_enrolment(visit, "/account/totp", error=error)
    visit.sign_in(done.started)
    return visit.show("identity_codes.html", "Your recovery codes", codes=done.codes)


@page(api, "POST", "/account/totp/disable", who="fresh")
def disable_totp(visit: Visit) -> Answer[Html]:
    """Take the app away."""
    visit.sign_in(enrolling.disable_totp(wiring.identity_ports(), visit.user, visit.session, visit.browser))
    return visit.go("/account", notice="totp")


@page(api, "POST", "/account/recovery-codes", who="fresh")
def renew_recovery_codes(visit: Visit) -> Answer[Html]:
    """Show new recovery codes, once; those that are left are worth nothing any more."""
    codes = enrolling.renew_recovery_codes(wiring.identity_ports(), visit.user, visit.session)
    return visit.show("identity_codes.html", "Your recovery codes", codes=codes)


def _tell_minute(at_ms: int) -> str:
    """As people read it: ``2026-11-30 13:19``."""
    return format_instant(at_ms)[:16].replace("T", " ")
