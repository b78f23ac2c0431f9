"""Pages on which people decide: whether a program may act in their name, and which device asks."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from chalicelib import wiring
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Forbidden, NotFound
from chalicelib.oauth import asking, devices
from chalicelib.oauth.asking import Person
from chalicelib.oauth.model import ALL_SCOPE, Client, DeviceAuthorization, split_scope
from chalicelib.oauth.ports import ConsentQuestion, EndpointCall, Reply
from chalicelib.oauth.service import find_client
from chalicelib.runtime.http import Answer, Api, Call, Html
from chalicelib.runtime.pages import read_cookie, read_form, redirect, render_page
from chalicelib.runtime.request_parts import ANY_QUERY
from chalicelib.runtime.security_log import Refusal

api = Api(__name__, refusals="page")

#: A page, or on to another; refusals are pages too.
_PAGES = (HTTPStatus.OK, HTTPStatus.SEE_OTHER)

Fields = Mapping[str, str]
#: Fields of our forms, which are not the client's.
_OWN_FIELDS = frozenset({"form_token", "decision", "organisation"})


@api.route("GET", "/oauth/authorize", public=True, query=ANY_QUERY | {"max_age"}, statuses=_PAGES)
def ask_oauth_consent(call: Call) -> Answer[Html]:
    """Ask the person who is signed in whether a program may act in their name (RFC 6749, section 3.1)."""
    question = wiring.oauth_server().read_question(EndpointCall("GET", call.query))
    if isinstance(question, Reply):
        return _go_on(question)
    person = _find_person(call)
    link = f"/oauth/authorize?{urlencode(call.query)}"
    if person is None:
        return _sign_in(link)
    if asking.is_too_old(wiring.oauth_ports(), person, call.query.get("max_age", "")):
        return _sign_in(link, step_up="1")
    return _show_consent(person, question, call.query)


@api.route("POST", "/oauth/authorize", public=True, statuses=_PAGES)
def decide_oauth_consent(call: Call) -> Answer[Html]:
    """Take a person's decision, and send the browser back to the program."""
    form = read_form(call)
    person = _find_person(call)
    if person is None:
        page = _show_message(
            "Signed out", "Sign in again, and start anew from the program.", HTTPStatus.FORBIDDEN
        )
        return replace(page, refusal=Refusal("signed_out"))
    asked = EndpointCall("POST", {name: value for name, value in form.items() if name not in _OWN_FIELDS})
    try:
        asking.check_form(read_cookie(call, asking.COOKIE), form.get("form_token", ""))
        question = wiring.oauth_server().read_question(asked)
        if isinstance(question, Reply):
            return _go_on(question)
        consent = None
        if form.get("decision") == "approve":
            account_id = form.get("organisation", "")
            ports = wiring.oauth_ports()
            consent = asking.build_consent(ports, person, question.client, account_id, question.scope)
    except Forbidden as error:
        return _show_refusal(person, error)
    return _go_on(wiring.oauth_server().answer_authorization(asked, consent))


@api.route("GET", "/device", public=True, query=frozenset({"max_age"}), statuses=_PAGES)
def ask_device_code(call: Call) -> Answer[Html]:
    """Ask for the code that a device shows (RFC 8628, section 3.3), after a later sign-in if it wants one."""
    person = _find_person(call)
    max_age = call.query.get("max_age", "")
    link = f"/device?{urlencode(call.query)}" if call.query else "/device"
    if person is None:
        return _sign_in(link)
    if asking.is_too_old(wiring.oauth_ports(), person, max_age):
        return _sign_in(link, step_up="1")
    return _show_entry(person)


@api.route("POST", "/device", public=True, statuses=_PAGES)
def decide_device(call: Call) -> Answer[Html]:
    """Show which program asks, when and from where; then take a person's decision."""
    form = read_form(call)
    person = _find_person(call)
    if person is None:
        return _sign_in("/device")
    try:
        asking.check_form(read_cookie(call, asking.COOKIE), form.get("form_token", ""))
        return _take_code(call, person, form)
    except NotFound as error:
        page = _show_entry(person, error.detail, HTTPStatus.NOT_FOUND)
        return replace(page, refusal=_tell(person, "wrong_user_code"))
    except devices.TooManyGuesses as error:
        page = _show_entry(person, error.detail, HTTPStatus.TOO_MANY_REQUESTS)
        return replace(page, refusal=_tell(person, error.code))
    except Forbidden as error:
        return _show_refusal(person, error)


def _take_code(call: Call, person: Person, form: Fields) -> Answer[Html]:
    ports, code, decision = wiring.oauth_ports(), form.get("user_code", ""), form.get("decision")
    device = devices.enter_code(ports, code, user_id=person.user_id, address=call.address)
    client = find_client(ports, device.client_id)
    if client is None:
        raise NotFound("The program that asks is no longer registered.")
    if decision not in {"approve", "deny"}:
        return _show_device(person, client, device, code)
    consent = asking.build_consent(ports, person, client, form.get("organisation", ""), device.scope)
    devices.decide_device(ports, device, consent, approved=decision == "approve")
    if decision == "approve":
        return _show_message("Connected", f"{client.name} is signed in. You can close this page.")
    return _show_message("Refused", f"{client.name} gets nothing. You can close this page.")


def _find_person(call: Call) -> Person | None:
    return asking.find_person(wiring.oauth_ports(), read_cookie(call, asking.COOKIE))


def _sign_in(following: str, **more: str) -> Answer[Html]:
    return redirect(f"{wiring.public_url()}/signin?{urlencode({**more, 'next': following})}")


def _go_on(reply: Reply) -> Answer[Html]:
    if reply.location:
        return redirect(reply.location)
    # Nobody is sent to an address that is not known to be the program's.
    detail = str(reply.body.get("error_description") or reply.body.get("error") or "")
    return _show_message("This link does not work", detail, HTTPStatus.BAD_REQUEST)


def _show_consent(person: Person, question: ConsentQuestion, given: Fields) -> Answer[Html]:
    organisations = asking.list_organisations(wiring.oauth_ports(), person, question.client)
    if not organisations:
        return _show_message(
            "Not possible", "You belong to no organisation that may use this program.", HTTPStatus.FORBIDDEN
        )
    parts = urlsplit(question.redirect_uri)
    return render_page(
        "oauth_consent.html",
        nonce=_draw_nonce(),
        form_action=f"'self' {parts.scheme}://{parts.netloc}",
        title=f"Let {question.client.name} in?",
        error="",
        wide=False,
        action=f"{wiring.public_url()}/oauth/authorize",
        person=person.name,
        client=question.client,
        target=f"{parts.scheme}://{parts.netloc}",
        organisations=organisations,
        scopes=_describe(question.scope),
        fields=dict(given),
        form_token=person.form_token,
    )


def _show_entry(person: Person, error: str = "", status: HTTPStatus = HTTPStatus.OK) -> Answer[Html]:
    return render_page(
        "oauth_device.html",
        nonce=_draw_nonce(),
        status=status,
        title="Connect a device",
        error=error,
        wide=False,
        action=f"{wiring.public_url()}/device",
        form_token=person.form_token,
    )


def _show_device(person: Person, client: Client, device: DeviceAuthorization, code: str) -> Answer[Html]:
    organisations = asking.list_organisations(wiring.oauth_ports(), person, client)
    if not organisations:
        return _show_message("Not possible", "You belong to no organisation yet.", HTTPStatus.FORBIDDEN)
    return render_page(
        "oauth_device_consent.html",
        nonce=_draw_nonce(),
        title=f"Let {client.name} in?",
        error="",
        wide=False,
        action=f"{wiring.public_url()}/device",
        person=person.name,
        client=client,
        address=device.address,
        asked_at=format_instant(device.created_at_ms)[:19].replace("T", " "),
        organisations=organisations,
        scopes=_describe(device.scope),
        user_code=code,
        form_token=person.form_token,
    )


def _show_refusal(person: Person, error: Forbidden) -> Answer[Html]:
    page = _show_message("Not possible", error.detail, HTTPStatus.FORBIDDEN)
    return replace(page, refusal=_tell(person, error.code))


def _tell(person: Person, reason: str) -> Refusal:
    return Refusal(reason, {"actor": person.user_id})


def _show_message(title: str, text: str, status: HTTPStatus = HTTPStatus.OK) -> Answer[Html]:
    return render_page(
        "oauth_message.html", nonce=_draw_nonce(), status=status, title=title, error="", wide=False, text=text
    )


def _describe(scope: str) -> list[str]:
    names = split_scope(scope)
    if ALL_SCOPE in names:
        return ["everything that your role allows, also what it will allow later"]
    return sorted(names)


def _draw_nonce() -> str:
    return wiring.oauth_ports().ids.new_secret()
