"""Pages of people: to whom each is open, and what each leaves in the audit trail; one row a page."""

from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pyotp
import pytest

import app
from chalicelib.identity.service import get_user
from chalicelib.organisations.inviting import Invite, invite_member
from chalicelib.organisations.ports import Once
from tests.factories import add_person, seed_cloud
from tests.fakes.wiring import rewire
from tests.unit.identity.authenticator import Authenticator
from tests.unit.identity.people import PASSWORD, People
from tests.unit.identity.server import rewire_pages
from tests.unit.identity.visitor import FakeProviders, Visitor

NEW = "a new long password of mine"  # pragma: allowlist secret
#: Nothing of a person or an account changes there.
NOTHING = ()
#: Whoever opens a page changes nothing, and is not written down.
READS = {
    "/signup": "anyone",
    "/signup/sent": "anyone",
    "/verify": "anyone",
    "/signin": "anyone",
    "/signin/code": "anyone",
    "/signin/recovery": "anyone",
    "/signin/enrol": "anyone",
    "/reset": "anyone",
    "/reset/sent": "anyone",
    "/reset/confirm": "anyone",
    "/account": "signed_in",
    "/account/password": "signed_in",  # pragma: allowlist secret
    "/account/email": "fresh",
    "/account/email/confirm": "signed_in",
    "/account/totp": "fresh",
    "/account/organisations": "signed_in",
    "/invitations/{token}": "signed_in",
}
#: Form -> to whom it is open, and the entries that it writes. The callback of a provider is a link.
FORMS = {
    "POST /verify": ("anyone", ("person.signed_up",)),
    "POST /signin": ("anyone", ("person.signed_in",)),
    "POST /signin/code": ("anyone", ("person.signed_in",)),
    "POST /signin/recovery": ("anyone", ("person.signed_in",)),
    "POST /signin/enrol": ("anyone", ("totp.enrolment_begun",)),
    "POST /signin/enrol/confirm": ("anyone", ("totp.enrolled", "person.signed_in")),
    "POST /signin/passkey/finish": ("anyone", ("person.signed_in",)),
    "GET /signin/callback": ("anyone", ("provider.linked",)),
    "POST /signout": ("anyone", ("session.ended",)),
    "POST /reset": ("anyone", ("password.reset_asked",)),
    "POST /reset/confirm": ("anyone", ("password.reset",)),
    "POST /account/sessions/{session_id}/end": ("signed_in", ("session.ended",)),
    "POST /account/sessions/end-all": ("signed_in", ("session.all_ended",)),
    "POST /account/password": ("signed_in", ("password.changed",)),
    "POST /account/email": ("fresh", ("email.change_asked",)),
    "POST /account/email/confirm": ("signed_in", ("email.changed",)),
    "POST /account/totp": ("fresh", ("totp.enrolment_begun",)),
    "POST /account/totp/confirm": ("fresh", ("totp.enrolled",)),
    "POST /account/totp/disable": ("fresh", ("totp.disabled",)),
    "POST /account/recovery-codes": ("fresh", ("recovery_codes.renewed",)),
    "POST /account/passkeys": ("fresh", ("passkey.registered",)),
    "POST /account/passkeys/remove": ("fresh", ("passkey.removed",)),
    "POST /account/unlink": ("fresh", ("provider.unlinked",)),
    "POST /account/organisations": ("signed_in", ("organisation.created",)),
    "POST /invitations": ("signed_in", ("member.joined",)),
}
#: Form -> to whom it is open, and why it writes no entry.
UNWRITTEN = {
    "POST /signup": ("anyone", "nobody is there yet, and perhaps never; `person.signed_up` follows"),
    "POST /signup/resend": ("anyone", "it sends the mail of a sign-up again"),
    "POST /signin/passkey": ("anyone", "it draws a challenge; nobody has said yet who they are"),
    "POST /signin/with/{provider}": ("anyone", "it draws a state, and sends the browser elsewhere"),
    "POST /account/passkeys/new": ("fresh", "it draws a challenge; `passkey.registered` follows"),
    "POST /account/links/{provider}": ("fresh", "it draws a state; `provider.linked` follows"),
}
OPEN_TO = {f"GET {path}": who for path, who in READS.items()} | {
    route: row[0] for route, row in (FORMS | UNWRITTEN).items()
}
NAMED = {"{token}": "x", "{session_id}": "ses_x", "{provider}": "Example"}


@pytest.fixture
def site(monkeypatch):
    found = People()
    found.providers = FakeProviders(found, "Example")
    rewire_pages(monkeypatch, found, found.providers)
    found.seeded = seed_cloud()
    found.organisations = replace(
        found.seeded.cloud.organisations,
        find_verified_address=lambda user_id: get_user(found.ports, user_id).email,
    )
    rewire(monkeypatch, organisation_ports=found.organisations, settings=SimpleNamespace(currency="USD"))
    return found


def fill(route):
    method, path = route.split(" ")
    for name, value in NAMED.items():
        path = path.replace(name, value)
    return method, path


def ask(visitor, route, form):
    method, path = fill(route)
    return visitor.get(path) if method == "GET" else visitor.post(path, form=form)


def test_every_page_is_decided():
    pages = {f"{each.method} {each.path}" for api in app.PAGES for each in api.operations}
    assert pages == set(OPEN_TO)
    assert all(each.permission is None for api in app.PAGES for each in api.operations)


@pytest.mark.parametrize("route", sorted(OPEN_TO))
def test_who_is_not_signed_in_sees_no_page_that_is_a_persons_and_does_nothing(site, route):
    visitor = Visitor(site)
    visitor.get("/signin")
    form, commits = visitor.page.field("form"), site.db.commits
    page = ask(visitor, route, form)
    leads_to_sign_in = page.status == 303 and "/signin?next=" in page.location
    assert leads_to_sign_in == (OPEN_TO[route] != "anyone")
    assert page.status < 500
    assert not site.audit.entries
    if OPEN_TO[route] != "anyone":
        assert site.db.commits == commits


@pytest.mark.parametrize("route", sorted(route for route, who in OPEN_TO.items() if who == "fresh"))
def test_a_sign_in_of_six_minutes_ago_is_asked_for_again(site, route):
    visitor = Visitor(site)
    visitor.sign_up()
    form = visitor.page.field("form")
    site.clock.advance_seconds(360)
    commits = site.db.commits
    page = ask(visitor, route, form)
    assert page.status == 303
    assert "/signin?step_up=1&next=" in page.location
    assert site.db.commits == commits


class Life:
    """What a person does on the pages, one form after another, and what each wrote."""

    def __init__(self, site):
        self.site, self.visitor, self.written = site, Visitor(site), {}
        self.key = Authenticator(site.public_url.rpartition("/base")[0])

    def send(self, route, path=None, who=None, **fields):
        visitor, before = who or self.visitor, set(map(id, self.trail))
        method, filled = fill(route)
        path = path or filled
        page = visitor.get(path) if method == "GET" else visitor.post(path, **fields)
        assert page.status < 400, (route, page.text)
        self.written[route] = tuple(each.action for each in self.trail if id(each) not in before)
        return page

    @property
    def trail(self):
        """What was done to the person, and then what was done to organisations."""
        return [*self.site.audit.entries, *self.site.seeded.cloud.audit.entries]

    def live(self):
        self.sign_up()
        self.end_one()
        self.change()
        self.set_up_app()
        self.use_passkey()
        self.link()
        self.join()
        self.send("POST /account/sessions/end-all")

    def sign_up(self):
        visitor, mailer = self.visitor, self.site.mailer
        visitor.get("/signup")
        self.send("POST /signup", email="ada@example.com", password=PASSWORD, name="Ada")
        visitor.follow()
        self.send("POST /signup/resend")
        visitor.get(f"/verify?token={mailer.read_link()}")
        self.send("POST /verify", token=visitor.page.field("token"), password=PASSWORD)
        visitor.follow()
        self.send("POST /signout")
        visitor.get("/reset")
        self.send("POST /reset", email="ada@example.com")
        visitor.get(f"/reset/confirm?token={mailer.read_link()}")
        self.send("POST /reset/confirm", token=visitor.page.field("token"), password=PASSWORD)
        visitor.get("/signin")
        self.send("POST /signin", email="ada@example.com", password=PASSWORD)
        visitor.follow()

    def change(self):
        visitor = self.visitor
        self.send("POST /account/password", current=PASSWORD, password=NEW)
        visitor.follow()
        self.send("POST /account/email", email="ada@new.example")
        visitor.follow()
        visitor.get(f"/account/email/confirm?token={self.site.mailer.read_link()}")
        self.send("POST /account/email/confirm", token=visitor.page.field("token"))
        visitor.follow()

    def set_up_app(self):
        visitor = self.visitor
        secret = self.read_secret(self.send("POST /account/totp"))
        self.send("POST /account/totp/confirm", code=self.code(secret))
        visitor.get("/account")
        codes = self.send("POST /account/recovery-codes").find(r"<li>([^<]*)</li>")
        visitor.get("/account")
        for route, proof in (
            ("POST /signin/code", lambda: self.code(secret)),
            ("POST /signin/recovery", lambda: codes[0]),
        ):
            self.site.clock.advance_seconds(60)
            other = Visitor(self.site)
            other.sign_in("ada@new.example", NEW)
            other.follow()
            self.send(route, who=other, code=proof())
        self.send("POST /account/totp/disable")
        visitor.follow()
        self.enrol_by_role()

    def enrol_by_role(self):
        strict, other = self.site.memberships.strict, Visitor(self.site)
        strict.update(self.site.db.table("people"))
        other.sign_in("ada@new.example", NEW)
        other.follow()
        secret = self.read_secret(self.send("POST /signin/enrol", who=other))
        self.send("POST /signin/enrol/confirm", who=other, code=self.code(secret))
        strict.clear()
        self.visitor = other
        other.get("/account")

    def use_passkey(self):
        visitor = self.visitor
        page = self.send("POST /account/passkeys/new")
        answer = self.key.create(self.read_options(page))
        self.send("POST /account/passkeys", challenge=page.field("challenge"), answer=answer, label="x")
        visitor.follow()
        other = Visitor(self.site)
        other.get("/signin")
        page = self.send("POST /signin/passkey", who=other)
        answer = self.key.get(self.read_options(page))
        self.send("POST /signin/passkey/finish", who=other, challenge=page.field("challenge"), answer=answer)
        visitor.get("/account")
        self.send("POST /account/passkeys/remove", passkey=visitor.page.field("passkey"))
        visitor.follow()

    def link(self):
        visitor = self.visitor
        form = visitor.page.field("form")
        self.send("POST /account/links/{provider}", form=form)
        state = self.site.providers.asked[-1].proofs.state
        self.send("GET /signin/callback", f"/signin/callback?state={state}&code=c")
        visitor.follow()
        self.send("POST /account/unlink", provider="Example")
        visitor.follow()
        other = Visitor(self.site)
        other.get("/signin")
        self.send("POST /signin/with/{provider}", who=other)

    def end_one(self):
        Visitor(self.site).sign_in()
        page = self.visitor.get("/account")
        (path, *_) = page.find(r'action="[^"]*(/account/sessions/ses_\w+/end)"')
        self.send("POST /account/sessions/{session_id}/end", path)
        self.visitor.get("/account")

    def join(self):
        visitor, cloud = self.visitor, self.site.seeded.cloud
        form = visitor.get("/account/organisations")
        once = form.field("once")
        self.send("POST /account/organisations", name="Ada's lab", once=once)
        visitor.follow()
        visitor.post("/account/organisations", name="Ada's lab", once=once)
        page = visitor.get("/account/organisations")
        assert (len(page.find("<td>owner</td>")), page.text.count("Ada&#39;s lab")) == (1, 1)
        command = Invite(self.site.seeded.renter.account_id, "ada@new.example", "viewer")
        by = add_person(self.site.seeded, "owner")
        invite_member(self.site.organisations, by, command, Once("k", "f", lambda _made: ""))
        token = cloud.mailer.sent[-1].text.split("/invitations/")[1].split()[0]
        page = visitor.get(f"/invitations/{token}")
        assert page.field("token") == token
        self.send("POST /invitations", token=token)
        visitor.follow()
        assert visitor.post("/invitations", token="inv_wrong").status == 404
        visitor.get("/account")

    def read_options(self, page):
        return unescape(page.find(r'data-options="([^"]*)"')[0])

    def read_secret(self, page):
        return page.find(r'<p class="code">([^<]*)</p>')[0].replace(" ", "")

    def code(self, secret):
        return pyotp.TOTP(secret).at(self.site.clock.now_ms() // 1000)


def test_whatever_a_form_changes_stands_in_the_trail_of_the_person(site):
    life = Life(site)
    life.live()
    assert life.written == {route: row[1] for route, row in FORMS.items()} | dict.fromkeys(UNWRITTEN, NOTHING)
    (user_id,) = site.db.table("people")
    assert {entry.account_id for entry in site.audit.entries} == {user_id}
