"""Checkout Sessions and the billing portal: https://docs.stripe.com/api/checkout/sessions."""

from infra.local.stripe.errors import Object, refuse_parameter, refuse_state
from infra.local.stripe.methods import Methods
from infra.local.stripe.payments import Payments
from infra.local.stripe.tax import Tax
from infra.local.stripe.world import World, paginate

_DEFAULT_LIFE_SECONDS = 24 * 3_600
_MIN_LIFE_SECONDS = 30 * 60
#: What every payer writes into the page where it asks for one.
ADDRESS = {"country": "IE", "line1": "1 Main Street", "city": "Dublin", "postal_code": "D01"}


class Checkout:
    """Sessions in modes payment and setup."""

    def __init__(self, world: World, methods: Methods, payments: Payments, tax: Tax, base_url: str) -> None:
        self._world = world
        self._methods = methods
        self._payments = payments
        self._tax = tax
        self._base_url = base_url
        self._intent_data: dict[str, Object] = {}

    def create(self, params: Object) -> Object:
        mode = params["mode"]
        if mode not in {"payment", "setup"}:
            raise refuse_parameter(f"Invalid mode: {mode}", "parameter_invalid", "mode")
        if "customer" in params:
            customer = self._world.get("customer", params["customer"])
            self._check_address(customer, params)
        now = self._world.now()
        expires_at = params.get("expires_at", now + _DEFAULT_LIFE_SECONDS)
        if not _MIN_LIFE_SECONDS <= expires_at - now <= _DEFAULT_LIFE_SECONDS:
            raise refuse_parameter(
                "A session lives 30 minutes to 24 hours.", "parameter_invalid", "expires_at"
            )
        session = self._world.add(
            "cs_test",
            "checkout.session",
            **dict.fromkeys(
                ("customer", "customer_email", "client_reference_id", "payment_intent", "setup_intent")
            ),
            metadata={},
            cancel_url=None,
            currency=None,
        )
        private = {"expand", "line_items", "payment_intent_data", "setup_intent_data"}
        session.update({name: value for name, value in params.items() if name not in private})
        session.update(
            status="open",
            payment_status="unpaid" if mode == "payment" else "no_payment_required",
            url=f"{self._base_url}/c/pay/{session['id']}",
            expires_at=expires_at,
            automatic_tax={"enabled": params.get("automatic_tax", {}).get("enabled", False), "status": None},
            amount_subtotal=None,
            amount_total=None,
            total_details=None,
        )
        if mode == "payment":
            self._price(session, params.get("line_items", []))
        data = params.get("payment_intent_data" if mode == "payment" else "setup_intent_data", {})
        self._intent_data[session["id"]] = data
        self._world.schedule(expires_at - now, lambda: self._lapse(session["id"]))
        return session

    @staticmethod
    def _check_address(customer: Object, params: Object) -> None:
        taxed = params.get("automatic_tax", {}).get("enabled")
        kept = params.get("customer_update", {}).get("address") == "auto"
        if taxed and not customer["address"] and not kept:
            raise refuse_parameter(
                "Automatic tax calculation in Checkout requires a valid address on the Customer.",
                "customer_tax_location_invalid",
                "automatic_tax",
            )

    def _price(self, session: Object, items: list[Object]) -> None:
        if not items or any("price_data" not in item for item in items):
            raise refuse_parameter("Each of line_items needs price_data.", "parameter_missing", "line_items")
        currencies = {item["price_data"]["currency"] for item in items}
        if len(currencies) != 1:
            raise refuse_parameter("All line_items have one currency.", "parameter_invalid", "line_items")
        subtotal = sum(item["price_data"]["unit_amount"] * item.get("quantity", 1) for item in items)
        taxed = session["automatic_tax"]["enabled"]
        tax = self._tax.add(subtotal) if taxed else 0
        if taxed:
            session["automatic_tax"]["status"] = "complete"
        session.update(
            currency=currencies.pop(),
            amount_subtotal=subtotal,
            amount_total=subtotal + tax,
            total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax},
        )

    def retrieve(self, _params: Object, session_id: str) -> Object:
        return self._world.get("checkout.session", session_id)

    def list_sessions(self, params: Object) -> Object:
        equal = {name: params.get(name) for name in ("customer", "payment_intent", "status")}
        return paginate(self._world.select("checkout.session", **equal), "/v1/checkout/sessions", params)

    def expire(self, _params: Object, session_id: str) -> Object:
        session = self._world.get("checkout.session", session_id)
        if session["status"] != "open":
            message = f"Only open sessions can be expired: this one is {session['status']}."
            raise refuse_state(message, "checkout_session_unexpected_state")
        session.update(status="expired", url=None)
        self._world.emit("checkout.session.expired", session)
        return session

    def _lapse(self, session_id: str) -> None:
        with self._world.lock:
            if self._world.get("checkout.session", session_id)["status"] == "open":
                self.expire({}, session_id)

    def pay(self, session_id: str, test_method: str) -> Object:
        """Do what the payer does on the page; the session stays open when the method is declined.

        Raises:
            Refused: it was declined, or the session is not open.
        """
        with self._world.lock:
            session = self._world.get("checkout.session", session_id)
            if session["status"] != "open":
                raise refuse_state("This session is not open any more.", "checkout_session_unexpected_state")
            intent = self._find_intent(session)
            confirm = self._payments.confirm_payment
            if session["mode"] == "setup":
                confirm = self._payments.confirm_setup
            # The payer stands before the page, so 3D Secure is answered on the spot.
            intent = confirm({"payment_method": test_method}, intent["id"])
            if intent["status"] == "requires_action":
                intent = self._payments.authenticate(intent["id"], succeeds=True)
            return self._complete(session, intent)

    def _find_intent(self, session: Object) -> Object:
        name = "payment_intent" if session["mode"] == "payment" else "setup_intent"
        if session[name] is None:
            if session["customer"] is None:
                session["customer"] = self._methods.create_customer({"email": session["customer_email"]})[
                    "id"
                ]
            given = {"customer": session["customer"], **self._intent_data[session["id"]]}
            if name == "payment_intent":
                priced = {"amount": session["amount_total"], "currency": session["currency"]}
                session[name] = self._payments.create_payment({**given, **priced})["id"]
            else:
                session[name] = self._payments.create_setup(given)["id"]
        return self._world.get(name, session[name])

    def _complete(self, session: Object, intent: Object) -> Object:
        session.update(status="complete", url=None)
        if session.get("customer_update", {}).get("address") == "auto":
            self._methods.update_customer({"address": {**ADDRESS}}, session["customer"])
        if session.get("billing_address_collection") == "required":
            method = self._world.get("payment_method", intent["payment_method"])
            method["billing_details"] = {**method["billing_details"], "address": {**ADDRESS}}
        if session["mode"] == "payment" and intent["status"] == "succeeded":
            session["payment_status"] = "paid"
        self._world.emit("checkout.session.completed", session)
        return session

    def follow(self, event: Object) -> None:
        """Tell of a session whose payment ended after the page: paid or failed asynchronously."""
        if event["type"] not in {"payment_intent.succeeded", "payment_intent.payment_failed"}:
            return
        intent = event["data"]["object"]
        for session in self._world.select("checkout.session", payment_intent=intent["id"], status="complete"):
            if session["payment_status"] == "unpaid":
                paid = intent["status"] == "succeeded"
                session["payment_status"] = "paid" if paid else "unpaid"
                self._world.emit(
                    f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session
                )

    def open_portal(self, params: Object) -> Object:
        self._world.get("customer", params["customer"])
        portal = self._world.add(
            "bps",
            "billing_portal.session",
            customer=params["customer"],
            return_url=params.get("return_url"),
        )
        portal["url"] = f"{self._base_url}/p/session/{portal['id']}"
        return portal
