"""The tables of a rental's life are complete: every pair of state and action, every reason."""

import itertools
import typing

import pytest

from chalicelib.core.errors import Conflict
from chalicelib.rentals.model import Rental, list_actions, require_action
from chalicelib.rentals.rules import (
    ACTIONS,
    ALLOWED,
    FINAL_STATES,
    REASONS,
    STATES,
    Action,
    Outcome,
    Reason,
    State,
    explain_refusal,
)


def test_every_pair_of_state_and_action_is_decided():
    assert set(STATES) == set(typing.get_args(State))
    assert set(ACTIONS) == set(typing.get_args(Action))
    for state, action in itertools.product(STATES, ACTIONS):
        refusal = ALLOWED[state][action]
        assert refusal is None or refusal.replace("_", "").isalpha(), (state, action)


def test_every_reason_says_what_it_leads_to():
    assert set(REASONS) == set(typing.get_args(Reason))
    for reason, rule in REASONS.items():
        assert rule.outcome in typing.get_args(Outcome), reason
        # Who is tried again did not end by the renter's will.
        assert not rule.retry or rule.outcome == "failed", reason
        assert not rule.credit or rule.outcome == "failed", reason


def test_nothing_may_be_done_to_a_rental_that_is_over():
    for state in FINAL_STATES:
        assert set(ALLOWED[state].values()) == {"already_terminated"}


@pytest.mark.parametrize("action", ["terminate", "stop", "restart"])
def test_a_lock_forbids_what_interrupts_the_work(action):
    assert explain_refusal("running", action, locked=False) is None
    assert explain_refusal("running", action, locked=True) == "locked"


def test_a_lock_does_not_hide_why_else_an_action_is_refused():
    assert explain_refusal("terminated", "stop", locked=True) == "already_terminated"


def test_the_resource_shows_what_the_action_itself_would_answer():
    for state, locked in itertools.product(STATES, (False, True)):
        rental = Rental("rnt", "acc", "H100", 1, "any", "USD", 0, state=state, locked=locked)
        for action, shown in list_actions(rental).items():
            if shown.available:
                require_action(rental, action)
                continue
            with pytest.raises(Conflict) as refused:
                require_action(rental, action)
            assert refused.value.code == shown.reason_code
