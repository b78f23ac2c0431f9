"""Signatures, the schedule of attempts, who gets an event, and what an outcome changes."""

import json
from dataclasses import replace

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.webhooks.model import (
    BASE_DELAY_MS,
    CLAIM_MS,
    MAX_DELAY_MS,
    MAX_KEPT_ATTEMPTS,
    MAX_PAUSE_MS,
    MIN_PAUSE_MS,
    RETRY_FOR_MS,
    ROLL_MS,
    Delivery,
    Endpoint,
    Endpoints,
    Event,
    Outcome,
    claim,
    compute_delay_ms,
    derive_secret,
    encode_event,
    list_secrets,
    note_outcome,
    replay,
    settle,
    sign,
)
from tests.fakes import START_MS

PEPPER = b"pepper of the tests"
EVENT = Event("evt_1", "acc_1", "rental.running", START_MS, {"rental_id": "rnt_1"})
OK, BAD = Outcome(12, 204), Outcome(34, 500)


def endpoint(name="whe_1", **changes):
    return Endpoint(name, f"https://{name[-1]}.example.com/hook", frozenset(), START_MS, **changes)


def gather(*items):
    return Endpoints("acc_1", items, 1)


def verify(body, header, secret, now_ms):
    """Stripe's own verifier, at our clock."""
    parts = dict(each.split("=", 1) for each in header.split(","))
    assert int(parts["t"]) == now_ms // 1000
    return stripe.WebhookSignature.verify_header(body.decode(), header, secret, tolerance=None)


def test_stripes_verifier_takes_our_signature_and_no_other_body_secret_or_time():
    body = encode_event(EVENT)
    secret = derive_secret("whe_1", 1, PEPPER)
    header = sign(body, [secret], START_MS)
    assert verify(body, header, secret, START_MS)
    for other, key in ((body + b" ", secret), (body, derive_secret("whe_1", 2, PEPPER))):
        with pytest.raises(stripe.SignatureVerificationError):
            verify(other, header, key, START_MS)
    moved = header.replace(f"t={START_MS // 1000}", f"t={START_MS // 1000 + 1}")
    with pytest.raises(stripe.SignatureVerificationError):
        verify(body, moved, secret, START_MS + 1000)


def test_both_secrets_verify_for_a_day_after_a_rotation_and_the_new_one_alone_afterwards():
    rolled = endpoint(generation=2, rotated_at_ms=START_MS)
    old, new = (derive_secret("whe_1", generation, PEPPER) for generation in (1, 2))
    assert list_secrets(rolled, PEPPER, START_MS + ROLL_MS - 1) == [new, old]
    assert list_secrets(rolled, PEPPER, START_MS + ROLL_MS) == [new]
    body = encode_event(EVENT)
    header = sign(body, [new, old], START_MS)
    assert verify(body, header, old, START_MS)
    assert verify(body, header, new, START_MS)


def test_secrets_differ_by_endpoint_generation_and_installation():
    assert (
        len(
            {
                derive_secret("whe_1", 1, PEPPER),
                derive_secret("whe_2", 1, PEPPER),
                derive_secret("whe_1", 2, PEPPER),
                derive_secret("whe_1", 1, b"another"),
            }
        )
        == 4
    )


def test_every_attempt_sends_the_same_bytes():
    later = replace(EVENT, version=7, deliveries=(Delivery("whe_1", "pending", 1, 2),))
    assert encode_event(later) == encode_event(EVENT)
    assert json.loads(encode_event(EVENT)) == {
        "id": "evt_1",
        "type": "rental.running",
        "account_id": "acc_1",
        "created_at": "2027-01-15T08:00:00.000Z",
        "data": {"rental_id": "rnt_1"},
    }


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_doubles_from_a_minute_to_eight_hours_and_jitters_by_a_fifth(attempts, fraction):
    middle = min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** min(attempts - 1, 20))
    assert middle * 0.8 - 1 <= compute_delay_ms(attempts, fraction) <= middle * 1.2


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40), st.integers(0, 5000))
def test_what_always_fails_is_tried_to_the_end_of_72_hours_and_then_given_up(fractions, duration_ms):
    endpoints, event, now_ms, starts = gather(endpoint()), EVENT, START_MS, []
    for fraction in fractions:
        claimed = claim(event, endpoints, now_ms)
        attempt = claimed.event.deliveries[0].attempts[-1]
        starts.append(attempt.started_at_ms)
        event = settle(claimed.event, "whe_1", attempt.number, BAD, now_ms + duration_ms, fraction)
        if event.due_at_ms is None:
            break
        assert event.due_at_ms > now_ms
        now_ms = event.due_at_ms
    (delivery,) = event.deliveries
    assert (delivery.state, delivery.reason) == ("failed", "gave_up")
    assert starts[-1] == START_MS + RETRY_FOR_MS
    assert starts == sorted(set(starts))
    assert 14 <= len(starts) <= MAX_KEPT_ATTEMPTS
    assert [each.number for each in delivery.attempts] == list(range(1, len(starts) + 1))
    assert {(each.status, each.duration_ms) for each in delivery.attempts} == {(500, 34)}


def test_an_event_goes_to_whoever_is_enabled_and_subscribes():
    some = replace(endpoint("whe_2"), event_types=frozenset({"wallet.low"}))
    mine = replace(endpoint("whe_3"), event_types=frozenset({"rental.running"}))
    off = replace(endpoint("whe_4"), enabled=False)
    claimed = claim(EVENT, gather(endpoint(), some, mine, off), START_MS)
    assert [each.endpoint_id for each in claimed.endpoints] == ["whe_1", "whe_3"]
    assert [each.endpoint_id for each in claimed.event.deliveries] == ["whe_1", "whe_3"]
    alone = replace(EVENT, only_endpoint_id="whe_2")
    assert [each.endpoint_id for each in claim(alone, gather(endpoint(), some), START_MS).endpoints] == [
        "whe_2"
    ]


def test_nobody_wants_it_nothing_is_due_any_more():
    assert claim(EVENT, gather(), START_MS).event.due_at_ms is None
    assert EVENT.due_at_ms == START_MS


def test_what_is_claimed_is_not_claimed_again_before_the_claim_is_over():
    endpoints = gather(endpoint())
    first = claim(EVENT, endpoints, START_MS).event
    assert claim(first, endpoints, START_MS + CLAIM_MS - 1).endpoints == ()
    again = claim(first, endpoints, START_MS + CLAIM_MS)
    assert [each.endpoint_id for each in again.endpoints] == ["whe_1"]
    # How the first ended nobody knows, and it says so.
    assert [(each.number, each.duration_ms) for each in again.event.deliveries[0].attempts] == [
        (1, None),
        (2, None),
    ]


@pytest.mark.parametrize(
    ("left", "reason"),
    [(gather(), "endpoint_removed"), (gather(endpoint(enabled=False)), "endpoint_disabled")],
)
def test_what_waits_for_an_endpoint_that_is_gone_or_off_ends(left, reason):
    event = claim(EVENT, gather(endpoint()), START_MS).event
    ended = claim(event, left, START_MS + CLAIM_MS).event
    assert (ended.deliveries[0].state, ended.deliveries[0].reason, ended.due_at_ms) == (
        "failed",
        reason,
        None,
    )


def test_what_waits_for_a_paused_endpoint_waits_without_an_attempt_and_not_for_ever():
    paused = gather(endpoint(paused_until_ms=START_MS + 90_000, failing_since_ms=START_MS))
    waits = claim(EVENT, paused, START_MS)
    assert (waits.endpoints, waits.event.due_at_ms) == ((), START_MS + 90_000)
    assert waits.event.deliveries[0].attempts == ()
    long = gather(endpoint(paused_until_ms=START_MS + RETRY_FOR_MS + 99, failing_since_ms=START_MS))
    over = claim(waits.event, long, START_MS + RETRY_FOR_MS).event
    assert (over.deliveries[0].reason, over.due_at_ms) == ("gave_up", None)


def test_an_attempt_that_was_not_made_leaves_no_trace_and_is_due_at_once():
    claimed = claim(EVENT, gather(endpoint()), START_MS).event
    left = settle(claimed, "whe_1", 1, None, START_MS + 5, 0.5)
    assert (left.deliveries[0].attempts, left.due_at_ms) == ((), START_MS + 5)


def test_an_end_that_comes_twice_counts_once():
    claimed = claim(EVENT, gather(endpoint()), START_MS).event
    done = settle(claimed, "whe_1", 1, OK, START_MS + 12, 0.5)
    late = settle(done, "whe_1", 1, BAD, START_MS + 99, 0.5)
    assert late.deliveries == done.deliveries
    assert (done.deliveries[0].state, done.deliveries[0].attempts[0].status) == ("delivered", 204)


def test_a_late_failure_does_not_undo_a_delivery():
    endpoints = gather(endpoint())
    twice = claim(claim(EVENT, endpoints, START_MS).event, endpoints, START_MS + CLAIM_MS).event
    done = settle(twice, "whe_1", 2, OK, START_MS + CLAIM_MS + 5, 0.5)
    late = settle(done, "whe_1", 1, BAD, START_MS + CLAIM_MS + 9, 0.5)
    assert (late.deliveries[0].state, late.due_at_ms) == ("delivered", None)
    assert [each.status for each in late.deliveries[0].attempts] == [500, 204]


def test_a_replay_goes_to_everybody_who_is_there_now_and_keeps_what_was():
    endpoints = gather(endpoint(), endpoint("whe_2"))
    sent = claim(EVENT, gather(endpoint(), endpoint("whe_9")), START_MS).event
    for name in ("whe_1", "whe_9"):
        sent = settle(sent, name, 1, OK, START_MS + 5, 0.5)
    again = replay(sent, endpoints, START_MS + 1000)
    assert {each.endpoint_id: each.state for each in again.deliveries} == {
        "whe_9": "delivered",
        "whe_1": "pending",
        "whe_2": "pending",
    }
    claimed = claim(again, endpoints, START_MS + 1000)
    assert [each.attempts[-1].number for each in claimed.event.deliveries] == [1, 2, 1]


def test_a_replay_during_an_attempt_is_a_new_attempt_whatever_came_of_that_one():
    endpoints = gather(endpoint())
    claimed = claim(EVENT, endpoints, START_MS).event
    replayed = replay(claimed, endpoints, START_MS + 100)
    done = settle(replayed, "whe_1", 1, OK, START_MS + 200, 0.5)
    assert (done.deliveries[0].state, done.due_at_ms) == ("pending", START_MS + 100)
    assert done.deliveries[0].attempts[0].status == 204


def test_an_endpoint_is_paused_ever_longer_and_switched_off_after_72_hours_without_a_success():
    ill, now_ms, pauses = endpoint(), START_MS, []
    while ill.enabled:
        ill = note_outcome(ill, delivered=False, slow=False, now_ms=now_ms)
        if ill.paused_until_ms is not None:
            pauses.append(ill.paused_until_ms - now_ms)
            now_ms = ill.paused_until_ms
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (60_000, MAX_PAUSE_MS)
    assert ill.disabled_at_ms == now_ms
    assert 0 <= now_ms - START_MS - RETRY_FOR_MS <= MAX_PAUSE_MS


def test_one_success_makes_an_endpoint_well():
    ill = note_outcome(endpoint(), delivered=False, slow=True, now_ms=START_MS)
    assert note_outcome(ill, delivered=True, slow=False, now_ms=START_MS + 1) == endpoint()


def test_one_that_is_merely_slow_is_paused_and_not_failing():
    slow = note_outcome(endpoint(), delivered=True, slow=True, now_ms=START_MS)
    assert (slow.failing_since_ms, slow.paused_until_ms) == (None, START_MS + MIN_PAUSE_MS)


@pytest.mark.parametrize(
    ("status", "error", "delivered"),
    [
        (200, None, True),
        (204, None, True),
        (301, "redirect", False),
        (400, None, False),
        (None, "timeout", False),
    ],
)
def test_only_a_2xx_is_a_delivery(status, error, delivered):
    assert Outcome(1, status, error).delivered == delivered
