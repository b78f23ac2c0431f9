"""Sign-in: one answer for every failure, a second factor where there is one, sessions that end."""

import pytest

from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from chalicelib.identity import enrolling, service
from chalicelib.identity.service import find_session
from chalicelib.identity.signing_in import SignedIn, Ticket, sign_in_with_code, sign_in_with_recovery
from tests.unit.identity.people import AWAY, EMAIL, HOME, PASSWORD, People


def refuse(call, *arguments):
    with pytest.raises(Unauthenticated) as refused:
        call(*arguments)
    return str(refused.value), refused.value.code


@pytest.fixture
def people():
    found = People()
    found.started = found.sign_up()
    return found


def test_a_password_begins_a_session_with_an_id_of_its_own(people):
    first, second = people.sign_in(), people.sign_in()
    assert isinstance(first, SignedIn)
    assert first.started.session.session_id != second.started.session.session_id
    assert first.started.cookie != second.started.cookie
    assert people.find(first.started)[0].email == EMAIL


def test_every_failure_has_one_answer_and_one_amount_of_work(people):
    service.set_status(
        people.ports, "usr_operator", people.sign_up("gone@example.com").session.user_id, "suspended"
    )
    answers, costs = set(), set()
    for email in (EMAIL, "nobody@example.com", "gone@example.com"):
        before = people.count_work()
        password = PASSWORD if email.startswith("gone") else "a wrong long password"
        answers.add(refuse(people.sign_in, email, password, AWAY))
        costs.add(tuple(after - was for after, was in zip(people.count_work(), before, strict=True)))
    assert len(answers) == 1
    assert len(costs) == 1


def test_a_digest_of_older_parameters_is_renewed_at_the_next_sign_in(people):
    people.hasher.scheme = "v2"
    user_id = people.started.session.user_id
    assert people.store.get_person(user_id).password_digest.startswith("v1:")
    people.sign_in()
    assert people.store.get_person(user_id).password_digest.startswith("v2:")
    people.sign_in()


def test_a_session_ends_after_an_hour_of_silence_and_after_a_day_in_any_case(people):
    started = people.sign_in().started
    for _ in range(25):
        people.clock.advance_seconds(3_500)
        if find_session(people.ports, started.cookie) is None:
            break
    assert 86_400 <= (people.clock.now_ms() - started.session.created_at_ms) / 1000 < 86_400 + 3_500
    idle = people.sign_in().started
    people.clock.advance_seconds(3_600)
    assert find_session(people.ports, idle.cookie) is None


def test_a_person_lists_the_own_sessions_and_ends_them(people):
    other = people.sign_in(browser=AWAY).started
    user, _ = people.find(people.started)
    assert {each.label for each in service.list_sessions(people.ports, user)} == {HOME.label, AWAY.label}
    service.end_session(people.ports, user, other.session.session_id)
    service.end_session(people.ports, user, other.session.session_id)
    assert find_session(people.ports, other.cookie) is None
    assert people.find(people.started)
    assert [entry.action for entry in people.audit.entries].count("session.ended") == 1


def test_nobody_ends_a_session_of_somebody_else(people):
    stranger = people.sign_up("eve@example.com")
    user, _ = people.find(stranger)
    for session_id in (people.started.session.session_id, "ses_none"):
        with pytest.raises(NotFound):
            service.end_session(people.ports, user, session_id)
    assert people.find(people.started)


def test_ending_all_sessions_ends_this_one_too(people):
    other = people.sign_in(browser=AWAY).started
    user, _ = people.find(people.started)
    service.end_all_sessions(people.ports, user)
    assert find_session(people.ports, people.started.cookie) is None
    assert find_session(people.ports, other.cookie) is None
    assert service.get_user(people.ports, user.user_id).epoch == user.epoch + 1


@pytest.mark.parametrize("status", ["suspended", "erased"])
def test_who_is_suspended_or_erased_is_signed_out_at_once(people, status):
    user_id = people.started.session.user_id
    service.set_status(people.ports, "usr_operator", user_id, status)
    assert find_session(people.ports, people.started.cookie) is None
    assert service.get_session(people.ports, people.started.session.session_id) is None
    refuse(people.sign_in)


def test_who_is_erased_stays_so_and_the_address_is_free_again(people):
    user_id = people.started.session.user_id
    service.set_status(people.ports, "usr_operator", user_id, "erased")
    with pytest.raises(Conflict):
        service.set_status(people.ports, "usr_operator", user_id, "active")
    user = service.get_user(people.ports, user_id)
    assert (user.email, user.name, user.password_digest) == (None, None, None)
    assert people.sign_up().session.user_id != user_id


class Enrolled:
    def __init__(self, people):
        self.people = people
        self.secret, self.enrolled = people.enrol(people.started)
        people.clock.advance_seconds(60)

    def ticket(self):
        found = self.people.sign_in()
        assert found == Ticket(found.secret, enrolled=True)
        return found.secret


@pytest.fixture
def enrolled(people):
    return Enrolled(people)


def test_a_ticket_is_no_session(people, enrolled):
    ticket = enrolled.ticket()
    assert find_session(people.ports, ticket) is None
    assert find_session(people.ports, f"ses_x.{ticket}") is None


def test_a_code_of_the_app_finishes_the_sign_in(people, enrolled):
    signed_in = sign_in_with_code(people.ports, enrolled.ticket(), people.code(enrolled.secret), HOME)
    assert people.find(signed_in.started)[1].methods == {"pwd", "otp"}


@pytest.mark.parametrize(("steps", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_taken_half_a_minute_early_or_late_and_no_more(people, enrolled, steps, good):
    people.clock.advance_seconds(60)
    code = people.code(enrolled.secret, steps)
    if good:
        signed_in = sign_in_with_code(people.ports, enrolled.ticket(), code, HOME)
        assert people.find(signed_in.started)[1].methods == {"pwd", "otp"}
    else:
        assert refuse(sign_in_with_code, people.ports, enrolled.ticket(), code, HOME)[1] == "invalid_code"


def test_a_code_is_taken_once_and_none_before_it(people, enrolled):
    code, older = people.code(enrolled.secret), people.code(enrolled.secret, -1)
    sign_in_with_code(people.ports, enrolled.ticket(), code, HOME)
    for used in (code, older):
        assert refuse(sign_in_with_code, people.ports, enrolled.ticket(), used, HOME)[1] == "invalid_code"


def test_of_two_sign_ins_at_once_with_one_code_one_gets_in(people, enrolled):
    tickets, code = [enrolled.ticket(), enrolled.ticket()], people.code(enrolled.secret)

    def interlude():
        people.db.interlude = None
        sign_in_with_code(people.ports, tickets[1], code, AWAY)

    people.db.interlude = interlude
    with pytest.raises(Unavailable):
        sign_in_with_code(people.ports, tickets[0], code, HOME)


def test_a_ticket_is_good_for_few_codes_and_one_sign_in(people, enrolled):
    ticket = enrolled.ticket()
    for _ in range(5):
        try:
            sign_in_with_code(people.ports, ticket, "000000", HOME)
        except (Unauthenticated, Conflict):
            people.clock.advance_seconds(60)
    assert (
        refuse(sign_in_with_code, people.ports, ticket, people.code(enrolled.secret), HOME)[1]
        == "link_expired"
    )
    fresh = enrolled.ticket()
    sign_in_with_code(people.ports, fresh, people.code(enrolled.secret), HOME)
    people.clock.advance_seconds(60)
    assert (
        refuse(sign_in_with_code, people.ports, fresh, people.code(enrolled.secret), HOME)[1]
        == "link_expired"
    )


def test_codes_are_guessed_no_faster_than_passwords(people, enrolled):
    tried = 0
    for _ in range(3_600):
        people.clock.advance_seconds(1)
        try:
            sign_in_with_code(people.ports, people.sign_in().secret, "000000", HOME)
        except Unauthenticated:
            tried += 1
        except Conflict:
            pass
    assert tried <= 20


def test_a_recovery_code_is_good_once_however_it_is_spelled(people, enrolled):
    code = enrolled.enrolled.codes[3]
    spelled = code.replace("-", " ").upper()
    signed_in = sign_in_with_recovery(people.ports, enrolled.ticket(), spelled, HOME)
    assert people.find(signed_in.started)[1].methods == {"pwd", "otp"}
    assert refuse(sign_in_with_recovery, people.ports, enrolled.ticket(), code, HOME)[1] == "invalid_code"
    sign_in_with_recovery(people.ports, enrolled.ticket(), enrolled.enrolled.codes[4], HOME)


def test_recovery_codes_have_120_bits_and_new_ones_replace_the_old(people, enrolled):
    codes = enrolled.enrolled.codes
    assert len(set(codes)) == 10
    assert all(len(code.replace("-", "")) * 5 >= 112 for code in codes)
    user, session = people.find(enrolled.enrolled.started)
    fresh = enrolling.renew_recovery_codes(people.ports, user, session)
    assert not set(fresh) & set(codes)
    refuse(sign_in_with_recovery, people.ports, enrolled.ticket(), codes[0], HOME)
    sign_in_with_recovery(people.ports, enrolled.ticket(), fresh[0], HOME)


def test_a_second_factor_ends_the_sessions_that_were_begun_without_it(people):
    other = people.sign_in(browser=AWAY).started
    people.enrol(people.started)
    assert find_session(people.ports, other.cookie) is None
    assert find_session(people.ports, people.started.cookie) is None


def test_who_must_have_a_second_factor_sets_one_up_before_a_session_counts(people):
    user_id = people.started.session.user_id
    people.memberships.strict.add(user_id)
    assert find_session(people.ports, people.started.cookie) is None
    found = people.sign_in()
    assert not found.enrolled
    secret = enrolling.begin_enrolment(people.ports, user_id).secret
    done = enrolling.enrol_at_sign_in(people.ports, found.secret, people.code(secret), HOME)
    assert people.find(done.started)[1].methods == {"pwd", "otp"}
    with pytest.raises(Unauthenticated):
        enrolling.enrol_at_sign_in(people.ports, found.secret, people.code(secret, 1), HOME)
    assert people.sign_in().enrolled


def test_a_ticket_of_who_has_an_app_sets_up_no_other(people, enrolled):
    with pytest.raises(Conflict):
        enrolling.begin_enrolment(people.ports, people.started.session.user_id)
    with pytest.raises(Conflict):
        enrolling.enrol_at_sign_in(people.ports, enrolled.ticket(), "000000", HOME)


def test_what_cannot_be_taken_back_asks_for_a_sign_in_of_five_minutes(people):
    user, session = people.find(people.started)
    people.clock.advance_seconds(300)
    service.require_fresh(people.ports, session)
    people.clock.advance_seconds(1)
    for act in (
        lambda: enrolling.confirm_enrolment(people.ports, user, session, "000000", HOME),
        lambda: enrolling.disable_totp(people.ports, user, session, HOME),
        lambda: enrolling.renew_recovery_codes(people.ports, user, session),
    ):
        with pytest.raises(Forbidden) as refused:
            act()
        assert refused.value.code == "step_up_needed"


def test_a_step_up_is_a_session_with_another_id_and_ends_the_one_before(people):
    from chalicelib.identity.signing_in import sign_in

    _, session = people.find(people.started)
    people.clock.advance_seconds(600)
    renewed = sign_in(people.ports, EMAIL, PASSWORD, HOME, session).started
    assert renewed.session.is_fresh(people.clock.now_ms())
    assert find_session(people.ports, people.started.cookie) is None


def test_what_a_second_factor_becomes_is_told_by_mail(people):
    def read_mail():
        assert people.mailer.sent[-1].to == EMAIL
        return people.mailer.sent[-1].text

    _, done = people.enrol(people.started)
    assert "An app for codes was set up" in read_mail()
    user, session = people.find(done.started)
    enrolling.renew_recovery_codes(people.ports, user, session)
    assert "New recovery codes were made" in read_mail()
    enrolling.disable_totp(people.ports, user, session, HOME)
    assert "was taken away" in read_mail()
    people.memberships.strict.add(user.user_id)
    ticket = people.sign_in()
    secret = enrolling.begin_enrolment(people.ports, user.user_id).secret
    people.clock.advance_seconds(60)
    enrolling.enrol_at_sign_in(people.ports, ticket.secret, people.code(secret), HOME)
    assert "An app for codes was set up" in read_mail()


def test_a_role_or_a_short_password_keeps_the_second_factor(people):
    _, done = people.enrol(people.started)
    user, session = people.find(done.started)
    people.memberships.strict.add(user.user_id)
    with pytest.raises(Forbidden):
        enrolling.disable_totp(people.ports, user, session, HOME)
    people.memberships.strict.clear()
    started = enrolling.disable_totp(people.ports, user, session, HOME)
    assert people.find(started)
    assert isinstance(people.sign_in(), SignedIn)
