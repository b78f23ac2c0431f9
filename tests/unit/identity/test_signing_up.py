"""A person is made by a password and a mail together, and nobody learns who has an account."""

import json
import unicodedata
from dataclasses import asdict

import pytest

from chalicelib.core.errors import Conflict, InvalidInput, Unauthenticated
from chalicelib.identity.model import (
    DAY_MS,
    MAX_TYPED_NAME,
    choose_path,
    clean_name,
    label_agent,
    normalise_email,
)
from chalicelib.identity.passwords import normalise_password
from chalicelib.identity.service import find_session, get_session, get_user
from chalicelib.identity.signing_up import SignUp, send_again, sign_up, verify_address
from tests.unit.identity.people import AWAY, EMAIL, HOME, NAME, PASSWORD, People

OTHER = "another good long password"


def test_a_sign_up_is_finished_by_the_link_and_the_password():
    people = People()
    started = people.sign_up()
    user, session = people.find(started)
    assert (user.email, user.name, user.status) == (EMAIL, NAME, "active")
    assert user.email_verified_at_ms == people.clock.now_ms()
    assert session.methods == {"pwd"}
    assert get_user(people.ports, user.user_id) == user
    assert get_session(people.ports, session.session_id).session_id == session.session_id


def test_before_the_link_is_opened_there_is_nobody():
    people = People()
    sign_up(people.ports, SignUp(EMAIL, PASSWORD, NAME), HOME)
    assert not people.db.table("people")
    with pytest.raises(Unauthenticated):
        people.sign_in()


def test_who_opens_the_link_of_somebody_elses_sign_up_gives_them_nothing():
    people = People()
    sign_up(people.ports, SignUp(EMAIL, "the password of an attacker", "Eve"), AWAY)
    with pytest.raises(Unauthenticated):
        verify_address(people.ports, people.mailer.read_link(), PASSWORD, HOME)
    assert not people.db.table("people")


def test_of_two_sign_ups_of_an_address_the_one_that_is_verified_first_stands():
    people = People()
    sign_up(people.ports, SignUp(EMAIL, OTHER, NAME), AWAY)
    first = people.mailer.read_link()
    people.sign_up()
    with pytest.raises(Conflict) as refused:
        verify_address(people.ports, first, OTHER, AWAY)
    assert refused.value.code == "email_taken"
    people.sign_in()


def test_a_link_is_good_once_and_for_a_day():
    people = People()
    people.sign_up()
    link = people.mailer.read_link()
    with pytest.raises(Unauthenticated):
        verify_address(people.ports, link, PASSWORD, HOME)
    sign_up(people.ports, SignUp("late@example.com", PASSWORD, NAME), HOME)
    people.clock.advance_seconds(DAY_MS / 1000)
    with pytest.raises(Unauthenticated):
        verify_address(people.ports, people.mailer.read_link(), PASSWORD, HOME)


def test_a_link_cannot_be_guessed_at():
    people = People()
    sign_up(people.ports, SignUp(EMAIL, PASSWORD, NAME), HOME)
    link = people.mailer.read_link()
    for number in range(10):
        with pytest.raises(Unauthenticated):
            verify_address(people.ports, link, f"a wrong password {number}", AWAY)
    with pytest.raises(Unauthenticated):
        verify_address(people.ports, link, PASSWORD, HOME)


def test_the_mail_is_sent_again_a_few_times_and_each_link_works():
    people = People()
    again = sign_up(people.ports, SignUp(EMAIL, PASSWORD, NAME), HOME)
    first = people.mailer.read_link()
    send_again(people.ports, again, HOME)
    assert people.mailer.read_link() != first
    for _ in range(10):
        people.clock.advance_seconds(3_600)
        try:
            send_again(people.ports, again, HOME)
        except Conflict:
            break
    assert len(people.mailer.sent) == 6
    verify_address(people.ports, first, PASSWORD, HOME)
    # The last link is as good as the first was; there is somebody by now.
    with pytest.raises(Conflict) as refused:
        verify_address(people.ports, people.mailer.read_link(), PASSWORD, HOME)
    assert refused.value.code == "email_taken"


def test_a_sign_up_that_nobody_finishes_leaves_no_entry_in_the_trail():
    people = People()
    sign_up(people.ports, SignUp(EMAIL, PASSWORD, NAME), HOME)
    latest_ms = people.clock.now_ms() + DAY_MS
    assert not people.audit.entries
    assert all(each.expires_at_ms <= latest_ms for each in people.db.table("tokens").values())
    verify_address(people.ports, people.mailer.read_link(), PASSWORD, HOME)
    sign_up(people.ports, SignUp(EMAIL, OTHER, NAME), AWAY)
    assert [each.action for each in people.audit.entries] == ["person.signed_up", "person.signup_asked"]


def test_an_address_that_is_known_is_told_so_by_mail_and_nowhere_else():
    people = People()
    people.sign_up()
    sign_up(people.ports, SignUp(EMAIL.upper(), OTHER, "Eve"), AWAY)
    assert people.mailer.sent[-1].to == EMAIL
    assert "account already" in people.mailer.sent[-1].subject
    assert "token=" not in people.mailer.sent[-1].text
    people.sign_in()
    with pytest.raises(Unauthenticated):
        people.sign_in(password=OTHER)


def test_a_known_address_costs_the_same_work_as_a_new_one():
    people = People()
    people.sign_up()
    costs = []
    for email in (EMAIL, "new@example.com"):
        before = people.count_work()
        sign_up(people.ports, SignUp(email, OTHER, NAME), HOME)
        costs.append([after - was for after, was in zip(people.count_work(), before, strict=True)])
    assert costs[0] == costs[1]


def test_nothing_personal_and_no_secret_is_stored_in_the_open():
    people = People()
    started = people.sign_up()
    link = people.mailer.read_link()
    secret, enrolled = people.enrol(started)
    stored = repr({name: list(rows.items()) for name, rows in people.db.tables.items()})
    secrets = [started.cookie.partition(".")[2], enrolled.started.cookie.partition(".")[2], *enrolled.codes]
    for text in (EMAIL, NAME, secret, link, *secrets):
        assert text not in stored
    assert not any(EMAIL in json.dumps(asdict(entry)) for entry in people.audit.entries)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "@",
        "a@b",
        "a@@b.c",
        "a b@c.de",
        "a@b.c\n",
        "a@.de",
        "a@de.",
        "x" * 250 + "@b.cd",
        "<a@b.cd>",
        "\u0430da@example.com",
        "ada@ex\u00e4mple.com",
    ],
)
def test_what_is_no_address_is_refused(text):
    if text == "a@b.c\n":
        assert normalise_email(text) == "a@b.c"
        return
    with pytest.raises(InvalidInput):
        normalise_email(text)


#: Marks that a decomposition puts into order: in the square of their number, if anybody lets it.
MARKS = "\u0301\u0316" * 16_000


def test_what_is_too_long_is_refused_before_it_is_normalised(monkeypatch):
    longest = []
    real = unicodedata.normalize
    monkeypatch.setattr(
        unicodedata, "normalize", lambda form, text: longest.append(len(text)) or real(form, text)
    )
    for read in (normalise_email, clean_name, normalise_password):
        with pytest.raises(InvalidInput):
            read(MARKS)
        with pytest.raises(InvalidInput):
            read(f"a@b.{MARKS}")
    assert max(longest, default=0) <= MAX_TYPED_NAME + 1
    assert normalise_email("  ada@example.com" + " " * 200) == EMAIL
    assert clean_name("Ada" + " " * 400 + "Byron") == NAME


def test_one_address_has_one_spelling():
    assert normalise_email(" Ada@Example.COM ") == normalise_email("ada@example.com")


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "evil", "", None, "/a b", "/\nx", "/é"]
)
def test_one_is_sent_on_to_our_own_paths_alone(path):
    assert choose_path(path, "/account") == "/account"
    assert (
        choose_path("/authorize?client_id=a&state=%2F%2F", "/account")
        == "/authorize?client_id=a&state=%2F%2F"
    )


def test_a_session_is_named_by_browser_and_system():
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    assert label_agent(firefox) == "Firefox on Linux"
    assert label_agent("curl") == "A browser on an unknown system"


def test_a_cookie_that_is_nobodys_opens_nothing():
    people = People()
    started = people.sign_up()
    for cookie in (None, "", "x", "ses_x.y", f"{started.session.session_id}.wrong", started.cookie + "x"):
        assert find_session(people.ports, cookie) is None
