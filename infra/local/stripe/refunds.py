"""What takes money back: https://docs.stripe.com/refunds and https://docs.stripe.com/disputes."""

from infra.local.stripe.books import DISPUTE_FEE, Books
from infra.local.stripe.errors import Object, refuse_parameter, refuse_state
from infra.local.stripe.world import World, paginate

_EVIDENCE_SECONDS = 7 * 86_400


class Refunds:
    """Refunds and disputes of charges."""

    def __init__(self, world: World, books: Books) -> None:
        self._world = world
        self._books = books

    def create(self, params: Object) -> Object:
        charge = self._find_charge(params)
        left = charge["amount"] - charge["amount_refunded"]
        amount = params.get("amount", left)
        if charge["disputed"]:
            raise refuse_state("The charge is disputed and cannot be refunded.", "charge_disputed")
        if left == 0:
            raise refuse_state(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
        if not 0 < amount <= left:
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
            raise refuse_state(message, "amount_too_large", param="amount")
        refund = self._world.add(
            "re",
            "refund",
            amount=amount,
            charge=charge["id"],
            payment_intent=charge["payment_intent"],
            currency=charge["currency"],
            reason=params.get("reason"),
            metadata=params.get("metadata", {}),
            status="succeeded",
            failure_reason=None,
            failure_balance_transaction=None,
        )
        self._move(charge, amount)
        # Not a field of Stripe's refund: the source only carries whose books it is in.
        source = refund | {"customer": charge["customer"]}
        refund["balance_transaction"] = self._books.post("refunded", "refund", source, -amount)["id"]
        self._world.emit("refund.created", refund)
        self._world.emit("charge.refunded", charge)
        return refund

    def _find_charge(self, params: Object) -> Object:
        if "charge" in params:
            charge = self._world.get("charge", params["charge"])
        elif "payment_intent" in params:
            intent = self._world.get("payment_intent", params["payment_intent"])
            if intent["latest_charge"] is None:
                raise refuse_state(
                    "This PaymentIntent does not have a successful charge.", "resource_missing"
                )
            charge = self._world.get("charge", intent["latest_charge"])
        else:
            raise refuse_parameter(
                "One of charge or payment_intent is needed.", "parameter_missing", "charge"
            )
        if not charge["paid"]:
            raise refuse_state("This charge did not succeed.", "charge_not_refundable")
        return charge

    def _move(self, charge: Object, amount: int) -> None:
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]

    def retrieve(self, _params: Object, refund_id: str) -> Object:
        return self._world.get("refund", refund_id)

    def list_refunds(self, params: Object) -> Object:
        equal = {name: params.get(name) for name in ("charge", "payment_intent")}
        return paginate(self._world.select("refund", **equal), "/v1/refunds", params)

    def fail(self, refund_id: str, reason: str = "lost_or_stolen_card") -> Object:
        """Have a refund that succeeded come back from the bank."""
        with self._world.lock:
            refund = self._world.get("refund", refund_id)
            if refund["status"] != "succeeded":
                raise refuse_state("The refund has failed already.", "refund_unexpected_state")
            charge = self._world.get("charge", refund["charge"])
            self._move(charge, -refund["amount"])
            source = refund | {"customer": charge["customer"]}
            failure = self._books.post("refunded", "refund_failure", source, refund["amount"])
            refund.update(status="failed", failure_reason=reason, failure_balance_transaction=failure["id"])
            self._world.emit("refund.failed", refund)
            self._world.emit("charge.refund.updated", refund)
            return refund

    def open_dispute(self, charge_id: str, amount: int | None = None, reason: str = "fraudulent") -> Object:
        """Have the payer's bank take back ``amount``, or all that was not refunded, and the fee."""
        with self._world.lock:
            charge = self._world.get("charge", charge_id)
            left = charge["amount"] - charge["amount_refunded"]
            amount = left if amount is None else amount
            if charge["disputed"] or not charge["paid"] or not 0 < amount <= left:
                raise refuse_state("The charge cannot be disputed.", "charge_not_disputable")
            charge["disputed"] = True
            dispute = self._world.add(
                "du",
                "dispute",
                amount=amount,
                charge=charge_id,
                payment_intent=charge["payment_intent"],
                currency=charge["currency"],
                reason=reason,
                status="needs_response",
                metadata={},
                evidence={},
                evidence_details={"due_by": self._world.now() + _EVIDENCE_SECONDS, "has_evidence": False},
                balance_transactions=[],
                is_charge_refundable=False,
            )
            self._world.emit("charge.dispute.created", dispute)
            self._adjust(dispute, -amount, DISPUTE_FEE, "withdrawn")
            return dispute

    def close_dispute(self, dispute_id: str, *, won: bool) -> Object:
        """Decide a dispute: won, its funds come back (the fee does not); lost, they stay away."""
        with self._world.lock:
            dispute = self._world.get("dispute", dispute_id)
            if dispute["status"] in {"won", "lost"}:
                raise refuse_state("The dispute is closed already.", "dispute_unexpected_state")
            dispute["status"] = "won" if won else "lost"
            self._world.emit("charge.dispute.closed", dispute)
            if won:
                self._adjust(dispute, dispute["amount"], 0, "reinstated")
            return dispute

    def _adjust(self, dispute: Object, amount: int, fee: int, transition: str) -> None:
        customer = self._world.get("charge", dispute["charge"])["customer"]
        posted = self._books.post("disputed", "adjustment", dispute | {"customer": customer}, amount, fee)
        dispute["balance_transactions"].append(posted)
        self._world.emit(f"charge.dispute.funds_{transition}", dispute)

    def retrieve_dispute(self, _params: Object, dispute_id: str) -> Object:
        return self._world.get("dispute", dispute_id)

    def list_disputes(self, params: Object) -> Object:
        equal = {name: params.get(name) for name in ("charge", "payment_intent")}
        return paginate(self._world.select("dispute", **equal), "/v1/disputes", params)
