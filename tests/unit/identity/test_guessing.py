"""Guessing: few tries a person and hour, and nobody who guesses shuts the owner out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import Conflict, Unauthenticated
from chalicelib.identity import resetting
from chalicelib.identity.model import HOUR_MS
from chalicelib.identity.service import Browser
from chalicelib.identity.signing_in import SignedIn
from chalicelib.identity.throttling import MAX_GUESSES_AN_HOUR, RULES, Tries, take
from tests.unit.identity.people import EMAIL, HOME, PASSWORD, People


def most_in_an_hour(instants):
    return max((sum(1 for each in instants if 0 <= each - at < HOUR_MS) for at in instants), default=0)


@pytest.mark.slow
def test_a_stuffing_run_of_100_000_guesses_gets_few_past_the_gate():
    people = People()
    for number in range(10):
        people.sign_up(f"person{number}@example.com", browser=Browser(f"203.0.113.{number}"))
    start, passed = people.clock.now_ms(), {}
    for number in range(100_000):
        people.clock.value_ms = start + number * 216  # Six hours of it.
        email = f"person{number % 10}@example.com"
        # As many addresses as somebody may rent.
        browser = Browser(f"2001:db8::{number % 5_000:x}")
        work = people.hasher.work
        with pytest.raises((Unauthenticated, Conflict)):
            people.sign_in(email, "not the password of anybody", browser)
        if people.hasher.work > work:
            passed.setdefault(email, []).append(people.clock.now_ms())
    assert len(passed) == 10
    assert max(most_in_an_hour(instants) for instants in passed.values()) <= MAX_GUESSES_AN_HOUR


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 900_000), min_size=1, max_size=200),
    st.sampled_from(["account", "pair", "code", "device"]),
)
def test_whatever_the_rhythm_no_more_than_so_many_are_let_through_in_any_hour(gaps, gate):
    tries, now_ms, passed = Tries(), 1_800_000_000_000, []
    for gap in gaps:
        now_ms += gap
        after = take(tries, RULES[gate], now_ms)
        if after is not None:
            tries = after
            passed.append(now_ms)
    assert most_in_an_hour(passed) <= MAX_GUESSES_AN_HOUR


def attack(people, tries=200):
    for number in range(tries):
        people.clock.advance_seconds(1)
        with pytest.raises((Unauthenticated, Conflict)):
            people.sign_in(password="not the password of anybody", browser=Browser(f"198.51.100.{number}"))


def test_after_five_wrong_passwords_one_waits_and_is_told_for_how_long():
    people = People()
    people.sign_up()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            people.sign_in(password="not the password of anybody")  # pragma: allowlist secret
    with pytest.raises(Conflict) as refused:
        people.sign_in()
    assert refused.value.code == "too_many_attempts"
    assert refused.value.extra == {"retry_after_seconds": 60}
    people.clock.advance_seconds(60)
    people.sign_in()


def test_who_guesses_does_not_shut_out_the_owner_of_a_browser_that_is_known():
    people = People()
    people.sign_up()
    known = people.sign_in()
    assert known.device is not None
    attack(people)
    with pytest.raises(Conflict):
        people.sign_in(browser=Browser("192.0.2.99"))
    signed_in = people.sign_in(browser=Browser("192.0.2.99", device=known.device))
    assert isinstance(signed_in, SignedIn)
    assert signed_in.device is None


def test_a_known_browser_has_few_guesses_too():
    people = People()
    people.sign_up()
    device = people.sign_in().device
    tried = 0
    for _ in range(3_600):
        people.clock.advance_seconds(1)
        try:
            people.sign_in(
                password="not the password of anybody", browser=Browser("192.0.2.1", device=device)
            )
        except Unauthenticated:
            tried += 1
        except Conflict:
            pass
    assert tried <= MAX_GUESSES_AN_HOUR


def test_a_known_browser_is_known_for_its_own_person_alone():
    people = People()
    people.sign_up()
    people.sign_up("eve@example.com")
    device = people.sign_in("eve@example.com").device
    attack(people)
    with pytest.raises(Conflict):
        people.sign_in(browser=Browser("192.0.2.99", device=device))


def test_a_reset_by_mail_lets_the_owner_in_while_somebody_guesses():
    people = People()
    people.sign_up()
    attack(people)
    resetting.ask_reset(people.ports, EMAIL, HOME)
    done = resetting.reset_password(people.ports, people.mailer.read_link(), "an entirely different sentence")
    signed_in = people.sign_in(
        password="an entirely different sentence", browser=Browser("192.0.2.99", device=done.device)
    )
    assert isinstance(signed_in, SignedIn)


def test_an_address_that_many_share_is_slowed_and_never_shut():
    people = People()
    people.sign_up()
    for number in range(500):
        with pytest.raises((Unauthenticated, Conflict)):
            people.sign_in(f"nobody{number}@example.com", PASSWORD, HOME)
    people.clock.advance_seconds(60)
    people.sign_in()


def test_a_guess_is_counted_before_it_is_looked_at():
    people = People()
    people.sign_up()

    def die(digest, password):
        raise MemoryError

    people.hasher.verify = die
    for _ in range(5):
        with pytest.raises(MemoryError):
            people.sign_in()
    with pytest.raises(Conflict):
        people.sign_in()
