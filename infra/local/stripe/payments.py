"""PaymentIntents, SetupIntents and charges: https://docs.stripe.com/payments/paymentintents/lifecycle."""

from infra.local.stripe.books import Books, price_charge
from infra.local.stripe.errors import Object, refuse_parameter, refuse_state
from infra.local.stripe.methods import Methods, build_decline
from infra.local.stripe.refunds import Refunds
from infra.local.stripe.world import World, paginate

PROCESSING_SECONDS = 4 * 86_400
_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_MINIMUM = 50
_MAXIMUM = 99_999_999


class Payments:
    """The state machines of paying and of saving a method."""

    def __init__(self, world: World, books: Books, methods: Methods, refunds: Refunds, base_url: str) -> None:
        self._world = world
        self._books = books
        self._methods = methods
        self._refunds = refunds
        self._base_url = base_url

    def create_payment(self, params: Object) -> Object:
        if not _MINIMUM <= params["amount"] <= _MAXIMUM:
            raise refuse_parameter("Amount must be 50 to 99999999.", "amount_too_small", "amount")
        confirm = params.pop("confirm", False)
        flags = {name: params.pop(name, False) for name in ("off_session", "error_on_requires_action")}
        if any(flags.values()) and not confirm:
            name = next(name for name, given in flags.items() if given)
            raise refuse_parameter(f"{name} needs confirm=true.", "parameter_invalid", name)
        calculation = params.get("hooks", {}).get("inputs", {}).get("tax", {}).get("calculation")
        if (
            calculation
            and self._world.get("tax.calculation", calculation)["amount_total"] != params["amount"]
        ):
            raise refuse_parameter(
                "The amount is not that of the tax calculation.", "parameter_invalid", "amount"
            )
        intent = self._create("pi", "payment_intent", params, amount_received=0, latest_charge=None)
        self._world.emit("payment_intent.created", intent)
        return self._confirm(intent, flags) if confirm else intent

    def create_setup(self, params: Object) -> Object:
        confirm = params.pop("confirm", False)
        intent = self._create("seti", "setup_intent", params, usage=params.pop("usage", "off_session"))
        self._world.emit("setup_intent.created", intent)
        return self._confirm(intent, {}) if confirm else intent

    def _create(self, prefix: str, kind: str, params: Object, **fields: object) -> Object:
        if (customer := params.get("customer")) is not None:
            self._world.get("customer", customer)
        if "payment_method" in params:
            params["payment_method"] = self._methods.resolve(params["payment_method"])["id"]
        error = "last_payment_error" if kind == "payment_intent" else "last_setup_error"
        defaults: Object = dict.fromkeys(("customer", "payment_method", "description", "next_action", error))
        given = {"metadata": {}, "payment_method_types": ["card"], "cancellation_reason": None, **params}
        intent = self._world.add(prefix, kind, **{**defaults, **fields, **given})
        intent["client_secret"] = f"{intent['id']}_secret_{self._world.issue('x')[2:]}"
        intent["status"] = "requires_confirmation" if intent["payment_method"] else "requires_payment_method"
        return intent

    def retrieve_payment(self, _params: Object, intent_id: str) -> Object:
        return self._world.get("payment_intent", intent_id)

    def retrieve_setup(self, _params: Object, intent_id: str) -> Object:
        return self._world.get("setup_intent", intent_id)

    def list_payments(self, params: Object) -> Object:
        found = self._world.select("payment_intent", customer=params.get("customer"))
        return paginate(found, "/v1/payment_intents", params)

    def list_setups(self, params: Object) -> Object:
        found = self._world.select("setup_intent", customer=params.get("customer"))
        return paginate(found, "/v1/setup_intents", params)

    def confirm_payment(self, params: Object, intent_id: str) -> Object:
        return self._confirm(self._world.get("payment_intent", intent_id), params)

    def confirm_setup(self, params: Object, intent_id: str) -> Object:
        return self._confirm(self._world.get("setup_intent", intent_id), params)

    def cancel_payment(self, params: Object, intent_id: str) -> Object:
        return self._cancel(self._world.get("payment_intent", intent_id), params)

    def cancel_setup(self, params: Object, intent_id: str) -> Object:
        return self._cancel(self._world.get("setup_intent", intent_id), params)

    def _cancel(self, intent: Object, params: Object) -> Object:
        _demand(intent, _OPEN, "cancel")
        reason = params.get("cancellation_reason")
        intent.update(
            status="canceled", cancellation_reason=reason, next_action=None, canceled_at=self._world.now()
        )
        self._world.emit(f"{intent['object']}.canceled", intent)
        return intent

    def _confirm(self, intent: Object, params: Object) -> Object:
        _demand(intent, _OPEN, "confirm")
        if "payment_method" in params:
            intent["payment_method"] = self._methods.resolve(params["payment_method"])["id"]
        if intent["payment_method"] is None:
            raise refuse_state(
                "You cannot confirm this intent because it's missing a payment method.",
                "payment_intent_unexpected_state"
                if intent["object"] == "payment_intent"
                else "setup_intent_unexpected_state",
            )
        method = self._world.get("payment_method", intent["payment_method"])
        if method["customer"] not in {None, intent["customer"]}:
            raise refuse_state(
                "The payment method belongs to another customer.", "payment_method_customer_mismatch"
            )
        behaviour = self._methods.behaviour(method)
        if behaviour.outcome == "needs_authentication":
            if params.get("off_session") or params.get("error_on_requires_action"):
                return self._decline(intent, "authentication_required")
            url = f"{self._base_url}/_simulator/authenticate/{intent['id']}"
            redirect = {"url": url, "return_url": params.get("return_url")}
            action = {"type": "redirect_to_url", "redirect_to_url": redirect}
            intent.update(status="requires_action", next_action=action)
            self._world.emit(f"{intent['object']}.requires_action", intent)
            return intent
        declined_to_save = intent["object"] == "setup_intent" and not behaviour.attachable
        if behaviour.outcome == "declines" and (declined_to_save or intent["object"] == "payment_intent"):
            return self._decline(intent, behaviour.decline_code or "generic_decline")
        if behaviour.outcome == "processes" and intent["object"] == "payment_intent":
            intent["status"] = "processing"
            self._world.emit("payment_intent.processing", intent)
            self._world.schedule(PROCESSING_SECONDS, lambda: self._clear(intent["id"]))
            return intent
        return self._succeed(intent)

    def authenticate(self, intent_id: str, *, succeeds: bool) -> Object:
        """Finish what ``requires_action`` asked the payer for."""
        with self._world.lock:
            kind = "payment_intent" if intent_id.startswith("pi_") else "setup_intent"
            intent = self._world.get(kind, intent_id)
            _demand(intent, ("requires_action",), "authenticate")
            if succeeds:
                return self._succeed(intent)
            self._fail(intent, "payment_intent_authentication_failure")
            return intent

    def settle(self, intent_id: str, *, succeeds: bool) -> Object:
        """End a payment that is processing; one that has ended already is left as it is."""
        with self._world.lock:
            intent = self._world.get("payment_intent", intent_id)
            if intent["status"] == "processing":
                if succeeds:
                    self._succeed(intent)
                else:
                    self._fail(intent, "payment_method_provider_decline")
            return intent

    def _clear(self, intent_id: str) -> None:
        self.settle(intent_id, succeeds=True)

    def _decline(self, intent: Object, decline_code: str) -> Object:
        refusal = build_decline(decline_code, payment_method=self._world.find(intent["payment_method"]))
        error = refusal.body["error"]
        if intent["object"] == "payment_intent":
            charge = self._add_charge(
                intent, "failed", failure_code=error["code"], failure_message=error["message"]
            )
            error["charge"] = intent["latest_charge"] = charge["id"]
            self._world.emit("charge.failed", charge)
        self._fail(intent, error["code"], error)
        refusal.body = {"error": {**error, intent["object"]: intent}}
        raise refusal

    def _fail(self, intent: Object, code: str, error: Object | None = None) -> None:
        name = "last_payment_error" if intent["object"] == "payment_intent" else "last_setup_error"
        kept = (
            dict(error)
            if error
            else {"type": "card_error", "code": code, "message": "The payment was not made."}
        )
        # As Stripe does: the method that failed is off the intent, and kept in the error.
        intent.update(
            {name: kept, "status": "requires_payment_method", "payment_method": None, "next_action": None}
        )
        kind = "payment_failed" if intent["object"] == "payment_intent" else "setup_failed"
        self._world.emit(f"{intent['object']}.{kind}", intent)

    def _succeed(self, intent: Object) -> Object:
        intent.update(status="succeeded", next_action=None)
        method = self._world.get("payment_method", intent["payment_method"])
        if intent["customer"] and (intent["object"] == "setup_intent" or intent.get("setup_future_usage")):
            self._methods.save(method, intent["customer"])
        if intent["object"] == "setup_intent":
            self._world.emit("setup_intent.succeeded", intent)
            return intent
        charge = self._add_charge(intent, "succeeded")
        intent.update(latest_charge=charge["id"], amount_received=intent["amount"])
        fee = price_charge(intent["amount"])
        charge["balance_transaction"] = self._books.post("captured", "charge", charge, intent["amount"], fee)[
            "id"
        ]
        self._world.emit("charge.succeeded", charge)
        self._world.emit("payment_intent.succeeded", intent)
        if self._methods.behaviour(method).outcome == "succeeds_then_disputed":
            self._refunds.open_dispute(charge["id"])
        return intent

    def _add_charge(self, intent: Object, status: str, **fields: object) -> Object:
        paid = status == "succeeded"
        method = self._world.get("payment_method", intent["payment_method"])
        copied = {
            name: intent[name] for name in ("amount", "currency", "customer", "description", "payment_method")
        }
        charge = self._world.add(
            "ch",
            "charge",
            **copied,
            metadata=dict(intent["metadata"]),
            payment_intent=intent["id"],
            payment_method_details={"type": method["type"], method["type"]: method[method["type"]]},
            status=status,
            paid=paid,
            captured=paid,
            amount_captured=intent["amount"] if paid else 0,
            amount_refunded=0,
            refunded=False,
            disputed=False,
            balance_transaction=None,
            failure_code=None,
            failure_message=None,
            receipt_url=None,
        )
        charge.update(fields)
        if paid:
            charge["receipt_url"] = f"{self._base_url}/receipts/{charge['id']}"
        return charge


def _demand(intent: Object, states: tuple[str, ...], verb: str) -> None:
    if intent["status"] not in states:
        kind = intent["object"]
        message = f"You cannot {verb} this {kind}: its status is {intent['status']}."
        raise refuse_state(message, f"{kind}_unexpected_state", **{kind: intent})
