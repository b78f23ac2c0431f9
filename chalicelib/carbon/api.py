"""Routes of energy and carbon."""

from chalicelib import wiring
from chalicelib.carbon import service
from chalicelib.carbon.schemas import render_receipt
from chalicelib.runtime.http import Answer, Api, Call

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/rentals/{rental_id}/receipt", permission="rentals:read")
def read_receipt(call: Call, rental_id: str) -> Answer:
    """Show a rental's statement: time, money, energy, emissions."""
    receipt = service.build_receipt(
        wiring.billing_ports(), wiring.grid_ports().store, call.principal, rental_id
    )
    return Answer(render_receipt(receipt))
