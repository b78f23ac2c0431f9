"""Pages for signing in through other providers, and for linking them to an account."""

from chalicelib import wiring
from chalicelib.core.errors import Unauthenticated
from chalicelib.identity import federating
from chalicelib.identity.api import HOME, go_on
from chalicelib.identity.guard import Visit, page
from chalicelib.identity.model import choose_path
from chalicelib.identity.service import StartedSession
from chalicelib.runtime.http import Answer, Api, Html
from chalicelib.runtime.pages import redirect

api = Api(__name__)
#: The state of a sign-in elsewhere: no other browser's answer is taken for this one's.
STATE_COOKIE = "__Host-federation"
STATE_SECONDS = 600
CALLBACK_QUERY = frozenset(
    {
        "code",
        "state",
        "iss",
        "error",
        "error_description",
        "scope",
        "authuser",
        "prompt",
        "hd",
        "session_state",
    }
)


@page(api, "POST", "/signin/with/{provider}")
def leave_to_sign_in(visit: Visit, provider: str) -> Answer[Html]:
    """Send the browser to another provider."""
    leaving = federating.leave(
        wiring.provider_ports(),
        provider,
        visit.browser,
        next_path=visit.next,
        # Who is signed in wants a step-up, which is a sign-in and not a link.
        again=visit.user_ is not None,
    )
    visit.set_cookie(STATE_COOKIE, leaving.state, STATE_SECONDS)
    return redirect(leaving.url)


@page(api, "POST", "/account/links/{provider}", who="fresh")
def leave_to_link(visit: Visit, provider: str) -> Answer[Html]:
    """Send the browser to another provider, to be linked."""
    leaving = federating.leave(
        wiring.provider_ports(), provider, visit.browser, linking=(visit.user, visit.session), again=True
    )
    visit.set_cookie(STATE_COOKIE, leaving.state, STATE_SECONDS)
    return redirect(leaving.url)


@page(api, "POST", "/account/unlink", who="fresh")
def unlink(visit: Visit) -> Answer[Html]:
    """Take a link away."""
    started = federating.unlink(
        wiring.provider_ports(), visit.user, visit.session, visit.read("provider"), visit.browser
    )
    visit.sign_in(started)
    return visit.go(HOME, notice="unlinked")


@page(api, "GET", federating.CALLBACK, query=CALLBACK_QUERY)
def come_back(visit: Visit) -> Answer[Html]:
    """Take a provider's answer."""
    query = visit.call.query
    kept = visit.cookie(STATE_COOKIE)
    visit.set_cookie(STATE_COOKIE, "", 0)
    if "error" in query:
        raise Unauthenticated("The provider did not sign you in.", code="provider_refused")
    signed_in = None if visit.user_ is None else (visit.user, visit.session)
    answer = federating.Callback(kept, query.get("state"), query.get("code"), query.get("iss"))
    found = federating.come_back(wiring.provider_ports(), answer, visit.browser, signed_in)
    if isinstance(found.outcome, StartedSession):
        visit.sign_in(found.outcome)
        return visit.go(HOME, notice="linked")
    visit.fields = {"next": choose_path(found.next, "")}
    return go_on(visit, found.outcome)
