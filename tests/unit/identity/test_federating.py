"""Other providers: by issuer and subject, never by an address; an answer is for the browser that asked."""

from urllib.parse import parse_qs, urlsplit

import pytest

from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from chalicelib.identity import federating, service
from chalicelib.identity.federating import Callback, Claims, Provider, ProviderPorts
from chalicelib.identity.oidc_gateway import OidcClient
from chalicelib.identity.signing_in import SignedIn, Ticket
from tests.unit.identity.people import AWAY, EMAIL, HOME, People
from tests.unit.identity.provider import ISSUER, MemoryProvider
from tests.unit.identity.visitor import FakeProviders

FAR_MS = 10**15


class Federation:
    def __init__(self):
        self.people = People()
        self.idp = MemoryProvider(self.people.clock)
        self.client = OidcClient(self.idp.send, self.people.clock)
        provider = Provider("Example", ISSUER, "client", "its secret")
        self.ports = ProviderPorts(self.people.ports, lambda: {"Example": provider}, self.client)

    def leave(self, **options):
        return federating.leave(self.ports, "Example", HOME, **options)

    def come_back(self, leaving, signed_in=None, **changes):
        code, state = self.idp.authorize(leaving.url)
        given = {"kept": leaving.state, "state": state, "code": code} | changes
        return federating.come_back(self.ports, Callback(**given), HOME, signed_in)

    def sign_in(self, **changes):
        return self.come_back(self.leave(), **changes).outcome


@pytest.fixture
def world():
    return Federation()


def code_of(call, *arguments, **options):
    with pytest.raises((Unauthenticated, Forbidden, Conflict)) as refused:
        call(*arguments, **options)
    return refused.value.code


def test_who_is_new_and_vouched_for_becomes_a_person_and_is_found_again(world):
    first, second = world.sign_in(), world.sign_in()
    assert isinstance(first, SignedIn)
    assert first.started.session.methods == {"fed"}
    assert first.started.session.user_id == second.started.session.user_id
    user, _ = world.people.find(first.started)
    assert (user.email, user.name, user.password_digest) == (EMAIL, "Ada Byron", None)


def test_a_person_is_found_by_the_subject_whatever_the_address_says(world):
    first = world.sign_in().started.session.user_id
    world.idp.claims = {"email": "other@example.com", "email_verified": False}
    assert world.sign_in().started.session.user_id == first
    world.idp.claims = {"sub": "subject-2"}
    assert code_of(world.sign_in) == "email_taken"


@pytest.mark.parametrize("said", [False, None, "false", 1, "yes"])
def test_an_address_that_is_not_verified_makes_and_links_nobody(world, said):
    world.people.sign_up()
    world.idp.claims = {"email_verified": said}
    assert code_of(world.sign_in) == "email_not_verified"
    world.idp.drop = ("email",)
    assert code_of(world.sign_in) == "email_not_verified"
    assert not world.people.db.table("links")


def test_an_address_that_somebody_has_links_nobody_even_when_it_is_verified(world):
    world.people.sign_up()
    assert code_of(world.sign_in) == "email_taken"
    assert not world.people.db.table("links")
    assert len(world.people.db.table("people")) == 1


def read_query(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_step_up_asks_the_provider_to_ask_again_and_to_say_when(world):
    asked = read_query(world.leave(again=True).url)
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    assert not {"prompt", "max_age"} & set(read_query(world.leave().url))


@pytest.mark.parametrize(
    ("said", "seconds_ago", "good"),
    [
        (True, 60, True),
        (True, 61, False),
        (True, 86_400, False),
        (False, 0, False),
    ],
)
def test_a_step_up_is_what_the_provider_says_that_it_asked_for_since(world, said, seconds_ago, good):
    found = world.people.find(world.sign_in().started)
    world.people.clock.advance_seconds(3_000)
    left_at = world.people.clock.now_ms() // 1000
    # Whoever is at the browser takes "prompt" and "max_age" out of the address: the provider asks nobody.
    leaving = world.leave(again=True)
    world.people.clock.advance_seconds(200)
    world.idp.claims = {"auth_time": left_at - seconds_ago}
    world.idp.drop = () if said else ("auth_time",)
    if not good:
        assert code_of(world.come_back, leaving, found) == "step_up_not_proved"
        assert not service.get_session(world.people.ports, found[1].session_id).is_fresh(
            world.people.clock.now_ms()
        )
        return
    _, session = world.people.find(world.come_back(leaving, found).outcome.started)
    assert session.authenticated_at_ms == (left_at - seconds_ago) * 1000
    assert session.is_fresh(world.people.clock.now_ms())


@pytest.mark.parametrize("said", [None, 0, -1, True, 10**11, 1e300])
def test_a_time_that_is_none_proves_nothing(world, said):
    found = world.people.find(world.sign_in().started)
    world.idp.claims = {"auth_time": said}
    assert code_of(world.come_back, world.leave(again=True), found) == "step_up_not_proved"


def test_a_sign_in_is_as_fresh_as_the_provider_says_so_that_signing_out_first_is_no_way_around(world):
    now = world.people.clock.now_ms() // 1000
    world.idp.claims = {"auth_time": now - 301}
    _, session = world.people.find(world.sign_in().started)
    assert not session.is_fresh(world.people.clock.now_ms())
    world.idp.drop = ("auth_time",)
    _, session = world.people.find(world.sign_in().started)
    assert not session.is_fresh(world.people.clock.now_ms())
    world.idp.drop, world.idp.claims = (), {"auth_time": now + 50}
    _, session = world.people.find(world.sign_in().started)
    assert session.authenticated_at_ms == world.people.clock.now_ms()


def test_a_link_asks_again_and_is_made_also_where_the_provider_does_not_say_when(world):
    world.idp.drop = ("auth_time",)
    world.idp.claims = {"sub": "subject-2"}
    found = world.people.find(world.people.sign_up())
    leaving = world.leave(linking=found, again=True)
    assert read_query(leaving.url)["prompt"] == "login"
    world.come_back(leaving, found)
    assert len(world.people.store.list_links(found[0].user_id)) == 1


def test_a_link_is_made_by_who_is_freshly_signed_in(world):
    world.idp.claims = {"email": "elsewhere@example.com", "email_verified": False}
    found = world.people.find(world.people.sign_up())
    leaving = world.leave(linking=found)
    world.people.clock.advance_seconds(301)
    assert code_of(world.come_back, leaving, found) == "step_up_needed"
    assert code_of(world.leave, linking=found) == "step_up_needed"
    found = world.people.find(world.people.sign_in().started)
    linked = world.come_back(world.leave(linking=found), found).outcome
    assert world.people.find(linked)[0].user_id == found[0].user_id
    assert world.sign_in().started.session.user_id == found[0].user_id


def test_a_link_is_for_one_person_and_for_who_asked(world):
    ada = world.people.find(world.people.sign_up())
    eve = world.people.find(world.people.sign_up("eve@example.com"))
    leaving = world.leave(linking=ada)
    assert code_of(world.come_back, leaving, eve) == "link_expired"
    assert code_of(world.come_back, leaving) == "link_expired"
    world.come_back(leaving, ada)
    assert code_of(world.come_back, world.leave(linking=eve), eve) == "link_taken"


def test_a_second_factor_of_ours_is_asked_for_behind_a_provider(world):
    started = world.sign_in().started
    world.people.enrol(started)
    assert isinstance(world.sign_in(), Ticket)


def test_who_is_suspended_is_not_let_in_by_a_provider(world):
    user_id = world.sign_in().started.session.user_id
    service.set_status(world.people.ports, "usr_operator", user_id, "suspended")
    assert code_of(world.sign_in) == "provider_refused"


def test_who_is_erased_leaves_no_link_and_may_come_again(world):
    user_id = world.sign_in().started.session.user_id
    service.set_status(world.people.ports, "usr_operator", user_id, "erased")
    assert code_of(world.sign_in) == "provider_refused"
    assert service.forget_sign_ins(world.people.ports, user_id, FAR_MS)
    assert not world.people.db.table("links")
    assert world.sign_in().started.session.user_id != user_id


def test_a_link_is_taken_away_unless_it_is_the_last_way_in(world):
    found = world.people.find(world.sign_in().started)
    assert code_of(federating.unlink, world.ports, *found, "Example", HOME) == "last_sign_in"
    ada = world.people.find(world.people.sign_up("ada@other.example"))
    with pytest.raises(NotFound):
        federating.unlink(world.ports, *ada, "Example", HOME)
    world.idp.claims = {"sub": "subject-2"}
    ada = world.people.find(world.come_back(world.leave(linking=ada), ada).outcome)
    federating.unlink(world.ports, *ada, "Example", HOME)
    assert not world.people.store.list_links(ada[0].user_id)


def test_a_link_made_or_taken_away_ends_the_other_sessions_and_is_told(world):
    started = world.people.sign_up()
    for act, told in (
        (lambda ada: world.come_back(world.leave(linking=ada), ada).outcome, "Example was linked"),
        (lambda ada: federating.unlink(world.ports, *ada, "Example", HOME), "no longer linked"),
    ):
        other = world.people.sign_in(browser=AWAY).started
        renewed = act(world.people.find(started))
        for ended in (started, other):
            assert service.find_session(world.people.ports, ended.cookie) is None
        started = renewed
        assert world.people.find(started)
        assert world.people.mailer.sent[-1].to == EMAIL
        assert told in world.people.mailer.sent[-1].text


def test_who_was_signed_out_while_the_provider_answered_links_nothing(world):
    ada = world.people.find(world.people.sign_up())
    leaving = world.leave(linking=ada)
    service.end_all_sessions(world.people.ports, ada[0])
    assert code_of(world.come_back, leaving, ada) == "invalid_credentials"
    assert not world.people.db.table("links")


def test_a_person_has_no_more_links_than_ten_however_many_are_begun(world):
    ada = world.people.find(world.people.sign_up("ada@other.example"))
    begun = [world.leave(linking=ada) for _ in range(federating.MAX_LINKS + 1)]
    for number, leaving in enumerate(begun[:-1]):
        world.idp.claims = {"sub": f"subject-{number}"}
        ada = world.people.find(world.come_back(leaving, ada).outcome)
    world.idp.claims = {"sub": "one-more"}
    assert code_of(world.come_back, begun[-1], ada) == "too_many_links"
    assert len(world.people.store.list_links(ada[0].user_id)) == federating.MAX_LINKS


def test_nobody_is_linked_who_is_erased_while_they_are_elsewhere(world):
    """Before the person is read again, and between that and the link."""
    for moment in ("before", "between"):
        ada = world.people.find(world.people.sign_up(f"ada-{moment}@other.example"))
        leaving, commits = world.leave(linking=ada), []

        def erase(moment=moment, ada=ada, commits=commits):
            # The first commit uses the state.
            commits.append(1)
            if len(commits) == {"before": 1, "between": 2}[moment]:
                world.people.db.interlude = None
                service.set_status(world.people.ports, "usr_operator", ada[0].user_id, "erased")

        world.people.db.interlude = erase
        world.idp.claims = {"sub": moment}
        with pytest.raises((Unauthenticated, Unavailable)):
            world.come_back(leaving, ada)
        assert not world.people.db.table("links")


def test_the_pages_lead_to_a_provider_and_back(site):
    visitor = site.visit()
    visitor.get("/signin?next=%2Fauthorize")
    page = visitor.post("/signin/with/Example", next="/authorize")
    state = visitor.read_query(page.location)["state"]
    assert visitor.cookies["__Host-federation"] == state
    page = visitor.get(f"/signin/callback?code=c&state={state}")
    assert page.location == f"{site.public_url}/authorize"
    assert "__Host-federation" not in visitor.cookies
    assert visitor.get(f"/signin/callback?code=c&state={state}").status == 401
    assert visitor.get("/signin/callback?error=access_denied&state=x").status == 401
    other = site.visit()
    other.get("/signin")
    assert other.get(f"/signin/callback?code=c&state={state}").status == 401


def link(visitor):
    page = visitor.post("/account/links/Example")
    state = visitor.read_query(page.location)["state"]
    visitor.get(f"/signin/callback?code=c&state={state}")
    return visitor.follow()


def test_after_a_reset_the_page_names_what_signs_in_without_the_password(site):
    visitor = site.visit()
    visitor.sign_up()
    link(visitor)
    visitor.get("/reset")
    visitor.post("/reset", email=EMAIL)
    visitor.get(f"/reset/confirm?token={site.mailer.read_link()}")
    page = visitor.post("/reset/confirm", token=visitor.page.field("token"), password="another good password")
    assert (page.status, page.find(r"<li>(Example), linked on [0-9-]{10}</li>")) == (200, ["Example"])
    assert f'href="{site.public_url}/signin?next=%2Faccount"' in page.text
    assert "__Host-device" in visitor.cookies
    assert "- Example, linked on" in site.mailer.sent[-1].text


def test_the_pages_link_and_unlink_a_provider(site):
    visitor = site.visit()
    visitor.sign_up()
    assert "Unlink Example" in link(visitor).text
    visitor.post("/account/unlink", provider="Example")
    assert "no longer linked" in visitor.follow().text
    assert isinstance(site.providers, FakeProviders)
    assert isinstance(site.providers.claims, Claims)
    assert AWAY.device is None
