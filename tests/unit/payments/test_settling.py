"""Money comes in once, in whatever order Stripe tells of it, and goes the way it came."""

import itertools
from dataclasses import replace

import pytest

from chalicelib.billing.charging import charge_rental
from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound, Unavailable
from chalicelib.payments.model import Payment
from chalicelib.payments.ports import ForeignPayment
from chalicelib.payments.service import Healed, heal, refund_top_up
from chalicelib.payments.settling import settle_payment
from tests.factories import start
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.payments.till import AMOUNT, CENTS, Till, dispute, refund

STORY = (
    ("payment_intent.created", {"status": "requires_payment_method"}),
    ("payment_intent.succeeded", {"status": "succeeded"}),
    ("checkout.session.completed", {}),
    ("charge.refunded", {"refunds": (refund(300),)}),
    ("charge.dispute.created", {"disputes": (dispute(-1_700),)}),
    ("charge.dispute.closed", {"disputes": (dispute(-1_700, 1_700, status="won"),)}),
)


def build_states(top_up):
    """Return the payment as Stripe has it after each event of the story."""
    payment = Payment(
        "pi_1", "requires_payment_method", "USD", CENTS, top_up.account_id, top_up.top_up_id, livemode=False
    )
    states = []
    for _, change in STORY:
        payment = replace(payment, **change)
        states.append(payment)
    return states


def play(order, *, live):
    """Tell the story's events in ``order``; ``live``: each is worked on with what Stripe had by then."""
    till = Till()
    top_up = till.top_up()
    states = build_states(top_up)
    latest = 0
    for number in order:
        latest = max(latest, number) if live else len(STORY) - 1
        till.stripe.payments["pi_1"] = states[latest]
        till.tell(f"evt_{number}", "pi_1", STORY[number][0])
    final = till.read(top_up)
    check_books(till.seeded, disputed={till.account_id})
    journals = {
        (journal.kind, journal.source_id, journal.details["amount_micros"])
        for journal in till.seeded.cloud.db.table("journals").values()
    }
    return replace(final, version=0), till.posted, till.clearing(), frozenset(journals)


@pytest.mark.slow
@pytest.mark.parametrize("live", [True, False])
def test_six_events_in_any_order_come_to_one_state(live):
    outcomes = {play(order, live=live) for order in itertools.permutations(range(len(STORY)))}
    ((top_up, posted, clearing, journals),) = outcomes
    assert top_up.state == "succeeded"
    assert (top_up.refunded_micros, top_up.disputed_micros) == (3_000_000, 0)
    assert posted == clearing == AMOUNT - 3_000_000
    assert len(journals) == 4


@pytest.mark.slow
def test_every_event_twice_at_any_two_places_changes_nothing():
    expected = play(range(len(STORY)), live=False)
    for first in range(len(STORY)):
        for order in itertools.islice(itertools.permutations(range(len(STORY))), 0, 720, 37):
            for place in range(len(STORY) + 1):
                told = [*order[:place], first, *order[place:], first]
                assert play(told, live=False) == expected


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_neither_loses_a_payment_nor_doubles_it(point):
    commit, crashed = 0, True
    while crashed:
        till = Till()
        db = till.seeded.cloud.db
        setattr(db, point, db.commits + commit)
        crashed = False

        def attempt(act, db=db):
            nonlocal crashed
            try:
                return act()
            except Crash:
                crashed = True
                db.crash_before = db.crash_after = None
                return act()

        top_up = attempt(till.top_up)
        till.stripe.payments["pi_1"] = build_states(top_up)[-1]
        attempt(lambda: till.tell("evt_1", "pi_1"))  # noqa: B023
        check_books(till.seeded, disputed={till.account_id})
        assert till.posted == till.clearing() == AMOUNT - 3_000_000
        assert len(till.stripe.checkouts) == 1
        assert till.ports.store.get_event("evt_1").done
        commit += 1
    assert commit > 6


def test_tax_is_the_states_and_goes_back_with_the_money():
    till = Till()
    top_up = till.top_up()
    till.stripe.pay(top_up, "pi_1", tax_cents=500)
    till.tell("evt_1", "pi_1")
    assert till.posted == AMOUNT
    assert till.clearing() == AMOUNT + 5_000_000
    till.change("pi_1", refunds=(refund(CENTS + 500),))
    till.tell("evt_2", "pi_1", "charge.refunded")
    assert (till.posted, till.clearing()) == (0, 0)
    taxes = [
        leg.amount_micros
        for leg, _ in till.seeded.cloud.db.table("legs").values()
        if leg.ledger_account.startswith("tax_payable")
    ]
    assert sorted(taxes) == [-5_000_000, 5_000_000]
    check_books(till.seeded)


def test_a_dispute_takes_the_money_whatever_was_spent_and_starts_nothing_more():
    till = Till()
    top_up = till.top_up()
    till.stripe.pay(top_up, "pi_1")
    till.tell("evt_1", "pi_1")
    till.change("pi_1", disputes=(dispute(-CENTS, -1_500),))
    till.tell("evt_2", "pi_1", "charge.dispute.created")
    assert till.posted == -15_000_000
    assert till.read(top_up).disputed_micros == AMOUNT + 15_000_000
    check_books(till.seeded, disputed={till.account_id})


@pytest.mark.parametrize(
    "facts",
    [
        {"top_up_id": None},
        {"top_up_id": "top_other"},
        {"account_id": "acc_other"},
        {"livemode": True},
        {"currency": "EUR"},
    ],
)
def test_a_payment_that_is_not_ours_is_not_posted(facts):
    till = Till()
    till.stripe.pay(till.top_up(), "pi_1")
    till.change("pi_1", **facts)
    with pytest.raises(ForeignPayment):
        settle_payment(till.ports, "pi_1")
    assert till.posted == 0


def test_what_failed_can_still_succeed_and_never_the_other_way_round():
    till = Till()
    top_up = till.top_up()
    declined = {"status": "requires_payment_method", "failure_code": "card_declined"}
    till.stripe.pay(top_up, "pi_1")
    till.change("pi_1", **declined)
    till.tell("evt_1", "pi_1", "payment_intent.payment_failed")
    assert (till.read(top_up).state, till.read(top_up).failure_code) == ("failed", "card_declined")
    till.change("pi_1", status="succeeded", failure_code=None)
    till.tell("evt_2", "pi_1")
    assert (till.read(top_up).state, till.read(top_up).failure_code) == ("succeeded", None)
    till.change("pi_1", **declined)
    till.tell("evt_3", "pi_1", "payment_intent.payment_failed")
    assert till.read(top_up).state == "succeeded"
    assert till.posted == AMOUNT
    told = sorted(event.type for event in till.seeded.cloud.db.table("events").values())
    assert told == ["top_up.failed", "top_up.succeeded"]


def test_a_top_up_whose_answer_was_lost_is_repeated_with_its_key_and_made_once():
    till = Till()
    for _ in range(3):
        till.stripe.down = 1
        with pytest.raises(Unavailable):
            till.top_up()
    first = till.top_up()
    assert till.top_up() == first
    assert len(till.stripe.checkouts) == len(till.stripe.customers) == 1
    assert first.checkout_url is not None
    with pytest.raises(IdempotencyMismatch):
        till.top_up(amount_micros=AMOUNT * 2)


@pytest.mark.parametrize("amount", [0, 4_990_000, 20_000_001, 10**15])
def test_an_amount_that_cannot_be_paid_is_refused_before_anything_is_written(amount):
    till = Till()
    with pytest.raises(InvalidInput):
        till.top_up(amount_micros=amount)
    assert till.seeded.cloud.db.table("top_ups") == {}


def test_a_refund_is_ordered_once_per_key_and_is_written_down():
    till = Till()
    top_up = till.top_up()
    operator = till.seeded.operator
    with pytest.raises(Conflict):
        refund_top_up(till.ports, operator, top_up.top_up_id, 10_000, "r")
    till.stripe.pay(top_up, "pi_1")
    till.tell("evt_1", "pi_1")
    till.stripe.down = 1
    with pytest.raises(Unavailable):
        refund_top_up(till.ports, operator, top_up.top_up_id, 5_000_000, "r")
    refunded = refund_top_up(till.ports, operator, top_up.top_up_id, 5_000_000, "r")
    assert refunded.refunded_micros == 5_000_000
    assert till.posted == AMOUNT - 5_000_000
    with pytest.raises(IdempotencyMismatch):
        refund_top_up(till.ports, operator, top_up.top_up_id, 6_000_000, "r")
    with pytest.raises(NotFound):
        refund_top_up(till.ports, operator, "top_none", 10_000, "x")
    written = [entry for entry in till.seeded.cloud.audit.entries if entry.action == "top_up.refunded"]
    assert [entry.actor for entry in written] == [operator.actor_id]
    check_books(till.seeded)


def test_what_no_webhook_told_is_found_in_stripes_own_list():
    till = Till()
    top_up = till.top_up()
    till.stripe.pay(top_up, "pi_1")
    now_ms = till.seeded.cloud.clock.now_ms()
    foreign = replace(till.stripe.payments["pi_1"], payment_id="pi_2", top_up_id=None)
    till.stripe.payments["pi_2"] = foreign
    till.stripe.events = [
        (now_ms, "evt_1", "payment_intent.succeeded", "pi_1"),
        (now_ms, "evt_2", "charge.succeeded", "pi_2"),
        (now_ms, "evt_3", "product.created", ""),
        (now_ms, "evt_4", "charge.succeeded", "pi_1"),
    ]
    till.stripe.down = 1
    with pytest.raises(Unavailable):
        heal(till.ports)
    healed = heal(till.ports)
    assert (healed.missed, healed.foreign) == (4, 1)
    assert till.posted == AMOUNT
    # Two events tell of the first payment; it is fetched once.
    assert till.stripe.calls.count("payment") == 2
    till.seeded.cloud.clock.advance_seconds(900)
    assert heal(till.ports).missed == 0
    check_books(till.seeded)


def test_healing_ends_in_time_and_the_next_run_does_the_rest():
    till = Till()
    clock = till.seeded.cloud.clock
    top_ups = [till.top_up(f"key{number}") for number in range(3)]
    for number, top_up in enumerate(top_ups):
        till.stripe.pay(top_up, f"pi_{number}")
    till.stripe.events = [
        (clock.now_ms(), f"evt_{number}", "payment_intent.succeeded", f"pi_{number}") for number in range(3)
    ]
    deadline_ms = clock.now_ms() + 1_000
    fetch = till.stripe.get_payment

    def fetch_slowly(payment_id):
        clock.advance_seconds(0.6)
        return fetch(payment_id)

    till.stripe.get_payment = fetch_slowly
    assert heal(till.ports, deadline_ms) == Healed(2, 0, left=True)
    assert till.posted == 2 * AMOUNT
    assert heal(till.ports, clock.now_ms() + 60_000) == Healed(1, 0)
    assert till.posted == 3 * AMOUNT
    check_books(till.seeded)


def test_a_wallet_below_zero_takes_money_that_does_not_bring_it_above():
    till = Till()
    first, second = till.top_up("first"), till.top_up("second", AMOUNT)
    till.stripe.pay(first, "pi_1")
    till.tell("evt_1", "pi_1")
    rental = start(till.seeded)
    for _ in range(3):
        till.seeded.cloud.clock.advance_seconds(20)
        till.seeded.report(till.seeded.rental(rental.rental_id), "running")
    charge_rental(till.seeded.cloud.billing, rental.rental_id)
    till.change("pi_1", refunds=(refund(CENTS),))
    till.tell("evt_2", "pi_1", "charge.refunded")
    owed = -till.posted
    assert owed > 0
    till.stripe.pay(replace(second, amount_micros=10_000), "pi_2")
    till.tell("evt_3", "pi_2")
    assert till.posted == 10_000 - owed
    assert till.posted < 0
    check_books(till.seeded, disputed={till.account_id})
