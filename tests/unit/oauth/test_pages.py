"""Pages: who is not signed in is sent to sign in, who is sees who asks; no other site decides for them."""

from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from chalicelib.oauth.model import Client
from tests.unit.oauth.flows import CHALLENGE, REDIRECT
from tests.unit.oauth.site import Browser, read_answer


def build_link(site, **changes):
    fields = {
        "response_type": "code",
        "client_id": "cli",
        "redirect_uri": REDIRECT,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": '"><script>alert(1)</script>',
    } | changes
    return f"{site.url}/oauth/authorize?{urlencode(fields)}"


def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(site):
    link = build_link(site)
    answer = httpx.get(link)
    assert answer.status_code == 303
    parts = urlsplit(answer.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{site.url}/signin"
    (following,) = parse_qs(parts.query)["next"]
    assert parse_qs(urlsplit(following).query) == parse_qs(urlsplit(link).query)
    assert following.startswith("/oauth/authorize?")


@pytest.mark.parametrize(
    ("max_age", "seconds_ago", "asks_again"),
    [
        ("300", 300, False),
        ("300", 301, True),
        ("0", 60, False),
        ("0", 61, True),
        ("", 86_000, False),
        ("-1", 86_000, False),
        ("1e9", 86_000, False),
        ("9" * 40, 86_000, False),
    ],
)
@pytest.mark.parametrize("page", ["authorize", "device"])
def test_a_program_may_ask_for_a_later_sign_in(site, browser, max_age, seconds_ago, asks_again, page):
    site.world.clock.advance_seconds(seconds_ago)
    link = (
        build_link(site, max_age=max_age) if page == "authorize" else f"{site.url}/device?max_age={max_age}"
    )
    answer = browser.http.get(link)
    assert answer.status_code == (303 if asks_again else 200)
    if asks_again:
        parts = urlsplit(answer.headers["location"])
        asked = parse_qs(parts.query)
        assert (parts.path, asked["step_up"]) == ("/signin", ["1"])
        assert urlsplit(asked["next"][0]).path == urlsplit(link).path
        assert parse_qs(urlsplit(asked["next"][0]).query) == parse_qs(urlsplit(link).query)


def test_the_page_shows_who_asks_for_what_and_escapes_what_it_was_sent(site, browser):
    page = browser.http.get(build_link(site, scope="rentals:read"))
    assert page.status_code == 200
    for text in (
        "Provocative command line",
        "Acme Research",
        "rentals:read",
        "Ada",
        "http://127.0.0.1:53111",
    ):
        assert text in page.text
    assert "<script>" not in page.text
    policy = page.headers["content-security-policy"]
    assert "form-action 'self' http://127.0.0.1:53111;" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"


def test_even_our_own_program_asks(site, browser):
    assert "Allow" in browser.http.get(build_link(site)).text


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_no_other_site_decides_for_a_person(site, browser, token):
    page = browser.http.get(build_link(site))
    form = browser.read_form(page.text) | {"decision": "approve", "form_token": token or ""}
    if token is None:
        del form["form_token"]
    answer = browser.http.post(f"{site.url}/oauth/authorize", data=form)
    assert answer.status_code == 403
    assert "location" not in answer.headers
    answer = browser.http.post(
        f"{site.url}/device", data={"user_code": "BCDFGHJK", "form_token": token or ""}
    )
    assert answer.status_code == 403


def test_a_refusal_goes_back_to_the_program(site, browser):
    answer = read_answer(browser.consent(build_link(site), "deny"))
    assert (answer["error"], answer["iss"]) == ("access_denied", site.url)


def test_a_bad_client_or_address_is_told_to_the_person_and_to_nobody_else(site, browser):
    for changes in ({"client_id": "nobody"}, {"redirect_uri": "https://evil.example/"}):
        answer = browser.http.get(build_link(site, **changes))
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "text/html" in answer.headers["content-type"]


def test_who_belongs_to_several_organisations_chooses_and_to_no_other(site, browser):
    other = site.world.ids.new_id("acc")
    site.world.join(other)
    site.world.standing.names[other] = "Beta <Labs>"
    page = browser.http.get(build_link(site)).text
    assert "Beta &lt;Labs&gt;" in page
    form = browser.read_form(page) | {"decision": "approve", "organisation": other}
    answer = browser.http.post(f"{site.url}/oauth/authorize", data=form)
    assert "code" in read_answer(answer.headers["location"])
    for form["organisation"] in (site.world.ids.new_id("acc"), "acc_" + "0" * 8000, "nothing", ""):
        assert browser.http.post(f"{site.url}/oauth/authorize", data=form).status_code == 403


def test_a_program_of_one_organisation_is_not_for_people_of_another(site, browser):
    client = Client("oac_" + "1" * 26, site.world.ids.new_id("acc"), "Theirs", "public", (REDIRECT,), 0)
    tx = site.world.db.begin()
    site.world.store.add(tx, client)
    tx.commit()
    answer = browser.http.get(build_link(site, client_id=client.client_id, scope="rentals:read"))
    assert answer.status_code == 403


def test_unknown_parameters_are_ignored_and_repeated_ones_refused(site, browser):
    assert browser.http.get(build_link(site, audience="x")).status_code == 200
    assert browser.http.get(build_link(site) + "&client_id=cli").status_code == 400


def test_a_wrong_device_code_says_so_and_too_many_say_that(site, browser):
    told = [browser.enter("BCDF-GHJK").status_code for _ in range(6)]
    assert told == [404] * 5 + [429]


def test_a_device_is_refused_on_its_page(site, browser):
    begun = httpx.post(f"{site.url}/oauth/device_authorization", data={"client_id": "cli"}).json()
    assert "gets nothing" in browser.connect(begun["user_code"], "deny").text


def test_an_ended_session_is_nobody(site):
    stranger = Browser(site, "cookie-of-nobody")
    assert stranger.http.get(build_link(site)).status_code == 303
    assert stranger.http.get(f"{site.url}/device").status_code == 303
    stranger.close()


def test_errors_of_the_endpoints_have_the_protocols_own_shape(site):
    bad = [
        httpx.post(f"{site.url}/oauth/token", json={"grant_type": "refresh_token"}),
        httpx.post(f"{site.url}/oauth/token", data={}),
        httpx.post(
            f"{site.url}/oauth/token",
            content="grant_type=a&grant_type=b",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
    ]
    for answer in bad:
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert "error" in answer.json()
        assert "status" not in answer.json()


def test_a_token_in_the_address_opens_nothing(site):
    answer = httpx.get(f"{site.url}/v1/oauth-clients", params={"access_token": "x"})
    assert answer.status_code == 401
