"""Routes of energy and carbon."""

from collections.abc import Mapping
from typing import get_args

from chalicelib import wiring
from chalicelib.carbon import figures, planning, savings, service
from chalicelib.carbon.energy_schemas import GpuHoursBody, render_gpu_hours
from chalicelib.carbon.intensity import WINDOW_MS, Signal
from chalicelib.carbon.intensity_schemas import (
    ForecastListBody,
    RegionalIntensityBody,
    render_forecasts,
    render_intensity,
)
from chalicelib.carbon.planning import StartQuery
from chalicelib.carbon.planning_schemas import BestStartsBody, render_starts
from chalicelib.carbon.saving_schemas import CarbonSavingBody, render_saving
from chalicelib.carbon.schemas import ReceiptBody, render_receipt
from chalicelib.core.clock import format_hour
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import read_choice, read_instant, read_integer, require

api = Api(__name__, wiring.authenticate)

ENERGY_QUERY = frozenset({"day"})
INTENSITY_QUERY = frozenset({"region", "signal", "from", "to"})
FORECAST_QUERY = frozenset({"region", "signal", "at"})
START_QUERY = frozenset(
    {
        "region",
        "regions",
        "signal",
        "earliest",
        "deadline",
        "duration_seconds",
        "gpu_type",
        "max_price_micros_per_gpu_hour",
    }
)
#: Forecasts reach a few days ahead.
MAX_DURATION_SECONDS = 14 * 86_400
MAX_PRICE_MICROS = 10**12
_SIGNALS: tuple[Signal, ...] = get_args(Signal)


@api.route("GET", "/v1/rentals/{rental_id}/receipt", permission="rentals:read")
def read_receipt(call: Call, rental_id: str) -> Answer[ReceiptBody]:
    """Show a rental's statement: time, money, energy, emissions."""
    receipt = service.build_receipt(
        wiring.billing_ports(), wiring.grid_ports().store, call.principal, rental_id
    )
    return Answer(render_receipt(receipt))


@api.route("GET", "/v1/rentals/{rental_id}/carbon-saving", permission="rentals:read")
def read_carbon_saving(call: Call, rental_id: str) -> Answer[CarbonSavingBody]:
    """Show what a flexible rental's start saved beside one at once, by the intensities that came."""
    saving = savings.measure_rental_saving(
        wiring.billing_ports(), wiring.grid_ports().store, call.principal, rental_id
    )
    return Answer(render_saving(saving))


@api.route("GET", "/v1/rentals/{rental_id}/energy", permission="rentals:read", query=ENERGY_QUERY)
def list_gpu_hours(call: Call, rental_id: str) -> Answer[GpuHoursBody]:
    """Show what each GPU of a rental used in each hour of a UTC day; of today without one."""
    day = call.query.get("day", format_hour(wiring.clock().now_ms())[:10])
    found = service.list_gpu_hours(wiring.billing_ports(), call.principal, rental_id, day)
    return Answer(render_gpu_hours(rental_id, day, found))


@api.route("GET", "/v1/carbon/intensity", permission="offers:read", query=INTENSITY_QUERY)
def list_intensity(call: Call) -> Answer[RegionalIntensityBody]:
    """Show what is known of a region's grid in a range, the last day by itself."""
    region, signal = _read_grid(call.query)
    to_ms = read_instant(call.query, "to") or wiring.clock().now_ms()
    from_ms = read_instant(call.query, "from")
    from_ms = max(to_ms - WINDOW_MS, 0) if from_ms is None else from_ms
    found = figures.list_intensity(wiring.grid_ports().store, region, signal, from_ms, to_ms)
    return Answer(render_intensity(region, signal, found))


@api.route("GET", "/v1/carbon/forecast", permission="offers:read", query=FORECAST_QUERY)
def list_forecasts(call: Call) -> Answer[ForecastListBody]:
    """Show what each provider last forecast of a region's grid, as it was known now or at an instant."""
    region, signal = _read_grid(call.query)
    at_ms = read_instant(call.query, "at") or wiring.clock().now_ms()
    found = figures.find_forecasts(wiring.grid_ports().store, region, signal, at_ms)
    return Answer(render_forecasts(region, signal, at_ms, found))


@api.route("GET", "/v1/carbon/best-starts", cost="expensive", permission="offers:read", query=START_QUERY)
def list_best_starts(call: Call) -> Answer[BestStartsBody]:
    """Rank when and where work of some hours starts best, by what is forecast of the grids now."""
    region, signal = _read_grid(call.query)
    now_ms = wiring.clock().now_ms()
    require(call.query, "duration_seconds", "deadline")
    duration = read_integer(call.query, "duration_seconds", minimum=1, maximum=MAX_DURATION_SECONDS)
    deadline_ms = read_instant(call.query, "deadline")
    assert duration is not None
    assert deadline_ms is not None
    query = StartQuery(
        home_region=region,
        regions=frozenset(filter(None, call.query.get("regions", "").split(","))),
        earliest_ms=max(now_ms, read_instant(call.query, "earliest") or now_ms),
        deadline_ms=deadline_ms,
        duration_seconds=duration,
        max_price_micros_per_gpu_hour=read_integer(
            call.query, "max_price_micros_per_gpu_hour", maximum=MAX_PRICE_MICROS
        ),
        signal=signal,
    )
    prices: dict[str, int] = {}
    if "gpu_type" in call.query:
        catalog = wiring.cached_catalog().get().of_account(call.principal.account_id)
        found = catalog.find_prices(call.query["gpu_type"], "any", at_ms=now_ms)
        prices = {each.region: each.price_micros_per_gpu_hour for each in found}
    ranked = planning.rank_starts(wiring.grid_ports().store, prices, query, now_ms)
    return Answer(render_starts(query, ranked))


def _read_grid(query: Mapping[str, str]) -> tuple[str, Signal]:
    """Raises InvalidInput: there is no region, or an unknown signal."""
    require(query, "region")
    return query["region"], read_choice(query, "signal", _SIGNALS) or "average"
