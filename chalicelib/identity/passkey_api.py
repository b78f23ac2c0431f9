"""Pages for passkeys. The browser's part is one script; what it makes travels in a form like any other."""

from chalicelib import wiring
from chalicelib.core.errors import DomainError
from chalicelib.identity import passkeys
from chalicelib.identity.api import go_on
from chalicelib.identity.guard import Visit, page
from chalicelib.runtime.http import Answer, Api, Html

api = Api(__name__)


@page(api, "POST", "/signin/passkey")
def ask_passkey(visit: Visit) -> Answer[Html]:
    """Ask the browser for a passkey."""
    asked = passkeys.begin_assertion(wiring.identity_ports(), visit.browser)
    return visit.show("identity_passkey.html", "Sign in with a passkey", asked=asked, registers=False)


@page(api, "POST", "/signin/passkey/finish")
def sign_in_with_passkey(visit: Visit) -> Answer[Html]:
    """Check what the browser's passkey signed."""
    found = passkeys.finish_assertion(
        wiring.identity_ports(),
        visit.read("challenge"),
        visit.read("answer"),
        visit.browser,
        visit.session_,
    )
    return go_on(visit, found)


@page(api, "POST", "/account/passkeys/new", who="fresh")
def new_passkey(visit: Visit) -> Answer[Html]:
    """Ask the browser for a new passkey."""
    asked = passkeys.begin_registration(wiring.identity_ports(), visit.user, visit.session)
    return visit.show("identity_passkey.html", "Add a passkey", asked=asked, registers=True)


@page(api, "POST", "/account/passkeys", who="fresh")
def add_passkey(visit: Visit) -> Answer[Html]:
    """Keep a new passkey."""
    started = passkeys.finish_registration(
        wiring.identity_ports(),
        visit.user,
        visit.session,
        visit.read("challenge"),
        visit.read("answer"),
        visit.read("label"),
        visit.browser,
    )
    visit.sign_in(started)
    return visit.go("/account", notice="passkey")


@page(api, "POST", "/account/passkeys/remove", who="fresh")
def remove_passkey(visit: Visit) -> Answer[Html]:
    """Forget a passkey."""
    try:
        started = passkeys.remove_passkey(
            wiring.identity_ports(), visit.user, visit.session, visit.read("passkey"), visit.browser
        )
    except DomainError as error:
        return visit.show("identity_refused.html", "That did not work", error)
    visit.sign_in(started)
    return visit.go("/account", notice="passkey")
