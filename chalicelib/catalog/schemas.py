"""Bodies of the catalogue routes."""

from typing import Annotated

from pydantic import Field

from chalicelib.catalog.model import GpuType, Price
from chalicelib.catalog.service import Offer
from chalicelib.runtime.bodies import RequestBody, ResponseBody

#: 10,000 USD an hour: far above any GPU, far below an overflow.
MAX_PRICE_MICROS = 10_000_000_000


class GpuTypeRequest(RequestBody):
    architecture: Annotated[str, Field(min_length=1, max_length=50)]
    memory_mib: Annotated[int, Field(ge=1, le=10_000_000)]
    power_limit_watts: Annotated[int, Field(ge=1, le=10_000)]


class GpuTypeBody(ResponseBody):
    gpu_type: str
    architecture: str
    memory_mib: int
    power_limit_watts: int


class PriceRequest(RequestBody):
    price_micros_per_gpu_hour: Annotated[int, Field(ge=1, le=MAX_PRICE_MICROS)]


class PriceBody(ResponseBody):
    gpu_type: str
    region: str
    price_micros_per_gpu_hour: int
    version: int


class OfferBody(ResponseBody):
    gpu_type: str
    region: str
    price_micros_per_gpu_hour: int
    currency: str
    memory_mib: int
    architecture: str
    #: Live, and no reservation.
    availability: str
    largest_block_gpus: int


class OfferListBody(ResponseBody):
    items: list[OfferBody]


def render_gpu_type(gpu_type: GpuType) -> GpuTypeBody:
    return GpuTypeBody(
        gpu_type=gpu_type.name,
        architecture=gpu_type.architecture,
        memory_mib=gpu_type.memory_mib,
        power_limit_watts=gpu_type.power_limit_watts,
    )


def render_price(price: Price) -> PriceBody:
    return PriceBody(
        gpu_type=price.gpu_type,
        region=price.region,
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        version=price.version,
    )


def render_offer(offer: Offer, currency: str) -> OfferBody:
    return OfferBody(
        gpu_type=offer.price.gpu_type,
        region=offer.price.region,
        price_micros_per_gpu_hour=offer.price.price_micros_per_gpu_hour,
        currency=currency,
        memory_mib=offer.gpu_type.memory_mib,
        architecture=offer.gpu_type.architecture,
        availability=offer.availability,
        largest_block_gpus=offer.largest_block_gpus,
    )
