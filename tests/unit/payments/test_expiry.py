"""A page of Stripe on which nobody paid in time: told of, missed, late, or paid after all."""

import json
from dataclasses import replace

import pytest
from stripe import WebhookSignature

from chalicelib.payments.model import Session
from chalicelib.payments.ports import ForeignPayment
from chalicelib.payments.service import handle_event, heal, receive_event
from tests.unit.payments.till import AMOUNT, SECRETS, Till

EXPIRED = "checkout.session.expired"


def open_page(till, status="expired", **facts):
    """Return a top-up whose page ended at Stripe as ``status``."""
    top_up = till.top_up()
    session = Session(top_up.session_id, status, top_up.top_up_id)
    till.stripe.sessions[top_up.session_id] = replace(session, **facts)
    return top_up


def tell(till, session_id, event_id="evt_1", kind=EXPIRED):
    target = {"object": "checkout.session", "id": session_id, "payment_intent": None}
    body = json.dumps({"id": event_id, "type": kind, "livemode": False, "data": {"object": target}})
    seconds = till.seeded.cloud.clock.now_ms() // 1000
    header = WebhookSignature.generate_signature_header(body, SECRETS[0], timestamp=seconds)
    receive_event(till.ports, body.encode(), header)
    till.work()


def test_a_page_that_nobody_paid_on_ends_its_top_up_however_often_it_is_told():
    till = Till()
    top_up = open_page(till)
    for event_id in ("evt_1", "evt_1", "evt_2"):
        tell(till, top_up.session_id, event_id)
    assert till.read(top_up).state == "expired"
    assert till.posted == 0
    assert till.top_up().state == "expired", "the same key is the same top-up"


def test_a_page_whose_end_was_told_to_nobody_is_found_in_stripes_list():
    till = Till()
    top_up = open_page(till)
    till.stripe.events.append((till.seeded.cloud.clock.now_ms(), "evt_1", EXPIRED, top_up.session_id))
    assert (heal(till.ports).missed, till.read(top_up).state) == (1, "expired")
    assert heal(till.ports).missed == 0


def test_a_payment_counts_whatever_is_said_of_its_page():
    till = Till()
    top_up = open_page(till)
    till.stripe.pay(top_up, "pi_1")
    till.tell("evt_1", "pi_1")
    tell(till, top_up.session_id, "evt_2")
    assert (till.read(top_up).state, till.posted) == ("succeeded", AMOUNT)
    other = Till()
    top_up = open_page(other)
    tell(other, top_up.session_id)
    other.stripe.pay(top_up, "pi_1")
    other.tell("evt_2", "pi_1")
    assert (other.read(top_up).state, other.posted) == ("succeeded", AMOUNT)


def test_a_page_that_is_not_over_and_one_that_saves_a_method_end_nothing():
    till = Till()
    top_up = open_page(till, "complete")
    tell(till, top_up.session_id)
    till.stripe.sessions["cs_setup"] = Session("cs_setup", "expired", None)
    tell(till, "cs_setup", "evt_2", "checkout.session.completed")
    assert till.read(top_up).state == "created"


def test_a_page_of_another_stage_is_for_a_person_to_look_at():
    till = Till()
    top_up = open_page(till, top_up_id="top_of_another_stage")
    with pytest.raises(ForeignPayment):
        tell(till, top_up.session_id)
    with pytest.raises(ForeignPayment):
        handle_event(till.ports, "evt_1")
    assert till.read(top_up).state == "created"
