"""A reset by mail ends what was, skips no second factor, and tells nobody who has an account."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from chalicelib.identity import enrolling, resetting, service
from chalicelib.identity.service import Browser, find_session
from chalicelib.identity.signing_in import SignedIn, Ticket
from tests.unit.identity.people import AWAY, EMAIL, HOME, PASSWORD, People

NEW = "an entirely different sentence"


@pytest.fixture
def people():
    found = People()
    found.started = found.sign_up()
    return found


def reset(people, password=NEW):
    resetting.ask_reset(people.ports, EMAIL, HOME)
    return resetting.reset_password(people.ports, people.mailer.read_link(), password)


def refuse_link(people, link):
    with pytest.raises(Unauthenticated) as refused:
        resetting.reset_password(people.ports, link, NEW)
    return refused.value.code


def test_a_reset_ends_every_session_and_raises_the_epoch(people):
    epoch = people.store.get_person(people.started.session.user_id).epoch
    reset(people)
    assert find_session(people.ports, people.started.cookie) is None
    assert people.store.get_person(people.started.session.user_id).epoch == epoch + 1
    with pytest.raises(Unauthenticated):
        people.sign_in()
    assert isinstance(people.sign_in(password=NEW), SignedIn)


def test_a_reset_never_skips_the_second_factor(people):
    people.enrol(people.started)
    reset(people)
    assert isinstance(people.sign_in(password=NEW), Ticket)


def test_a_ticket_from_before_the_reset_is_worth_nothing(people):
    secret, _ = people.enrol(people.started)
    ticket = people.sign_in()
    reset(people)
    people.clock.advance_seconds(30)
    from chalicelib.identity.signing_in import sign_in_with_code

    with pytest.raises(Unauthenticated):
        sign_in_with_code(people.ports, ticket.secret, people.code(secret), HOME)


def test_a_link_is_good_once_and_for_an_hour(people):
    reset(people)
    link = next(mail for mail in people.mailer.sent if "token=" in mail.text and "new password" in mail.text)
    used = link.text.partition("token=")[2].split()[0]
    with pytest.raises(Unauthenticated):
        resetting.reset_password(people.ports, used, NEW)
    resetting.ask_reset(people.ports, EMAIL, HOME)
    people.clock.advance_seconds(3_600)
    with pytest.raises(Unauthenticated):
        resetting.reset_password(people.ports, people.mailer.read_link(), NEW)


def test_an_unknown_address_costs_the_same_work_and_gets_a_mail_without_a_link(people):
    costs = []
    for email in (EMAIL, "nobody@example.com"):
        before = people.count_work()
        assert resetting.ask_reset(people.ports, email, HOME) is None
        costs.append([after - was for after, was in zip(people.count_work(), before, strict=True)])
    assert costs[0] == costs[1]
    assert people.mailer.sent[-1].to == "nobody@example.com"
    assert "token=" not in people.mailer.sent[-1].text


def test_a_link_for_nobody_changes_nobody_and_leaves_nothing_that_does_not_expire(people):
    known, entries = dict.fromkeys(people.db.table("tokens")), len(people.audit.entries)
    resetting.ask_reset(people.ports, "nobody@example.com", HOME)
    written = [each for digest, each in people.db.table("tokens").items() if digest not in known]
    assert [each.user_id for each in written] == [None, None]
    latest_ms = people.clock.now_ms() + resetting.RESET_MS
    assert all(each.expires_at_ms == latest_ms for each in written)
    assert len(people.audit.entries) == entries
    resetting.ask_reset(people.ports, EMAIL, HOME)
    asked = list(people.db.table("tokens").values())[-1]
    assert set(asked.data) == set(written[0].data)


def test_a_link_ends_with_whatever_ends_what_was_granted_before(people):
    def end_all(user, _session):
        service.end_all_sessions(people.ports, user)

    def change(user, session):
        return resetting.change_password(people.ports, user, session, PASSWORD, NEW, HOME)

    def change_back(user, session):
        return resetting.change_password(people.ports, user, session, NEW, PASSWORD, HOME)

    for act in (end_all, change, change_back):
        resetting.ask_reset(people.ports, EMAIL, AWAY)
        kept = people.mailer.read_link()
        act(*people.find(people.sign_in(password=NEW if act is change_back else PASSWORD).started))
        assert refuse_link(people, kept) == "link_expired"
        people.clock.advance_seconds(3_600)
    resetting.ask_reset(people.ports, EMAIL, AWAY)
    first = people.mailer.read_link()
    people.clock.advance_seconds(1_800)
    reset(people)
    assert refuse_link(people, first) == "link_expired"


def test_a_mail_that_is_not_taken_undoes_nothing_and_is_said(people):
    user, session = people.find(people.started)
    people.mailer.is_down = True
    renewed = resetting.change_password(people.ports, user, session, PASSWORD, NEW, HOME)
    assert people.find(renewed)
    assert people.untold == [user.user_id]
    people.mailer.is_down = False
    resetting.ask_reset(people.ports, EMAIL, HOME)
    link = people.mailer.read_link()
    people.mailer.is_down = True
    assert resetting.reset_password(people.ports, link, PASSWORD).device
    assert people.untold == [user.user_id] * 2
    assert people.sign_in().started
    with pytest.raises(Unavailable):
        resetting.ask_reset(people.ports, EMAIL, HOME)


def test_a_notice_that_was_not_sent_is_counted_where_an_alarm_looks(monkeypatch, capsys):
    from chalicelib.wiring.identity import note_untold
    from tests.fakes.metrics import read_metrics
    from tests.fakes.wiring import rewire

    rewire(monkeypatch, settings=SimpleNamespace(stage="test"))
    note_untold("usr_1")
    assert read_metrics(capsys) == {"notices_untold": 1}


def test_who_was_signed_out_meanwhile_changes_nothing(people):
    user, session = people.find(people.started)
    service.end_all_sessions(people.ports, user)
    with pytest.raises(Unauthenticated) as refused:
        resetting.change_password(people.ports, user, session, PASSWORD, NEW, HOME)
    assert refused.value.code == "invalid_credentials"
    people.sign_in()


def test_mails_to_an_address_are_few_whoever_asks(people):
    sent = len(people.mailer.sent)
    for number in range(200):
        people.clock.advance_seconds(18)
        with suppress(Conflict):
            resetting.ask_reset(people.ports, EMAIL, Browser(f"192.0.2.{number}"))
    assert len(people.mailer.sent) - sent <= 8


def test_sign_ups_do_not_use_up_the_mails_of_a_reset(people):
    from chalicelib.identity.signing_up import SignUp, sign_up

    for number in range(5):
        with suppress(Conflict):
            sign_up(people.ports, SignUp(EMAIL, NEW, "Eve"), Browser(f"192.0.2.{number}"))
    resetting.ask_reset(people.ports, EMAIL, HOME)
    assert "token=" in people.mailer.sent[-1].text


def test_a_change_of_password_ends_the_other_sessions_and_keeps_this_one(people):
    other = people.sign_in(browser=AWAY).started
    user, session = people.find(people.started)
    with pytest.raises(Unauthenticated):
        resetting.change_password(people.ports, user, session, "not this one at all", NEW, HOME)
    renewed = resetting.change_password(people.ports, user, session, PASSWORD, NEW, HOME)
    assert people.find(renewed)[1].session_id != session.session_id
    for ended in (other, people.started):
        assert find_session(people.ports, ended.cookie) is None
    assert "password was changed" in people.mailer.sent[-1].text


def test_eight_characters_do_where_a_second_factor_is_asked_for_and_then_it_must_stay(people):
    user, session = people.find(people.started)
    with pytest.raises(InvalidInput):
        resetting.change_password(people.ports, user, session, PASSWORD, "zv9!kq2x", HOME)
    _, done = people.enrol(people.started)
    user, session = people.find(done.started)
    renewed = resetting.change_password(people.ports, user, session, PASSWORD, "zv9!kq2x", HOME)
    user, session = people.find(renewed)
    with pytest.raises(Conflict) as refused:
        enrolling.disable_totp(people.ports, user, session, HOME)
    assert refused.value.code == "password_too_short"


def test_an_address_is_changed_by_who_is_signed_in_and_has_the_mail(people):
    user, session = people.find(people.started)
    resetting.ask_new_address(people.ports, user, session, "ada@new.example", HOME)
    link = people.mailer.read_link()
    stranger = people.find(people.sign_up("eve@example.com"))
    with pytest.raises(Unauthenticated):
        resetting.change_address(people.ports, *stranger, link, AWAY)
    renewed = resetting.change_address(people.ports, user, session, link, HOME)
    assert people.find(renewed)[0].email == "ada@new.example"
    assert people.mailer.sent[-1].to == EMAIL
    with pytest.raises(Unauthenticated):
        people.sign_in()
    people.sign_in("ada@new.example")
    people.sign_up(EMAIL)


def test_an_address_that_is_taken_is_not_given_away_nor_told(people):
    people.sign_up("eve@example.com")
    user, session = people.find(people.started)
    resetting.ask_new_address(people.ports, user, session, "eve@example.com", HOME)
    assert people.mailer.sent[-1].to == "eve@example.com"
    assert "token=" not in people.mailer.sent[-1].text


def test_a_new_address_asks_for_a_fresh_sign_in(people):
    user, session = people.find(people.started)
    people.clock.advance_seconds(301)
    with pytest.raises(Forbidden):
        resetting.ask_new_address(people.ports, user, session, "ada@new.example", HOME)
    service.end_all_sessions(people.ports, user)
