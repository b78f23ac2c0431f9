"""Routes of the catalogue."""

import re

from chalicelib import wiring
from chalicelib.catalog import service
from chalicelib.catalog.model import GpuType
from chalicelib.catalog.schemas import (
    GpuTypeRequest,
    OfferListBody,
    PriceRequest,
    render_gpu_type,
    render_offer,
    render_price,
)
from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.http import Answer, Api, Call

api = Api(__name__, wiring.authenticate)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


@api.route("GET", "/v1/offers", permission="offers:read")
def list_offers(_call: Call) -> Answer:
    """List what can be rented now, cheapest first."""
    catalog = wiring.cached_catalog().get(fresh=True)
    offers = service.list_offers(catalog, wiring.capacity_reader())
    currency = wiring.settings().currency
    return Answer(OfferListBody(items=[render_offer(offer, currency) for offer in offers]))


@api.route("PUT", "/v1/gpu-types/{gpu_type}", permission="catalog:write", body=GpuTypeRequest)
def put_gpu_type(call: Call, gpu_type: str) -> Answer:
    """Create or replace a GPU type."""
    body: GpuTypeRequest = call.read_body(GpuTypeRequest)
    entity = GpuType(_check_name(gpu_type), body.architecture, body.memory_mib, body.power_limit_watts)
    return Answer(render_gpu_type(service.put_gpu_type(wiring.catalog_ports(), call.principal, entity)))


@api.route("PUT", "/v1/gpu-types/{gpu_type}/prices/{region}", permission="catalog:write", body=PriceRequest)
def put_price(call: Call, gpu_type: str, region: str) -> Answer:
    """Set the price per GPU-hour in a region."""
    body: PriceRequest = call.read_body(PriceRequest)
    price = service.put_price(
        wiring.catalog_ports(),
        call.principal,
        gpu_type=_check_name(gpu_type),
        region=region,
        known_regions=wiring.known_regions(),
        price_micros_per_gpu_hour=body.price_micros_per_gpu_hour,
    )
    return Answer(render_price(price))


def _check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InvalidInput("A name has 1 to 64 letters, digits, dots and hyphens.")
    return name
