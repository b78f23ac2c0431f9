"""Customers and payment methods. Test methods are Stripe's own: https://docs.stripe.com/testing."""

from dataclasses import dataclass
from typing import Any, Literal

from infra.local.stripe.errors import Object, Refused, refuse_missing, refuse_state
from infra.local.stripe.world import World, paginate

Outcome = Literal["succeeds", "declines", "needs_authentication", "processes", "succeeds_then_disputed"]


@dataclass(frozen=True, slots=True)
class TestMethod:
    """A payment method that behaves in a known way; ``last4`` is its published test number's."""

    label: str
    last4: str
    outcome: Outcome = "succeeds"
    decline_code: str | None = None
    kind: str = "card"
    attachable: bool = True


TEST_METHODS = {
    "pm_card_visa": TestMethod("Visa: succeeds", "4242"),
    "pm_card_mastercard": TestMethod("Mastercard: succeeds", "4444"),
    "pm_card_authenticationRequired": TestMethod("Visa: asks for 3D Secure", "3184", "needs_authentication"),
    "pm_card_threeDSecure2Required": TestMethod("Visa: asks for 3D Secure 2", "3220", "needs_authentication"),
    "pm_card_visa_chargeDeclined": TestMethod(
        "Visa: declined", "0002", "declines", "generic_decline", attachable=False
    ),
    "pm_card_visa_chargeDeclinedInsufficientFunds": TestMethod(
        "Visa: insufficient funds", "9995", "declines", "insufficient_funds", attachable=False
    ),
    "pm_card_chargeCustomerFail": TestMethod(
        "Visa: saved, then declined", "0341", "declines", "generic_decline"
    ),
    "pm_usBankAccount": TestMethod(
        "Bank account: takes four days", "6789", "processes", kind="us_bank_account"
    ),
    "pm_card_createDispute": TestMethod("Visa: paid, then disputed", "0259", "succeeds_then_disputed"),
}


def build_decline(decline_code: str, **details: Any) -> Refused:
    """Build the card error that the library raises as ``CardError``."""
    code = decline_code if decline_code == "authentication_required" else "card_declined"
    reason = "insufficient funds" if decline_code == "insufficient_funds" else "your card was declined"
    message = f"Your payment was not made: {reason}."
    if code == "authentication_required":
        message = "Your card was declined. This transaction requires authentication."
    return Refused(message, status=402, kind="card_error", code=code, decline_code=decline_code, **details)


class Methods:
    """Who pays, and with what."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, str] = {}

    def create_customer(self, params: Object) -> Object:
        fields: Object = dict.fromkeys(("email", "name", "description", "phone", "address"))
        settings = {"default_payment_method": None}
        customer = self._world.add(
            "cus", "customer", **{**fields, "metadata": {}, "balance": 0, "currency": None, **params}
        )
        customer["invoice_settings"] = settings | params.get("invoice_settings", {})
        self._world.emit("customer.created", customer)
        return customer

    def retrieve_customer(self, _params: Object, customer_id: str) -> Object:
        return self._world.get("customer", customer_id)

    def update_customer(self, params: Object, customer_id: str) -> Object:
        customer = self._world.get("customer", customer_id)
        for name, value in params.items():
            customer[name] = customer[name] | value if isinstance(customer.get(name), dict) else value
        self._world.emit("customer.updated", customer)
        return customer

    def list_customers(self, params: Object) -> Object:
        return paginate(self._world.select("customer", email=params.get("email")), "/v1/customers", params)

    def resolve(self, name: str) -> Object:
        """Return the payment method, or a new one when ``name`` is a test method's.

        Raises:
            Refused: there is none.
        """
        test = TEST_METHODS.get(name)
        if test is None:
            return self._world.get("payment_method", name)
        method = self._world.add(
            "pm", "payment_method", type=test.kind, customer=None, metadata={}, billing_details={}
        )
        brand = "mastercard" if "mastercard" in name else "visa"
        year = 2_000 + 99
        card = {"brand": brand, "last4": test.last4, "exp_month": 12, "exp_year": year, "country": "US"}
        method[test.kind] = card if test.kind == "card" else {"bank_name": "TEST BANK", "last4": test.last4}
        self._tokens[method["id"]] = name
        return method

    def behaviour(self, method: Object) -> TestMethod:
        return TEST_METHODS[self._tokens[method["id"]]]

    def retrieve(self, _params: Object, method_id: str) -> Object:
        return self.resolve(method_id)

    def attach(self, params: Object, method_id: str) -> Object:
        customer = self._world.get("customer", params["customer"])
        method = self.resolve(method_id)
        return self.save(method, customer["id"])

    def save(self, method: Object, customer_id: str) -> Object:
        """Attach a method to a customer.

        Raises:
            Refused: it is another's, or its card cannot be saved.
        """
        if method["customer"] == customer_id:
            return method
        if method["customer"] is not None:
            raise refuse_state(
                "The payment method is already attached to a customer.", "payment_method_unexpected_state"
            )
        behaviour = self.behaviour(method)
        if not behaviour.attachable:
            raise build_decline(behaviour.decline_code or "generic_decline")
        method["customer"] = customer_id
        self._world.emit("payment_method.attached", method)
        return method

    def detach(self, _params: Object, method_id: str) -> Object:
        method = self._world.get("payment_method", method_id)
        if method["customer"] is None:
            raise refuse_state(
                "The payment method is not attached to a customer.", "payment_method_unexpected_state"
            )
        method["customer"] = None
        self._world.emit("payment_method.detached", method)
        return method

    def list_methods(self, params: Object, customer_id: str | None = None) -> Object:
        customer_id = customer_id or params.get("customer")
        if customer_id is None or self._world.find(customer_id) is None:
            raise refuse_missing("customer", str(customer_id))
        found = self._world.select("payment_method", customer=customer_id, type=params.get("type"))
        return paginate(found, "/v1/payment_methods", params)
