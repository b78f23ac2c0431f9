"""Orders of carbon removals, paid from the balance: https://docs.stripe.com/api/climate/order."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from infra.local.stripe.books import Books
from infra.local.stripe.errors import Object, refuse_missing, refuse_parameter, refuse_state
from infra.local.stripe.world import World, paginate

CHEAP, DEAR = "climsku_biomass_simulated", "climsku_direct_air_capture_simulated"
_LEAST_TONS = Decimal("0.01")
#: Its owner may cancel an order for so long.
_CANCEL_SECONDS = 24 * 3_600
_FEE_PERCENT = 3
_YEAR = 2030
_PARTS = ("amount_subtotal", "amount_fees")
_UNSET = (
    "canceled_at",
    "cancellation_reason",
    "certificate",
    "confirmed_at",
    "delayed_at",
    "delivered_at",
    "product_substituted_at",
)


class Climate:
    """Products and orders. What Frontier does with an order is a knob: `move`."""

    def __init__(self, world: World, books: Books) -> None:
        self._world = world
        self._books = books
        self._products: dict[str, Object] = {}
        self.sell(CHEAP, cents_per_ton=30_000, tons="1000", pathway="biomass_carbon_removal_and_storage")
        self.sell(DEAR, cents_per_ton=100_000, tons="50", pathway="direct_air_capture")

    def sell(
        self, product_id: str, *, cents_per_ton: int, tons: str, pathway: str = "direct_air_capture"
    ) -> Object:
        """Offer a product, or change its price, before fees, and what is left of it."""
        with self._world.lock:
            fees = cents_per_ton * _FEE_PERCENT // 100
            price = {
                "amount_subtotal": cents_per_ton,
                "amount_fees": fees,
                "amount_total": cents_per_ton + fees,
            }
            supplier = {
                "id": f"climsup_{pathway}",
                "object": "climate.supplier",
                "name": f"Simulated {pathway.replace('_', ' ')}",
                "removal_pathway": pathway,
                "info_url": "https://frontierclimate.com",
                "livemode": False,
                "locations": [{"country": "IS", "region": None, "city": None}],
            }
            self._products[product_id] = {
                "id": product_id,
                "object": "climate.product",
                "created": self._world.now(),
                "livemode": False,
                "name": supplier["name"],
                "delivery_year": _YEAR,
                "metric_tons_available": tons,
                "current_prices_per_metric_ton": {"usd": price},
                "suppliers": [supplier],
            }
            return self._products[product_id]

    def list_products(self, params: Object) -> Object:
        return paginate(self._products.values(), "/v1/climate/products", params)

    def retrieve_product(self, _params: Object, product_id: str) -> Object:
        if product_id not in self._products:
            raise refuse_missing("climate product", product_id)
        return self._products[product_id]

    def create(self, params: Object) -> Object:
        """Order removals; the balance pays for them at once where it has as much.

        Raises:
            Refused: no such product, too little, more than there is, or a currency it has no price in.
        """
        product = self.retrieve_product({}, params["product"])
        price = product["current_prices_per_metric_ton"].get(params.get("currency", "usd"))
        if price is None:
            raise refuse_parameter("The product has no price in it.", "parameter_invalid", "currency")
        tons, left = self._read_tons(params, price), Decimal(product["metric_tons_available"])
        if tons > left:
            raise refuse_state(f"Only {left} metric tons are left.", "climate_product_unavailable")
        product["metric_tons_available"] = str(left - tons)
        subtotal, fees = (int(price[name] * tons + Decimal("0.5")) for name in _PARTS)
        order = self._world.add(
            "climorder",
            "climate.order",
            amount_subtotal=subtotal,
            amount_fees=fees,
            amount_total=subtotal + fees,
            beneficiary=params.get("beneficiary", {"public_name": "The merchant"}),
            currency=params.get("currency", "usd"),
            expected_delivery_year=product["delivery_year"],
            metadata=params.get("metadata", {}),
            metric_tons=str(tons),
            product=product["id"],
            status="awaiting_funds",
            delivery_details=[],
            **dict.fromkeys(_UNSET),
        )
        rows = self._books.balance()["available"]
        available = next((row["amount"] for row in rows if row["currency"] == order["currency"]), 0)
        if available >= order["amount_total"]:
            self._pay(order)
        self._world.emit("climate.order.created", order)
        return order

    def _read_tons(self, params: Object, price: Object) -> Decimal:
        if ("metric_tons" in params) == ("amount" in params):
            raise refuse_parameter("Give either amount or metric_tons.", "parameter_missing", "metric_tons")
        if "amount" in params:
            bought = Decimal(params["amount"]) / Decimal(price["amount_total"])
            return bought.quantize(_LEAST_TONS, rounding="ROUND_DOWN")
        try:
            tons = Decimal(params["metric_tons"])
        except InvalidOperation:
            raise refuse_parameter("Invalid decimal", "parameter_invalid_decimal", "metric_tons") from None
        if not tons.is_finite() or tons < _LEAST_TONS or tons % _LEAST_TONS:
            message = "Orders are in hundredths of a metric ton, and of one at least."
            raise refuse_parameter(message, "parameter_invalid_decimal", "metric_tons")
        return tons

    def retrieve(self, _params: Object, order_id: str) -> Object:
        return self._world.get("climate.order", order_id)

    def list_orders(self, params: Object) -> Object:
        return paginate(self._world.select("climate.order"), "/v1/climate/orders", params)

    def cancel(self, _params: Object, order_id: str) -> Object:
        """Cancel for its owner: within a day, and the fees are kept."""
        order = self._world.get("climate.order", order_id)
        late = self._world.now() - order["created"] > _CANCEL_SECONDS
        if late or order["status"] in {"canceled", "delivered"}:
            raise refuse_state("The order can no longer be canceled.", "climate_order_not_cancelable")
        return self._cancel(order, "requested", order["amount_subtotal"])

    def move(self, order_id: str, to: str) -> Object:
        """Have Stripe and Frontier go on with an order.

        Raises:
            Refused: it is over, or cannot come to that.
        """
        with self._world.lock:
            order = self._world.get("climate.order", order_id)
            if order["status"] in {"canceled", "delivered"}:
                raise refuse_state("The order is over.", "climate_order_unexpected_state")
            moves: dict[str, Callable[[Object], object]] = {
                "open": self._pay,
                "confirmed": self._confirm,
                "delivered": self._deliver,
                "delayed": self._delay,
                "substituted": self._substitute,
                "expired": lambda each: self._cancel(each, "expired", each["amount_total"]),
                "unavailable": lambda each: self._cancel(each, "product_unavailable", each["amount_total"]),
            }
            if to not in moves:
                raise refuse_parameter(f"An order moves to: {', '.join(moves)}.", "parameter_invalid", "to")
            moves[to](order)
            return order

    def _pay(self, order: Object) -> None:
        """There is no event of it."""
        if order["status"] == "awaiting_funds":
            self._books.post("climate", "climate_order_purchase", order, -order["amount_total"])
            order["status"] = "open"

    def _confirm(self, order: Object) -> None:
        self._pay(order)
        order.update(status="confirmed", confirmed_at=self._world.now())
        self._world.emit("climate.order.confirmed", order)

    def _deliver(self, order: Object) -> None:
        self._pay(order)
        now, supplier = self._world.now(), self._products[order["product"]]["suppliers"][0]
        detail = {
            "delivered_at": now,
            "location": supplier["locations"][0],
            "metric_tons": order["metric_tons"],
            "registry_url": f"https://registry.example/{order['id']}",
            "supplier": supplier,
        }
        certificate = f"https://climate.example/certificates/{order['id']}"
        order.update(status="delivered", delivered_at=now, certificate=certificate, delivery_details=[detail])
        self._world.emit("climate.order.delivered", order)

    def _delay(self, order: Object) -> None:
        year = order["expected_delivery_year"] + 1
        order.update(delayed_at=self._world.now(), expected_delivery_year=year)
        self._world.emit("climate.order.delayed", order)

    def _substitute(self, order: Object) -> None:
        other = DEAR if order["product"] == CHEAP else CHEAP
        order.update(product=other, product_substituted_at=self._world.now())
        self._world.emit("climate.order.product_substituted", order)

    def _cancel(self, order: Object, reason: str, refunded: int) -> Object:
        if order["status"] != "awaiting_funds":
            self._books.post("climate", "climate_order_refund", order, refunded)
        order.update(status="canceled", canceled_at=self._world.now(), cancellation_reason=reason)
        self._world.emit("climate.order.canceled", order)
        return order
