"""The whole simulator, without HTTP: its parts over one world, and the API's routes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from infra.local.stripe.books import Books
from infra.local.stripe.checkout import Checkout
from infra.local.stripe.climate import Climate
from infra.local.stripe.errors import Object, Refused
from infra.local.stripe.faults import Faults
from infra.local.stripe.forms import PAGING, Spec, describe
from infra.local.stripe.idempotency import IdempotencyKeys
from infra.local.stripe.methods import Methods
from infra.local.stripe.payments import Payments
from infra.local.stripe.refunds import Refunds
from infra.local.stripe.tax import Tax
from infra.local.stripe.webhooks import Transport, Webhooks, send_http
from infra.local.stripe.world import World, paginate

_CUSTOMER = (
    "email name description phone address.line1 address.line2 address.city address.state address.postal_code "
    "address.country metadata:map invoice_settings.default_payment_method"
)
_INTENT = "customer description metadata:map payment_method payment_method_types.# confirm:bool return_url "
_PAYMENT = _INTENT + (
    "amount:int! currency! off_session:bool error_on_requires_action:bool setup_future_usage receipt_email "
    "statement_descriptor_suffix automatic_payment_methods.enabled:bool "
    "automatic_payment_methods.allow_redirects hooks.inputs.tax.calculation"
)
_SESSION = (
    "mode! success_url! cancel_url customer customer_email client_reference_id metadata:map currency "
    "expires_at:int "
    "customer_creation customer_update.address customer_update.name billing_address_collection "
    "locale submit_type "
    "payment_method_types.# automatic_tax.enabled:bool tax_id_collection.enabled:bool "
    "line_items.#.quantity:int line_items.#.price_data.currency line_items.#.price_data.unit_amount:int "
    "line_items.#.price_data.tax_behavior line_items.#.price_data.product_data.name "
    "line_items.#.price_data.product_data.description line_items.#.price_data.product_data.tax_code "
    "payment_intent_data.metadata:map payment_intent_data.description payment_intent_data.receipt_email "
    "payment_intent_data.setup_future_usage setup_intent_data.metadata:map setup_intent_data.description"
)
_CALCULATION = (
    "currency! customer customer_details.address_source customer_details.address:map "
    "line_items.#.amount:int line_items.#.reference line_items.#.tax_behavior"
)
_ORDER = "product! metric_tons amount:int currency beneficiary.public_name metadata:map"
_REFUND = "charge payment_intent amount:int reason metadata:map"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API; the pattern's groups are passed by place."""

    method: str
    pattern: re.Pattern[str]
    spec: Spec
    act: Callable[..., Object]


class Simulator:
    """Everything behind the routes. ``now`` gives seconds, ``seed`` decides ids and disorder."""

    def __init__(
        self, base_url: str, seed: int, now: Callable[[], float], transport: Transport = send_http
    ) -> None:
        self.world = World(seed, now)
        self.books = Books(self.world)
        self.methods = Methods(self.world)
        self.refunds = Refunds(self.world, self.books)
        self.payments = Payments(self.world, self.books, self.methods, self.refunds, base_url)
        self.tax = Tax(self.world)
        self.checkout = Checkout(self.world, self.methods, self.payments, self.tax, base_url)
        self.climate = Climate(self.world, self.books)
        self.webhooks = Webhooks(self.world, transport)
        self.faults = Faults()
        self.keys = IdempotencyKeys()
        self.world.on_event = self._on_event
        self._routes = [
            Route(method, re.compile(re.sub(r":\w+", r"([^/]+)", path)), describe(spec), act)
            for method, path, spec, act in self._list_routes()
        ]

    def _on_event(self, event: Object) -> None:
        self.webhooks.queue(event)
        self.checkout.follow(event)

    def find_route(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """Return the route and the ids in its path.

        Raises:
            Refused: there is none.
        """
        for route in self._routes:
            if route.method == method and (match := route.pattern.fullmatch(path)):
                return route, match.groups()
        message = f"Unrecognized request URL ({method}: {path})."
        raise Refused(message, status=404, started=False)

    def _list_routes(self) -> list[tuple[str, str, str, Callable[..., Object]]]:
        customers, intents, setups = "/v1/customers", "/v1/payment_intents", "/v1/setup_intents"
        methods, sessions, refunds = "/v1/payment_methods", "/v1/checkout/sessions", "/v1/refunds"
        confirm = "payment_method return_url off_session:bool error_on_requires_action:bool"
        cancel, products, orders = "cancellation_reason", "/v1/climate/products", "/v1/climate/orders"
        return [
            ("POST", customers, _CUSTOMER, self.methods.create_customer),
            ("GET", customers, PAGING + " email", self.methods.list_customers),
            ("GET", customers + "/:id", "", self.methods.retrieve_customer),
            ("POST", customers + "/:id", _CUSTOMER, self.methods.update_customer),
            ("GET", customers + "/:id/payment_methods", PAGING + " type", self.methods.list_methods),
            ("GET", methods, PAGING + " customer! type", self.methods.list_methods),
            ("GET", methods + "/:id", "", self.methods.retrieve),
            ("POST", methods + "/:id/attach", "customer!", self.methods.attach),
            ("POST", methods + "/:id/detach", "", self.methods.detach),
            ("POST", intents, _PAYMENT, self.payments.create_payment),
            ("GET", intents, PAGING + " customer", self.payments.list_payments),
            ("GET", intents + "/:id", "", self.payments.retrieve_payment),
            ("POST", intents + "/:id/confirm", confirm, self.payments.confirm_payment),
            ("POST", intents + "/:id/cancel", cancel, self.payments.cancel_payment),
            ("POST", setups, _INTENT + "usage", self.payments.create_setup),
            ("GET", setups, PAGING + " customer", self.payments.list_setups),
            ("GET", setups + "/:id", "", self.payments.retrieve_setup),
            ("POST", setups + "/:id/confirm", "payment_method return_url", self.payments.confirm_setup),
            ("POST", setups + "/:id/cancel", cancel, self.payments.cancel_setup),
            ("POST", sessions, _SESSION, self.checkout.create),
            ("GET", sessions, PAGING + " customer payment_intent status", self.checkout.list_sessions),
            ("GET", sessions + "/:id", "", self.checkout.retrieve),
            ("POST", sessions + "/:id/expire", "", self.checkout.expire),
            ("POST", "/v1/billing_portal/sessions", "customer! return_url", self.checkout.open_portal),
            ("POST", refunds, _REFUND, self.refunds.create),
            ("GET", refunds, PAGING + " charge payment_intent", self.refunds.list_refunds),
            ("GET", refunds + "/:id", "", self.refunds.retrieve),
            ("GET", "/v1/disputes", PAGING + " charge payment_intent", self.refunds.list_disputes),
            ("GET", "/v1/disputes/:id", "", self.refunds.retrieve_dispute),
            ("POST", "/v1/tax/calculations", _CALCULATION, self.tax.calculate),
            ("GET", products, PAGING, self.climate.list_products),
            ("GET", products + "/:id", "", self.climate.retrieve_product),
            ("POST", orders, _ORDER, self.climate.create),
            ("GET", orders, PAGING, self.climate.list_orders),
            ("GET", orders + "/:id", "", self.climate.retrieve),
            ("POST", orders + "/:id/cancel", "", self.climate.cancel),
            ("GET", "/v1/balance", "", lambda _params: self.books.balance()),
            *self._list_plain("charge", "/v1/charges", "customer payment_intent"),
            *self._list_plain(
                "balance_transaction", "/v1/balance_transactions", "currency source type payout"
            ),
            *self._list_plain("payout", "/v1/payouts", "status"),
            ("GET", "/v1/events", PAGING + " type types.# delivery_success:bool", self._list_events),
            ("GET", "/v1/events/:id", "", lambda _params, event_id: self.world.get("event", event_id)),
        ]

    def _list_plain(
        self, kind: str, path: str, filters: str
    ) -> list[tuple[str, str, str, Callable[..., Object]]]:
        def list_all(params: Object) -> Object:
            equal = {name: params.get(name) for name in filters.split()}
            return paginate(self.world.select(kind, **equal), path, params)

        def retrieve(_params: Object, object_id: str) -> Object:
            return self.world.get(kind, object_id)

        return [("GET", path, f"{PAGING} {filters}", list_all), ("GET", path + "/:id", "", retrieve)]

    def _list_events(self, params: Object) -> Object:
        types = set(params.get("types", [])) | ({params["type"]} if "type" in params else set())
        wanted = params.get("delivery_success")
        found = [
            event
            for event in self.world.select("event")
            if (not types or event["type"] in types)
            and (wanted is None or wanted == (event["pending_webhooks"] == 0))
        ]
        return paginate(found, "/v1/events", params)
