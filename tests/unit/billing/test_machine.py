"""The state machine of the ledger, with Stripe beside it: payments that are told of late, twice or never.

I11 and I13 of docs/invariants/ledger.md; all others are asserted by the machine below.
"""

import os
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, invariant, rule, run_state_machine_as_test

from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.model import RANKS, Dispute, Refund
from chalicelib.payments.service import handle_event, heal
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.billing.machine import Ledger
from tests.unit.payments.till import Till

#: 2,000 by night; see the Makefile.
EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "300"))
STEPS = 40
MICROS_PER_CENT = 10_000


class PaidLedger(Ledger):
    """What happens at Stripe, and what is told of it, are rules of their own."""

    payments = Bundle("payments")

    def __init__(self):
        super().__init__()
        self.till = Till(self.seeded)
        self.paid = {}
        self.states = {}

    # What people and banks do at Stripe.

    @rule(
        target=payments,
        who=st.integers(0, 1),
        cents=st.integers(500, 700),
        tax=st.sampled_from([0, 0, 33]),
        dies=st.none() | st.integers(0, 2),
    )
    def pay(self, who, cents, tax, dies):
        self.number += 1
        renter, key = self.renters[who], f"pay{self.number}"
        top_up = self.live_on(dies, lambda: self.till.top_up(key, cents * MICROS_PER_CENT, renter))
        payment_id = f"pi_{self.number}"
        self.till.stripe.pay(top_up, payment_id, tax_cents=tax)
        self.paid[payment_id] = renter.account_id
        self.happen(payment_id)
        return payment_id

    @rule(payment_id=payments, cents=st.integers(1, 700), status=st.sampled_from(["succeeded", "pending"]))
    def refund(self, payment_id, cents, status):
        payment = self.till.stripe.payments[payment_id]
        left = payment.received_cents - sum(each.amount_cents for each in payment.refunds)
        if payment.disputes or cents > left:
            return
        made = Refund(f"re_{payment_id}_{len(payment.refunds)}", status, cents)
        self.till.change(payment_id, refunds=(*payment.refunds, made))
        self.happen(payment_id)

    @rule(payment_id=payments, status=st.sampled_from(["succeeded", "failed"]))
    def end_refund(self, payment_id, status):
        """A refund that was pending arrives; one that had arrived comes back from the bank."""
        refunds = list(self.till.stripe.payments[payment_id].refunds)
        before = "pending" if status == "succeeded" else "succeeded"
        for number, each in enumerate(refunds):
            if each.status == before:
                refunds[number] = replace(each, status=status)
                break
        self.till.change(payment_id, refunds=tuple(refunds))
        self.happen(payment_id)

    @rule(payment_id=payments, ends=st.sampled_from(["won", "lost", None]))
    def contest(self, payment_id, ends):
        """A dispute takes the whole payment away; one that is won gives it back."""
        payment = self.till.stripe.payments[payment_id]
        cents = payment.received_cents
        if payment.refunds or payment.disputes:
            return
        movements = [("txn_1", -cents), *([("txn_2", cents)] if ends == "won" else [])]
        dispute = Dispute(f"du_{payment_id}", ends or "needs_response", tuple(movements))
        self.till.change(payment_id, disputes=(dispute,))
        self.happen(payment_id)

    def happen(self, payment_id):
        """Stripe lists an event of it, whether a webhook comes or not."""
        self.disputed.add(self.paid[payment_id])
        event_id = f"evt_{payment_id}_{len(self.till.stripe.events)}"
        self.till.stripe.events.append((self.now_ms, event_id, "charge.updated", payment_id))

    # What is told of it.

    @rule(payment_id=payments, dies=st.none() | st.integers(0, 4), again=st.booleans())
    def tell(self, payment_id, dies, again):
        """A webhook of an event that may be old, and may have come before."""
        told = [each[1] for each in self.till.stripe.events if each[3] == payment_id]
        event_id = told[0] if again else told[-1]
        self.live_on(dies, lambda: self.till.tell(event_id, payment_id, "charge.updated"))

    @rule(payment_id=payments)
    def work_again(self, payment_id):
        """The queue brings a message twice."""
        for event_id in [each[1] for each in self.till.stripe.events if each[3] == payment_id]:
            try:
                handle_event(self.till.ports, event_id)
            except NotFound:
                continue

    @rule(dies=st.none() | st.integers(0, 6), down=st.booleans())
    def look_for_what_was_missed(self, dies, down):
        self.till.stripe.down = int(down)
        try:
            self.live_on(dies, lambda: heal(self.till.ports))
        except Unavailable:
            pass
        finally:
            self.till.stripe.down = 0

    def live_on(self, dies, act):
        """Do it, or die at a commit and do it again."""
        db = self.seeded.cloud.db
        if dies is not None:
            setattr(db, "crash_before" if dies % 2 else "crash_after", db.commits + dies // 2)
        try:
            return act()
        except Crash:
            db.crash_before = db.crash_after = None
            return act()
        finally:
            db.crash_before = db.crash_after = None

    # What must hold.

    @invariant()
    def no_top_up_falls_back(self):
        for top_up in self.seeded.cloud.db.table("top_ups").values():
            assert RANKS[top_up.state] >= self.states.get(top_up.top_up_id, 0)
            self.states[top_up.top_up_id] = RANKS[top_up.state]

    def teardown(self):
        heal(self.till.ports)
        self.check_payments()
        super().teardown()
        # Told of all of it once more, in another order: nothing is posted.
        journals = len(self.seeded.cloud.db.table("journals"))
        for event in reversed(self.till.stripe.events):
            self.till.tell(f"{event[1]}_again", event[3])
        assert len(self.seeded.cloud.db.table("journals")) == journals
        self.check_payments()
        check_books(self.seeded, disputed=self.disputed)

    def check_payments(self):
        """Our books hold what Stripe's objects say, payment by payment and in all."""
        db, clearing = self.seeded.cloud.db, 0
        for payment_id in self.paid:
            payment = self.till.stripe.payments[payment_id]
            moved = payment.received_cents
            moved -= sum(each.amount_cents for each in payment.refunds if each.status == "succeeded")
            moved += sum(cents for dispute in payment.disputes for _, cents in dispute.movements)
            # By the journals: a refund that came back is no fact of the payment any more.
            posted = [
                -leg.amount_micros
                for (source, _), journal in db.table("journals").items()
                if source == "stripe" and journal.details.get("payment_id") == payment_id
                for leg in journal.legs
                if leg.ledger_account.startswith("stripe_clearing")
            ]
            assert sum(posted) == moved * MICROS_PER_CENT
            clearing += sum(posted)
        # Those that the machine below makes up, which Stripe knows nothing of.
        clearing += sum(
            journal.details["amount_micros"]
            for (_, source_id), journal in db.table("journals").items()
            if source_id.endswith(":withdrawn")
        )
        assert clearing == self.till.clearing()


PROFILE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_nothing_that_anybody_does_breaks_the_books():
    run_state_machine_as_test(PaidLedger, settings=PROFILE)
