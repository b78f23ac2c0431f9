"""Bodies of the catalogue routes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.catalog.model import (
    ANY_GPU_TYPE,
    ANY_REGION,
    Agreement,
    GpuType,
    Interconnect,
    Price,
    PriceChange,
    PriceKey,
    Template,
    Term,
)
from chalicelib.catalog.offers import Offer
from chalicelib.catalog.spot import PPM, SpotBounds
from chalicelib.catalog.templates import TemplateContent, describe_defaults
from chalicelib.core.capacity import BillingClass
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody
from chalicelib.runtime.workload_bodies import CatalogName, GpuCount, PortBody, VolumeBody, WorkloadFields

#: 10,000 USD an hour: far above any GPU, far below an overflow.
MAX_PRICE_MICROS = 10_000_000_000
#: GPU instance profiles: 1g.10gb, 1g.10gb+me, 2g.48gb-me, 1g.24gb+me.all. Source: NVIDIA MIG User Guide.
MIG_PROFILE = r"^[1-7]g\.[1-9][0-9]{0,2}gb(?:[+-][a-z]+(?:\.[a-z]+)?)*$"

Parts = Annotated[int, Field(ge=1, le=PPM)]


class GpuTypeRequest(RequestBody):
    architecture: Annotated[str, Field(min_length=1, max_length=20)]
    memory_mib: Annotated[int, Field(ge=1, le=10_000_000)]
    power_limit_watts: Annotated[int, Field(ge=1, le=10_000)]
    interconnect: Interconnect = "none"
    mig_profile: Annotated[str, Field(max_length=32, pattern=MIG_PROFILE)] | None = None
    parent_gpu_type: CatalogName | None = None


class GpuTypeBody(ResponseBody):
    gpu_type: str
    architecture: str
    memory_mib: int
    power_limit_watts: int
    interconnect: str
    mig_profile: str | None
    parent_gpu_type: str | None


class PriceRequest(RequestBody):
    price_micros_per_gpu_hour: Annotated[int, Field(ge=1, le=MAX_PRICE_MICROS)]
    billing_class: BillingClass = "on_demand"
    #: An instant to come; left out for now.
    effective_from: Instant | None = None
    #: Of spot prices, as parts of the on-demand price in millionths; both or none.
    spot_floor_ppm: Parts | None = None
    spot_cap_ppm: Parts | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> "PriceRequest":
        floor, cap = self.spot_floor_ppm, self.spot_cap_ppm
        if (floor is None) != (cap is None):
            raise ValueError("spot_floor_ppm and spot_cap_ppm are given together")
        if floor is not None and cap is not None and floor > cap:
            raise ValueError("spot_floor_ppm may not be above spot_cap_ppm")
        return self

    def read_bounds(self) -> SpotBounds | None:
        if self.spot_floor_ppm is None or self.spot_cap_ppm is None:
            return None
        return SpotBounds(self.spot_floor_ppm, self.spot_cap_ppm)


class TermRequest(RequestBody):
    """A price, or a part of the list price off, of GPU types and regions from an instant until another."""

    gpu_type: CatalogName = ANY_GPU_TYPE
    region: CatalogName = ANY_REGION
    #: Spot prices are the market's.
    billing_class: Literal["on_demand", "reserved"] = "on_demand"
    price_micros_per_gpu_hour: Annotated[int, Field(ge=1, le=MAX_PRICE_MICROS)] | None = None
    #: Millionths of the list price; all of it is no price.
    discount_ppm: Annotated[int, Field(ge=1, lt=PPM)] | None = None
    effective_from: Instant
    effective_until: Instant | None = None

    @model_validator(mode="after")
    def _check_price(self) -> "TermRequest":
        if (self.price_micros_per_gpu_hour is None) == (self.discount_ppm is None):
            raise ValueError("one of price_micros_per_gpu_hour and discount_ppm is given")
        if self.price_micros_per_gpu_hour is not None and self.gpu_type == ANY_GPU_TYPE:
            raise ValueError("a price is of one gpu_type")
        return self

    def read(self) -> Term:
        return Term(
            billing_class=self.billing_class,
            from_ms=self.effective_from,
            until_ms=self.effective_until,
            gpu_type=self.gpu_type,
            region=self.region,
            price_micros_per_gpu_hour=self.price_micros_per_gpu_hour,
            discount_ppm=self.discount_ppm,
        )


class VolumePriceRequest(RequestBody):
    price_micros_per_gib_hour: Annotated[int, Field(ge=0, le=MAX_PRICE_MICROS)]


class VolumePriceBody(ResponseBody):
    region: str
    #: Of a GiB of a volume, an hour, while its rental is stopped.
    price_micros_per_gib_hour: int
    currency: str


class VolumePricesBody(ResponseBody):
    #: What is not listed costs nothing.
    items: list[VolumePriceBody]


class AgreementRequest(RequestBody):
    """Of all terms that hold, and the list price, the lowest is paid."""

    terms: Annotated[list[TermRequest], Field(max_length=20)]
    #: The version that was read; 0 where there is none yet. Another one is refused.
    version: Annotated[int, Field(ge=0)]

    def read(self, account_id: str) -> Agreement:
        return Agreement(account_id, tuple(term.read() for term in self.terms), self.version)


class TermBody(ResponseBody):
    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int | None
    discount_ppm: int | None
    effective_from: str
    #: Null: for good.
    effective_until: str | None


class AgreementBody(ResponseBody):
    account_id: str
    currency: str
    terms: list[TermBody]
    version: int


class PriceBody(ResponseBody):
    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int
    effective_from: str
    #: Until the next price that is known now; null when none is.
    effective_until: str | None
    version: int


class PriceChangeBody(ResponseBody):
    """Of two changes for one instant, the one with the higher version holds."""

    effective_from: str
    price_micros_per_gpu_hour: int
    version: int
    set_at: str
    origin: str


class PriceHistoryBody(ResponseBody):
    gpu_type: str
    region: str
    billing_class: str
    currency: str
    items: list[PriceChangeBody]
    next_cursor: str | None


class NextPriceBody(ResponseBody):
    effective_from: str
    price_micros_per_gpu_hour: int


class OfferBody(ResponseBody):
    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int
    #: What it is without the caller's agreement.
    list_price_micros_per_gpu_hour: int
    #: What is announced; running rentals keep the price they started with.
    next_price: NextPriceBody | None
    currency: str
    memory_mib: int
    architecture: str
    interconnect: str
    mig_profile: str | None
    parent_gpu_type: str | None
    #: Live, and no reservation.
    availability: str
    free_gpus: int
    largest_block_gpus: int
    #: Null: not known.
    total_gpus: int | None
    intensity_mg_per_kwh: int | None
    reliability_ppm: int | None
    #: Empty when the request would fit now.
    why_not: list[str]


class OfferListBody(ResponseBody):
    items: list[OfferBody]


class TemplateRequest(WorkloadFields):
    """What a public one says, its ``env`` too, is read by everybody."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    visibility: Literal["private", "public"] = "private"
    gpu_type: CatalogName | None = None
    gpu_count: GpuCount | None = None

    def read_content(self) -> TemplateContent:
        return TemplateContent(
            self.name, self.visibility == "public", self.read_workload(), self.gpu_type, self.gpu_count
        )


class ReplaceTemplateRequest(TemplateRequest):
    #: The version that was read; another one is refused.
    version: Annotated[int, Field(ge=1)]


class TemplateBody(ResponseBody):
    template_id: str
    account_id: str
    name: str
    visibility: str
    gpu_type: str | None = None
    gpu_count: int | None = None
    image: str | None = None
    command: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    ports: list[PortBody] = Field(default_factory=list)
    ssh_public_keys: list[str] = Field(default_factory=list)
    volume: VolumeBody | None = None
    created_at: str
    updated_at: str
    version: int


class TemplateListBody(ResponseBody):
    items: list[TemplateBody]
    next_cursor: str | None


def render_gpu_type(gpu_type: GpuType) -> GpuTypeBody:
    return GpuTypeBody(
        gpu_type=gpu_type.name,
        architecture=gpu_type.architecture,
        memory_mib=gpu_type.memory_mib,
        power_limit_watts=gpu_type.power_limit_watts,
        interconnect=gpu_type.interconnect,
        mig_profile=gpu_type.mig_profile,
        parent_gpu_type=gpu_type.parent_gpu_type,
    )


def render_price(price: Price) -> PriceBody:
    return PriceBody(
        gpu_type=price.gpu_type,
        region=price.region,
        billing_class=price.billing_class,
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        effective_from=format_instant(price.from_ms),
        effective_until=None if price.until_ms is None else format_instant(price.until_ms),
        version=price.version,
    )


def render_agreement(agreement: Agreement, currency: str) -> AgreementBody:
    terms = [
        TermBody(
            gpu_type=term.gpu_type,
            region=term.region,
            billing_class=term.billing_class,
            price_micros_per_gpu_hour=term.price_micros_per_gpu_hour,
            discount_ppm=term.discount_ppm,
            effective_from=format_instant(term.from_ms),
            effective_until=None if term.until_ms is None else format_instant(term.until_ms),
        )
        for term in agreement.terms
    ]
    return AgreementBody(
        account_id=agreement.account_id, currency=currency, terms=terms, version=agreement.version
    )


def render_history(
    key: PriceKey, currency: str, changes: list[PriceChange], next_cursor: str | None
) -> PriceHistoryBody:
    items = [
        PriceChangeBody(
            effective_from=format_instant(change.point.from_ms),
            price_micros_per_gpu_hour=change.point.price_micros_per_gpu_hour,
            version=change.point.version,
            set_at=format_instant(change.set_at_ms),
            origin=change.origin,
        )
        for change in changes
    ]
    return PriceHistoryBody(
        gpu_type=key.gpu_type,
        region=key.region,
        billing_class=key.billing_class,
        currency=currency,
        items=items,
        next_cursor=next_cursor,
    )


def render_offer(offer: Offer, currency: str) -> OfferBody:
    announced, gpu_type = offer.next_price, offer.gpu_type
    return OfferBody(
        gpu_type=offer.price.gpu_type,
        region=offer.price.region,
        billing_class=offer.price.billing_class,
        price_micros_per_gpu_hour=offer.price.price_micros_per_gpu_hour,
        list_price_micros_per_gpu_hour=(
            offer.price.list_price_micros_per_gpu_hour or offer.price.price_micros_per_gpu_hour
        ),
        next_price=None
        if announced is None
        else NextPriceBody(
            effective_from=format_instant(announced.from_ms),
            price_micros_per_gpu_hour=announced.price_micros_per_gpu_hour,
        ),
        currency=currency,
        memory_mib=gpu_type.memory_mib,
        architecture=gpu_type.architecture,
        interconnect=gpu_type.interconnect,
        mig_profile=gpu_type.mig_profile,
        parent_gpu_type=gpu_type.parent_gpu_type,
        availability=offer.availability,
        free_gpus=offer.capacity.free_gpus,
        largest_block_gpus=offer.capacity.largest_block_gpus,
        total_gpus=offer.capacity.total_gpus,
        intensity_mg_per_kwh=offer.intensity_mg_per_kwh,
        reliability_ppm=offer.capacity.reliability_ppm,
        why_not=list(offer.why_not),
    )


def render_template(template: Template) -> TemplateBody:
    return TemplateBody(
        template_id=template.template_id,
        account_id=template.account_id,
        name=template.name,
        visibility="public" if template.public else "private",
        created_at=format_instant(template.created_at_ms),
        updated_at=format_instant(template.updated_at_ms),
        version=template.version,
        **describe_defaults(template),
    )
