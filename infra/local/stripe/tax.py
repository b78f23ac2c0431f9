"""Tax: calculations before a payment, and what Checkout adds: https://docs.stripe.com/api/tax/calculations."""

from infra.local.stripe.errors import Object, refuse_parameter, refuse_state
from infra.local.stripe.world import World

_BASIS_POINTS = 10_000


class Tax:
    """One rate for everybody, ``basis_points``; Stripe's depends on where the payer is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.basis_points = 0

    def add(self, cents: int) -> int:
        """Return the tax on top of ``cents``."""
        return (cents * self.basis_points + _BASIS_POINTS // 2) // _BASIS_POINTS

    def calculate(self, params: Object) -> Object:
        """Create a calculation.

        Raises:
            Refused: nobody says where the payer is, or a price has its tax in it.
        """
        address = params.get("customer_details", {}).get("address")
        if "customer" in params:
            address = self._world.get("customer", params["customer"]).get("address")
        if not (address or {}).get("country"):
            raise refuse_state(
                "We could not determine the customer's tax location based on the provided address.",
                "customer_tax_location_invalid",
            )
        items = params["line_items"]
        if any(item.get("tax_behavior") != "exclusive" for item in items):
            raise refuse_parameter("Only exclusive prices.", "parameter_invalid", "line_items")
        cents = sum(item["amount"] for item in items)
        tax = self.add(cents)
        return self._world.add(
            "taxcalc",
            "tax.calculation",
            currency=params["currency"],
            customer=params.get("customer"),
            customer_details={"address": address},
            amount_total=cents + tax,
            tax_amount_exclusive=tax,
            tax_amount_inclusive=0,
        )
