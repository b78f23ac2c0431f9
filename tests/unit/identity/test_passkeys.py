"""Passkeys: bound to our host, their owner checked, a challenge good once; they sign in without more."""

import json

import pytest

from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable
from chalicelib.identity import passkeys, resetting, service
from chalicelib.identity.passkey_gateway import MAX_ANSWER
from chalicelib.identity.service import find_session
from tests.unit.identity.authenticator import Authenticator, encode
from tests.unit.identity.people import AWAY, HOME, People

ORIGIN = "http://127.0.0.1:8000"


class Owner:
    """A person with an app, and an authenticator in hand."""

    def __init__(self, **options):
        self.people = People()
        self.people.public_url = "https://cloud.example/base"
        self.key = Authenticator("https://cloud.example", **options)
        _, done = self.people.enrol(self.people.sign_up())
        self.user, self.session = self.people.find(done.started)

    def register(self, label="Laptop"):
        asked = passkeys.begin_registration(self.people.ports, self.user, self.session)
        answer = self.key.create(asked.options)
        started = passkeys.finish_registration(
            self.people.ports, self.user, self.session, asked.secret, answer, label, HOME
        )
        self.user, self.session = self.people.find(started)
        return asked, answer

    def ask(self):
        return passkeys.begin_assertion(self.people.ports, AWAY)

    def finish(self, asked, answer):
        return passkeys.finish_assertion(self.people.ports, asked.secret, answer, AWAY)


@pytest.fixture
def owner():
    found = Owner()
    found.register()
    return found


def test_a_passkey_signs_in_alone_and_counts_as_both_factors(owner):
    owner.people.memberships.strict.add(owner.user.user_id)
    asked = owner.ask()
    signed_in = owner.finish(asked, owner.key.get(asked.options))
    user, session = owner.people.find(signed_in.started)
    assert (user.user_id, session.methods) == (owner.user.user_id, {"hwk"})


def test_a_passkey_that_comes_or_goes_is_told_by_mail(owner):
    assert "A passkey was added" in owner.people.mailer.sent[-1].text
    (passkey,) = owner.people.store.list_passkeys(owner.user.user_id)
    passkeys.remove_passkey(owner.people.ports, owner.user, owner.session, passkey.credential_id, HOME)
    assert "A passkey was taken away" in owner.people.mailer.sent[-1].text
    assert owner.people.mailer.sent[-1].to == owner.user.email


def test_what_signs_in_without_the_password_is_named_after_a_reset(owner):
    resetting.ask_reset(owner.people.ports, owner.user.email, HOME)
    link = owner.people.mailer.read_link()
    done = resetting.reset_password(owner.people.ports, link, "an entirely different sentence")
    day = format_instant(owner.people.clock.now_ms())[:10]
    assert done.ways == (f"a passkey that was added on {day}",)
    text = owner.people.mailer.sent[-1].text
    assert f"- {done.ways[0]}\n" in text
    # In words that nobody but us chose: not by a label, which is whatever somebody typed.
    assert "Laptop" not in text
    assert f"{owner.people.public_url}/account" in text


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, '{"a":' * 3_000, "x" * (MAX_ANSWER + 1), '{"response": [], "id": 7}', "7", '"text"', ""],
)
def test_whatever_else_is_sent_in_place_of_an_answer_is_refused(owner, text):
    name = encode(owner.key.credential_id)
    deep = _wrap("[" * 5_000, owner.key.handle)
    nested = json.dumps({"id": name, "rawId": name, "type": "public-key", "response": deep})
    for answer in (text, nested):
        with pytest.raises(Unauthenticated):
            owner.finish(owner.ask(), answer)
        asked = passkeys.begin_registration(owner.people.ports, owner.user, owner.session)
        with pytest.raises(InvalidInput):
            passkeys.finish_registration(
                owner.people.ports, owner.user, owner.session, asked.secret, answer, "x", HOME
            )


def _wrap(text, handle):
    """An answer of both kinds whose client data are a text."""
    data = encode(text.encode())
    return {
        "clientDataJSON": data,
        "attestationObject": data,
        "authenticatorData": data,
        "signature": "YQ",
        "userHandle": encode(handle),
    }


def test_options_name_our_host_and_nobody(owner):
    asked = json.loads(owner.ask().options)
    assert asked["rpId"] == "cloud.example"
    assert owner.user.user_id not in json.dumps(asked)


def test_a_challenge_is_good_once_for_five_minutes_and_for_what_it_was_made_for(owner):
    asked = owner.ask()
    answer = owner.key.get(asked.options)
    owner.finish(asked, answer)
    with pytest.raises(Unauthenticated):
        owner.finish(asked, answer)
    late = owner.ask()
    owner.people.clock.advance_seconds(300)
    with pytest.raises(Unauthenticated):
        owner.finish(late, owner.key.get(late.options))
    with pytest.raises(Unauthenticated):
        owner.finish(owner.ask(), owner.key.get(owner.ask().options))


def test_an_answer_for_another_site_is_refused(owner):
    for origin in ("https://evil.example", "http://cloud.example", "https://cloud.example.evil.example"):
        owner.key.origin = origin
        asked = owner.ask()
        with pytest.raises(Unauthenticated):
            owner.finish(asked, owner.key.get(asked.options))


def test_an_answer_without_its_owner_is_refused(owner):
    owner.key.verifies = False
    asked = owner.ask()
    with pytest.raises(Unauthenticated):
        owner.finish(asked, owner.key.get(asked.options))
    with pytest.raises(InvalidInput):
        owner.register()


@pytest.mark.parametrize("part", ["signature", "authenticatorData", "clientDataJSON", "userHandle"])
def test_an_answer_that_was_changed_is_refused(owner, part):
    asked = owner.ask()
    answer = json.loads(owner.key.get(asked.options))
    whole = answer["response"][part]
    answer["response"][part] = ("A" if whole[0] != "A" else "B") + whole[1:]
    with pytest.raises(Unauthenticated):
        owner.finish(asked, json.dumps(answer))
    del answer["response"][part]
    with pytest.raises(Unauthenticated):
        owner.finish(asked, json.dumps(answer))


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", "null", '{"id": 7}', '{"response": {"userHandle": "____"}}']
)
def test_what_is_no_answer_is_refused(owner, answer):
    with pytest.raises(Unauthenticated):
        owner.finish(owner.ask(), answer)


def test_a_passkey_that_was_copied_is_noticed_by_its_count(owner):
    asked = owner.ask()
    owner.finish(asked, owner.key.get(asked.options))
    owner.key.count -= 1
    asked = owner.ask()
    with pytest.raises(Unauthenticated):
        owner.finish(asked, owner.key.get(asked.options))


def test_of_two_sign_ins_at_once_with_one_answer_one_gets_in(owner):
    asked = owner.ask()
    answer = owner.key.get(asked.options)

    def interlude():
        owner.people.db.interlude = None
        owner.finish(asked, answer)

    owner.people.db.interlude = interlude
    with pytest.raises((Conflict, Unavailable)):
        owner.finish(asked, answer)


def test_a_passkey_is_added_by_who_has_an_app_and_has_just_signed_in():
    people = People()
    user, session = people.find(people.sign_up())
    with pytest.raises(Conflict) as refused:
        passkeys.begin_registration(people.ports, user, session)
    assert refused.value.code == "not_enrolled"
    people.clock.advance_seconds(301)
    with pytest.raises(Forbidden):
        passkeys.begin_registration(people.ports, user, session)


def test_a_registration_is_for_who_began_it_and_once(owner):
    asked, answer = owner.register_again = (
        passkeys.begin_registration(owner.people.ports, owner.user, owner.session),
        None,
    )
    other = Authenticator("https://cloud.example")
    other.credential_id = b"credential-2".ljust(32, b".")
    answer = other.create(asked.options)
    eve = owner.people.find(owner.people.sign_up("eve@example.com"))
    with pytest.raises(Unauthenticated):
        passkeys.finish_registration(owner.people.ports, *eve, asked.secret, answer, "x", HOME)
    with pytest.raises(InvalidInput):
        passkeys.finish_registration(
            owner.people.ports, owner.user, owner.session, asked.secret, answer[:-9] + '"}}', "x", HOME
        )


def test_adding_and_removing_one_ends_the_other_sessions():
    owner = Owner()
    before = owner.people.sign_in(browser=AWAY)
    epoch = owner.user.epoch
    owner.register()
    assert owner.user.epoch == epoch + 1
    with pytest.raises(Unauthenticated):
        service.find_token(owner.people.ports, "device", before.secret)
    (passkey,) = owner.people.store.list_passkeys(owner.user.user_id)
    assert passkey.label == "Laptop"
    started = passkeys.remove_passkey(
        owner.people.ports, owner.user, owner.session, passkey.credential_id, HOME
    )
    assert not owner.people.store.list_passkeys(owner.user.user_id)
    assert find_session(owner.people.ports, started.cookie)
    asked = owner.ask()
    with pytest.raises(Unauthenticated):
        owner.finish(asked, owner.key.get(asked.options))
    user, session = owner.people.find(started)
    with pytest.raises(NotFound):
        passkeys.remove_passkey(owner.people.ports, user, session, passkey.credential_id, HOME)


def test_the_app_stays_while_there_are_passkeys(owner):
    from chalicelib.identity import enrolling

    with pytest.raises(Conflict) as refused:
        enrolling.disable_totp(owner.people.ports, owner.user, owner.session, HOME)
    assert refused.value.code == "passkeys_left"


def begin_many(owner, count):
    """Registrations that were begun at once, each answered by an authenticator of its own."""
    begun = []
    for number in range(count):
        asked = passkeys.begin_registration(owner.people.ports, owner.user, owner.session)
        key = Authenticator("https://cloud.example")
        key.credential_id = f"further-{number}".encode().ljust(32, b".")
        begun.append((asked.secret, key.create(asked.options), f"no. {number}", HOME))
    return begun


def test_a_person_has_no_more_passkeys_than_ten_however_many_are_begun(owner):
    *fitting, last = begin_many(owner, passkeys.MAX_PASSKEYS)
    for each in fitting:
        started = passkeys.finish_registration(owner.people.ports, owner.user, owner.session, *each)
        owner.user, owner.session = owner.people.find(started)
    with pytest.raises(Conflict) as refused:
        passkeys.finish_registration(owner.people.ports, owner.user, owner.session, *last)
    assert refused.value.code == "too_many_passkeys"
    assert len(owner.people.store.list_passkeys(owner.user.user_id)) == passkeys.MAX_PASSKEYS


@pytest.mark.parametrize("between", [False, True])
def test_nobody_gets_a_passkey_who_is_erased_while_it_is_made(owner, between):
    (begun,) = begin_many(owner, 1)

    def erase():
        owner.people.db.interlude = None
        service.set_status(owner.people.ports, "usr_operator", owner.user.user_id, "erased")

    if between:
        owner.people.db.interlude = erase
    else:
        erase()
    with pytest.raises((Unauthenticated, Unavailable)):
        passkeys.finish_registration(owner.people.ports, owner.user, owner.session, *begun)
    assert len(owner.people.store.list_passkeys(owner.user.user_id)) == 1
    assert service.forget_sign_ins(owner.people.ports, owner.user.user_id, 10**15)
    assert owner.people.store.list_passkeys(owner.user.user_id) == []


def test_who_is_suspended_is_not_let_in_by_a_passkey(owner):
    service.set_status(owner.people.ports, "usr_operator", owner.user.user_id, "suspended")
    asked = owner.ask()
    with pytest.raises(Unauthenticated):
        owner.finish(asked, owner.key.get(asked.options))


def test_the_pages_carry_options_to_the_script_and_its_answer_back(site):
    site.public_url = "https://cloud.example"
    visitor = site.visit()
    _, done = site.enrol(site.sign_up())
    visitor.cookies["__Host-session"] = done.started.cookie
    visitor.get("/account")
    key = Authenticator("https://cloud.example")

    def read_options():
        from html import unescape

        return unescape(visitor.page.find(r'data-options="([^"]*)"')[0])

    visitor.post("/account/passkeys/new")
    challenge = visitor.page.field("challenge")
    visitor.post(
        "/account/passkeys", challenge=challenge, answer=key.create(read_options()), label="<b>Key</b>"
    )
    page = visitor.follow()
    assert "&lt;b&gt;Key&lt;/b&gt;" in page.text
    visitor.post("/signout")
    visitor.get("/signin?next=%2Fauthorize")
    visitor.post("/signin/passkey", next="/authorize")
    challenge = visitor.page.field("challenge")
    answer = key.get(read_options())
    page = visitor.post("/signin/passkey/finish", challenge=challenge, answer=answer, next="/authorize")
    assert page.location == "https://cloud.example/authorize"
    visitor.get("/account")
    visitor.post("/account/passkeys/remove", passkey=visitor.page.field("passkey"))
    assert "passkeys are changed" in visitor.follow().text
