"""Pages for people: every form is tied to its browser, every link is ours, all works without scripts."""

import re

import pytest

import app
from chalicelib.identity import service
from tests.unit.identity.people import PASSWORD

#: Another password.
NEW = "a new long password of mine"
PAGES = {(each.method, each.path): each for api in app.PAGES for each in api.operations}
#: What a browser without a session may ask for; everything else leads to the sign-in.
OPEN = {
    "/signup",
    "/signup/sent",
    "/signup/resend",
    "/verify",
    "/signin",
    "/signin/code",
    "/signin/recovery",
    "/signin/enrol",
    "/signin/enrol/confirm",
    "/signin/passkey",
    "/signin/passkey/finish",
    "/signin/with/{provider}",
    "/signin/callback",
    "/signout",
    "/reset",
    "/reset/sent",
    "/reset/confirm",
}


def fill(path):
    return path.replace("{session_id}", "ses_x").replace("{provider}", "Example")


def test_a_person_signs_up_and_sees_the_own_account(site):
    page = site.visit().sign_up()
    assert page.status == 200
    assert "Ada Byron" in page.text
    assert "ada@example.com" in page.text
    assert "Firefox on Linux (this one)" in page.text


def test_opening_a_link_changes_nothing(site):
    visitor = site.visit()
    visitor.get("/signup")
    visitor.post("/signup", email="ada@example.com", password=PASSWORD, name="Ada")
    token, commits = site.mailer.read_link(), site.db.commits
    for _ in range(3):
        visitor.get(f"/verify?token={token}")
        visitor.get(f"/reset/confirm?token={token}")
    assert site.db.commits == commits
    assert not site.db.table("people")


def test_every_page_that_is_a_persons_own_leads_to_the_sign_in(site):
    visitor = site.visit()
    visitor.get("/signin")
    form = visitor.page.field("form")
    for method, path in PAGES:
        if path in OPEN:
            continue
        page = visitor.get(fill(path)) if method == "GET" else visitor.post(fill(path), form=form)
        assert page.status == 303, path
        assert page.location.startswith(f"{site.public_url}/signin?next=%2F"), path


@pytest.mark.parametrize("path", sorted({path for method, path in PAGES if method == "POST"}))
def test_no_form_is_taken_without_its_token_or_from_another_site(site, path):
    visitor = site.visit()
    visitor.sign_up()
    token, commits = visitor.page.field("form"), site.db.commits
    other = site.visit()
    other.get("/signin")
    refused = [
        visitor.post(fill(path), form=""),
        visitor.post(fill(path), form=other.page.field("form")),
        visitor.post(fill(path), form=token, headers={"HTTP_SEC_FETCH_SITE": "cross-site"}),
        visitor.post(fill(path), form=token, headers={"HTTP_SEC_FETCH_SITE": "same-site"}),
    ]
    assert [page.status for page in refused] == [403] * 4
    assert site.db.commits == commits


def test_a_form_cookie_that_we_did_not_sign_is_replaced(site):
    from chalicelib.identity.model import derive_form_token

    visitor = site.visit()
    planted = "planted.00000000000000000000000000000000"
    visitor.cookies["__Host-form"] = planted
    assert visitor.post("/signin", form=derive_form_token(planted), email="a@b.cd").status == 403
    assert visitor.cookies["__Host-form"] != planted


def test_pages_carry_what_keeps_others_out(site):
    visitor = site.visit()
    for page in (visitor.get("/signin"), visitor.get("/signup"), visitor.sign_up()):
        policy = page.headers["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-(\w+)'", policy)[1]
        assert f'<style nonce="{nonce}">' in page.text
        assert "frame-ancestors 'none'" in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert " style=" not in page.text
        assert not re.search(r" on\w+=", page.text)


def test_every_link_and_form_leads_to_our_address(site):
    visitor = site.visit()
    for path in ("/signin", "/signup", "/reset", "/signin/code", "/signin/recovery"):
        page = visitor.get(f"{path}")
        targets = page.find(r'(?:href|action)="([^"]*)"')
        assert targets
        assert all(target.startswith(site.public_url) for target in targets)


def test_a_sign_in_goes_on_to_where_it_was_asked_for(site):
    site.visit().sign_up()
    page = site.visit().sign_in(next_path="/authorize?client_id=a&state=b%2Fc")
    assert (page.status, page.location) == (303, f"{site.public_url}/authorize?client_id=a&state=b%2Fc")


def test_a_sign_in_goes_on_to_no_other_site(site):
    site.visit().sign_up()
    for path in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        assert site.visit().sign_in(next_path=path).location == f"{site.public_url}/account"


def test_who_is_signed_in_goes_on_at_once(site):
    visitor = site.visit()
    visitor.sign_up()
    assert visitor.get("/signin?next=%2Fauthorize").location == f"{site.public_url}/authorize"


def test_a_wrong_password_shows_the_form_again_and_keeps_no_password(site):
    page = site.visit().sign_in(password="not the right <password>")
    assert page.status == 401
    assert "The address or the password is not right." in page.text
    assert "not the right" not in page.text
    assert page.field("email") == "ada@example.com"


def test_too_many_attempts_are_answered_with_when_to_come_back(site):
    visitor = site.visit()
    for _ in range(6):
        page = visitor.sign_in()
    assert page.status == 429
    assert page.headers["Retry-After"] == "60"


def test_an_app_is_set_up_and_asked_for(site):
    visitor = site.visit()
    visitor.sign_up()
    visitor.get("/account/totp")
    page = visitor.post("/account/totp")
    assert "<svg" in page.text
    secret = page.find(r'<p class="code">([^<]*)</p>')[0].replace(" ", "")
    page = visitor.post("/account/totp/confirm", code="000000")
    assert page.status == 401
    assert secret[:4] not in page.text
    page = visitor.post("/account/totp/confirm", code=site.code(secret))
    codes = page.find(r"<li>([^<]*)</li>")
    assert len(codes) == 10
    page = visitor.get("/account")
    assert "10 recovery codes are left" in page.text
    visitor.post("/signout")
    assert "__Host-session" not in visitor.cookies
    site.clock.advance_seconds(60)
    visitor.sign_in(next_path="/account/password")
    visitor.follow()
    page = visitor.post("/signin/code", code=site.code(secret), next="/account/password")
    assert page.location == f"{site.public_url}/account/password"
    assert "__Host-signin" not in visitor.cookies
    other = site.visit()
    other.sign_in()
    other.follow()
    assert other.get("/signin/recovery").status == 200
    assert other.post("/signin/recovery", code=codes[0]).location == f"{site.public_url}/account"


def test_who_must_have_a_second_factor_is_led_to_it(site):
    visitor = site.visit()
    visitor.sign_up()
    site.memberships.strict.update(site.db.table("people"))
    assert visitor.get("/account").location.startswith(f"{site.public_url}/signin")
    visitor.sign_in(next_path="/authorize")
    assert "/signin/enrol" in visitor.page.location
    visitor.follow()
    page = visitor.post("/signin/enrol", next="/authorize")
    secret = page.find(r'<p class="code">([^<]*)</p>')[0].replace(" ", "")
    page = visitor.post("/signin/enrol/confirm", code=site.code(secret), next="/authorize")
    assert f'href="{site.public_url}/authorize"' in page.text
    assert visitor.get("/account").status == 200


def test_what_cannot_be_taken_back_asks_to_sign_in_again(site):
    visitor = site.visit()
    visitor.sign_up()
    site.clock.advance_seconds(301)
    page = visitor.get("/account/email")
    assert visitor.read_query(page.location) == {"step_up": "1", "next": "/account/email"}
    page = visitor.follow()
    assert "Confirm that it is you" in page.text
    page = visitor.post("/signin", email=page.field("email"), password=PASSWORD, next=page.field("next"))
    assert page.location == f"{site.public_url}/account/email"
    assert visitor.follow().status == 200
    assert len([each for each in site.db.table("sessions").values() if each.ended_at_ms is None]) == 1


def test_a_person_ends_other_sessions(site):
    first, second = site.visit(), site.visit()
    first.sign_up()
    second.sign_in()
    second.follow()
    page = first.get("/account")
    (path,) = page.find(r'action="[^"]*(/account/sessions/ses_\w+/end)"')
    first.post(path)
    assert second.get("/account").location.startswith(f"{site.public_url}/signin")
    first.follow()
    first.post("/account/sessions/end-all")
    assert first.get("/account").status == 303


def test_a_password_is_reset_by_mail(site):
    site.visit().sign_up()
    visitor = site.visit()
    visitor.get("/reset")
    visitor.post("/reset", email="ada@example.com")
    visitor.follow()
    visitor.get(f"/reset/confirm?token={site.mailer.read_link()}")
    page = visitor.post("/reset/confirm", token=visitor.page.field("token"), password="short")
    assert (page.status, page.find("at least 15 characters")) == (400, ["at least 15 characters"])
    visitor.post("/reset/confirm", token=page.field("token"), password=NEW)
    assert "Sign in with it" in visitor.follow().text
    assert "__Host-session" not in visitor.cookies
    assert "__Host-device" in visitor.cookies
    assert visitor.sign_in(password=NEW).status == 303


def test_reset_and_sign_up_answer_alike_whoever_has_the_address(site):
    site.visit().sign_up()
    answers = set()
    for email in ("ada@example.com", "nobody@example.com"):
        visitor = site.visit()
        visitor.get("/reset")
        page = visitor.post("/reset", email=email)
        visitor.get("/signup")
        again = visitor.post("/signup", email=email, password=NEW, name="Eve")
        kept = frozenset(re.sub(r"=\w+;", "=;", each) for each in again.cookies)
        answers.add((page.status, page.location, again.status, again.location, kept))
    assert len(answers) == 1


def test_a_password_is_changed_and_an_address_too(site):
    visitor = site.visit()
    visitor.sign_up()
    visitor.get("/account/password")
    visitor.post("/account/password", current=PASSWORD, password=NEW)
    assert "password is changed" in visitor.follow().text
    visitor.get("/account/email")
    visitor.post("/account/email", email="ada@new.example")
    visitor.follow()
    visitor.get(f"/account/email/confirm?token={site.mailer.read_link()}")
    visitor.post("/account/email/confirm", token=visitor.page.field("token"))
    assert "ada@new.example" in visitor.follow().text


def test_a_page_that_fails_says_so_as_a_page(site):
    visitor = site.visit()
    visitor.sign_up()
    page = visitor.post("/account/sessions/ses_x/end")
    assert page.status == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "There is no such session." in page.text


def test_a_name_is_shown_as_text(site):
    page = site.visit().sign_up(name="<script>alert(1)</script>")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in page.text


def test_a_session_is_found_by_the_cookie_that_the_pages_set(site):
    visitor = site.visit()
    visitor.sign_up()
    user, _ = service.find_session(site.ports, visitor.cookies["__Host-session"])
    assert user.name == "Ada Byron"
