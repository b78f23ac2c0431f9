"""Routes of energy and carbon."""

from collections.abc import Mapping
from typing import get_args

from chalicelib import wiring
from chalicelib.carbon import figures, service
from chalicelib.carbon.intensity import WINDOW_MS, Signal
from chalicelib.carbon.intensity_schemas import render_forecasts, render_intensity
from chalicelib.carbon.schemas import render_receipt
from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import read_choice, read_instant

api = Api(__name__, wiring.authenticate)

INTENSITY_QUERY = frozenset({"region", "signal", "from", "to"})
FORECAST_QUERY = frozenset({"region", "signal", "at"})
_SIGNALS: tuple[Signal, ...] = get_args(Signal)


@api.route("GET", "/v1/rentals/{rental_id}/receipt", permission="rentals:read")
def read_receipt(call: Call, rental_id: str) -> Answer:
    """Show a rental's statement: time, money, energy, emissions."""
    receipt = service.build_receipt(
        wiring.billing_ports(), wiring.grid_ports().store, call.principal, rental_id
    )
    return Answer(render_receipt(receipt))


@api.route("GET", "/v1/carbon/intensity", permission="offers:read", query=INTENSITY_QUERY)
def list_intensity(call: Call) -> Answer:
    """Show what is known of a region's grid in a range, the last day by itself."""
    region, signal = _read_grid(call.query)
    to_ms = read_instant(call.query, "to") or wiring.clock().now_ms()
    from_ms = read_instant(call.query, "from")
    from_ms = max(to_ms - WINDOW_MS, 0) if from_ms is None else from_ms
    found = figures.list_intensity(wiring.grid_ports().store, region, signal, from_ms, to_ms)
    return Answer(render_intensity(region, signal, found))


@api.route("GET", "/v1/carbon/forecast", permission="offers:read", query=FORECAST_QUERY)
def list_forecasts(call: Call) -> Answer:
    """Show what each provider last forecast of a region's grid, as it was known now or at an instant."""
    region, signal = _read_grid(call.query)
    at_ms = read_instant(call.query, "at") or wiring.clock().now_ms()
    found = figures.find_forecasts(wiring.grid_ports().store, region, signal, at_ms)
    return Answer(render_forecasts(region, signal, at_ms, found))


def _read_grid(query: Mapping[str, str]) -> tuple[str, Signal]:
    """Raises InvalidInput: there is no region, or an unknown signal."""
    if "region" not in query:
        raise InvalidInput("region is needed.")
    return query["region"], read_choice(query, "signal", _SIGNALS) or "average"
