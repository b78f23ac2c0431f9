"""What is due is delivered, whatever crashes, comes twice, is slow or fails."""

import json
from dataclasses import replace

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.webhooks.dispatch import ENDPOINT_BUDGET_MS, ROUND_EVENTS, measure_overdue_ms
from chalicelib.webhooks.model import (
    CLAIM_MS,
    EVENT_ID_HEADER,
    MIN_PAUSE_MS,
    RETRY_FOR_MS,
    SIGNATURE_HEADER,
    Outcome,
    derive_secret,
)
from tests.fakes import START_MS, Crash
from tests.unit.webhooks.desk import OTHER, PEPPER, URL, Desk

SLOW = "https://slow.example.com/in"
DOWN = Outcome(5000, None, "timeout")


@pytest.fixture
def desk():
    return Desk()


def test_a_new_event_is_posted_signed_and_written_down(desk):
    endpoint = desk.add()
    reference = desk.happen(rental_id="rnt_1")
    assert desk.stream(reference).delivered == 1
    ((url, body, headers),) = desk.sender.posted
    assert (url, headers[EVENT_ID_HEADER], json.loads(body)["data"]) == (
        URL,
        reference[1],
        {"rental_id": "rnt_1"},
    )
    secret = derive_secret(endpoint.endpoint_id, 1, PEPPER)
    assert stripe.WebhookSignature.verify_header(body.decode(), headers[SIGNATURE_HEADER], secret)
    event = desk.read(reference)
    (delivery,) = event.deliveries
    assert (delivery.state, event.due_at_ms) == ("delivered", None)
    assert [(each.number, each.status, each.duration_ms) for each in delivery.attempts] == [(1, 200, 10)]


def test_an_event_of_an_account_without_endpoints_costs_one_write_and_is_never_looked_at_again(desk):
    reference = desk.happen()
    before = desk.db.commits
    desk.stream(reference)
    assert desk.db.commits - before == 1
    assert (desk.read(reference).deliveries, desk.read(reference).due_at_ms) == ((), None)
    desk.sweep()
    assert (desk.db.commits - before, desk.sender.posted) == (1, [])


def test_a_record_that_the_stream_brings_twice_is_sent_once(desk):
    desk.add()
    reference = desk.happen()
    desk.stream(reference, reference)
    desk.stream(reference)
    assert desk.sender.list_ids() == [reference[1]]


def test_what_the_stream_lost_the_sweep_delivers(desk):
    desk.add()
    references = [desk.happen() for _ in range(3 * ROUND_EVENTS)]
    assert desk.sweep().delivered == len(references)
    assert desk.sender.list_ids() == [event_id for _, event_id in references]
    assert desk.store.find_oldest_due_ms(0) is None


def test_two_dispatchers_at_once_send_once(desk):
    desk.add()
    reference = desk.happen()
    raced = []

    def other():
        desk.db.interlude = None
        raced.append(desk.stream(reference))

    desk.db.interlude = other
    desk.stream(reference)
    assert raced[0].delivered == 1
    assert desk.sender.list_ids() == [reference[1]]


def test_a_crash_at_any_write_loses_nothing_and_repeats_only_what_may_have_been_sent():
    """Every commit of a delivery to two endpoints, one of which fails first, before and after."""

    def prepare():
        desk = Desk()
        desk.add()
        desk.add(SLOW)
        refusals = iter([Outcome(3, 500)])
        desk.sender.answer = lambda url: next(refusals, Outcome(1, 200)) if url == SLOW else Outcome(1, 200)
        return desk, desk.happen()

    clean, reference = prepare()
    begun = clean.db.commits
    clean.stream(reference)
    steps = clean.db.commits - begun
    assert steps >= 3
    for step in range(steps):
        for moment in ("crash_before", "crash_after"):
            desk, reference = prepare()
            setattr(desk.db, moment, desk.db.commits + step)
            with pytest.raises(Crash):
                desk.stream(reference)
            desk.db.crash_before = desk.db.crash_after = None
            for _ in range(6):
                desk.clock.advance_seconds(CLAIM_MS / 1000)
                desk.sweep()
            event = desk.read(reference)
            where = (step, moment)
            assert {each.state for each in event.deliveries} == {"delivered"}, where
            assert event.due_at_ms is None, where
            for delivery in event.deliveries:
                # Each request that was made is one attempt, and the other way round.
                url = desk.endpoint(delivery.endpoint_id).url
                made = [each for each in delivery.attempts if each.duration_ms is not None]
                posted = len(desk.sender.list_ids(url))
                assert len(made) <= posted <= len(delivery.attempts), where
            assert set(desk.sender.list_ids()) == {event.event_id}, where
            assert len({body for _, body, _ in desk.sender.posted}) == 1, where


def test_a_failure_is_tried_again_when_it_is_due_and_not_before(desk):
    desk.add()
    answers = iter([Outcome(20, 503), Outcome(8, None, "connection_refused")])
    desk.sender.answer = lambda _: next(answers, Outcome(5, 200))
    reference = desk.happen()
    desk.stream(reference)
    due_ms = desk.read(reference).due_at_ms
    desk.clock.value_ms = due_ms - 1
    assert desk.sweep().events == 0
    for _ in range(10):
        desk.clock.advance_seconds(60)
        desk.sweep()
    (delivery,) = desk.read(reference).deliveries
    assert delivery.state == "delivered"
    assert [(each.status, each.error) for each in delivery.attempts] == [
        (503, None),
        (None, "connection_refused"),
        (200, None),
    ]


def test_a_slow_endpoint_is_tried_once_a_pause_and_holds_nobody_up(desk):
    desk.add(SLOW)
    desk.add(URL)

    def answer(url):
        if url != SLOW:
            return Outcome(5, 200)
        desk.clock.advance_seconds(5)
        return DOWN

    desk.sender.answer = answer
    references = [desk.happen() for _ in range(100)]
    started_ms = desk.clock.now_ms()
    desk.sweep()
    assert len(desk.sender.list_ids(SLOW)) == 1
    assert len(desk.sender.list_ids(URL)) == len(references)
    assert desk.clock.now_ms() - started_ms == 5000
    desk.clock.advance_seconds(MIN_PAUSE_MS / 1000)
    desk.sweep()
    assert len(desk.sender.list_ids(SLOW)) == 2


def test_an_endpoint_that_answers_slowly_gets_what_a_round_has_room_for_and_the_rest_after_a_pause(desk):
    desk.add(SLOW)

    def answer(_):
        desk.clock.advance_seconds(4)
        return Outcome(4000, 200)

    desk.sender.answer = answer
    references = [desk.happen() for _ in range(6)]
    desk.stream(*references)
    assert len(desk.sender.posted) == ENDPOINT_BUDGET_MS // 4000 + 1
    left = [each for each in references if desk.read(each).deliveries[0].state == "pending"]
    assert {desk.read(each).due_at_ms for each in left} == {desk.clock.now_ms()}
    assert {desk.read(each).deliveries[0].attempts for each in left} == {()}
    made = len(desk.sender.posted)
    desk.sweep()
    assert len(desk.sender.posted) == made
    for _ in range(2):
        desk.clock.advance_seconds(MIN_PAUSE_MS / 1000)
        desk.sweep()
    assert desk.sender.list_ids() == [event_id for _, event_id in references]
    assert {desk.read(each).deliveries[0].state for each in references} == {"delivered"}


def test_a_slow_endpoint_with_a_long_line_leaves_the_sweep_to_others(desk):
    desk.add(SLOW)
    desk.add(URL, principal=OTHER)
    for _ in range(200):
        desk.happen()
    late = desk.happen(account_id="acc_2")

    def answer(url):
        if url == SLOW:
            desk.clock.advance_seconds(4)
        return Outcome(4000 if url == SLOW else 5, 200)

    desk.sender.answer = answer
    desk.sweep()
    assert desk.read(late).deliveries[0].state == "delivered"
    assert len(desk.sender.list_ids(SLOW)) == ENDPOINT_BUDGET_MS // 4000 + 1


def test_an_endpoint_that_never_answers_is_switched_off_after_72_hours_and_what_waited_ends(desk):
    endpoint = desk.add()
    desk.sender.answer = lambda _: DOWN
    first = desk.happen()
    desk.stream(first)
    while desk.endpoint(endpoint.endpoint_id).enabled:
        late = desk.happen()
        desk.clock.advance_seconds(3600)
        desk.sweep()
        assert desk.clock.now_ms() - START_MS < RETRY_FOR_MS + 3 * 3_600_000
    assert desk.endpoint(endpoint.endpoint_id).disabled_at_ms is not None
    for _ in range(80):
        desk.clock.advance_seconds(3600)
        desk.sweep()
    assert desk.read(first).deliveries[0].state == "failed"
    assert desk.read(late).deliveries[0].reason == "endpoint_disabled"
    assert desk.store.find_oldest_due_ms(0) is None
    assert desk.read(desk.happen()).due_at_ms is not None


def test_a_success_makes_a_paused_endpoint_well(desk):
    endpoint = desk.add()
    answers = iter([DOWN])
    desk.sender.answer = lambda _: next(answers, Outcome(5, 200))
    desk.stream(desk.happen())
    assert desk.endpoint(endpoint.endpoint_id).failing_since_ms == START_MS
    desk.clock.advance_seconds(120)
    desk.sweep()
    assert desk.endpoint(endpoint.endpoint_id) == endpoint


def test_healthy_endpoints_cost_two_writes_an_event(desk):
    desk.add()
    reference = desk.happen()
    before = desk.db.commits
    desk.stream(reference)
    assert desk.db.commits - before == 2


def test_the_age_of_what_is_overdue_is_measured(desk):
    assert measure_overdue_ms(desk.dispatch) == 0
    desk.happen()
    desk.clock.advance_seconds(90)
    assert measure_overdue_ms(desk.dispatch) == 90_000


def test_an_event_of_a_clock_that_is_a_little_ahead_is_not_left_to_the_sweep(desk):
    desk.add()
    reference = desk.happen()
    desk.clock.advance_seconds(-3)
    desk.stream(reference)
    assert desk.read(reference).deliveries[0].state == "delivered"


def test_events_of_others_are_not_sent(desk):
    desk.add()
    desk.stream(desk.happen(account_id="acc_2"))
    assert desk.sender.posted == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_event_reaches_every_healthy_endpoint_whatever_order_crashes_and_failures_come_in(data):
    desk = Desk()
    for url in (URL, SLOW):
        desk.add(url)
    healthy = [False]
    desk.sender.answer = lambda url: (
        Outcome(1, 200) if healthy[0] or data.draw(st.booleans(), label=url) else Outcome(1, 500)
    )
    references = []
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(("happen", "stream", "sweep", "wait")))
        if step == "happen" or not references:
            references.append(desk.happen())
            continue
        if data.draw(st.booleans()):
            desk.db.crash_before = desk.db.commits + data.draw(st.integers(0, 3))
        try:
            if step == "stream":
                desk.stream(*references)
            elif step == "sweep":
                desk.sweep()
            else:
                desk.clock.advance_seconds(data.draw(st.integers(1, 600)))
        except Crash:
            pass
        desk.db.crash_before = None
    healthy[0] = True
    for _ in range(60):
        desk.clock.advance_seconds(120)
        desk.sweep()
    for reference in references:
        event = desk.read(reference)
        assert [each.state for each in event.deliveries] == ["delivered", "delivered"]
        for url in (URL, SLOW):
            assert reference[1] in desk.sender.list_ids(url)


def test_a_change_that_comes_between_an_attempt_and_its_end_is_kept(desk):
    desk.add()
    reference = desk.happen()

    def answer(_):
        event = desk.read(reference)
        assert desk.store.keep_event(event, replace(event, data={"note": 1}, version=event.version + 1))
        return Outcome(5, 200)

    desk.sender.answer = answer
    desk.stream(reference)
    event = desk.read(reference)
    assert (event.data, event.deliveries[0].state) == ({"note": 1}, "delivered")
