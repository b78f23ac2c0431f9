"""Routes of the catalogue."""

import re
from http import HTTPStatus
from typing import get_args

from chalicelib import wiring
from chalicelib.catalog import agreements, offers, service, templates
from chalicelib.catalog.model import GpuType, PriceKey
from chalicelib.catalog.schemas import (
    MAX_PRICE_MICROS,
    AgreementBody,
    AgreementRequest,
    GpuTypeBody,
    GpuTypeRequest,
    OfferListBody,
    PriceBody,
    PriceHistoryBody,
    PriceRequest,
    ReplaceTemplateRequest,
    TemplateBody,
    TemplateListBody,
    TemplateRequest,
    VolumePriceBody,
    VolumePriceRequest,
    VolumePricesBody,
    render_agreement,
    render_gpu_type,
    render_history,
    render_offer,
    render_price,
    render_template,
)
from chalicelib.catalog.spot import PPM
from chalicelib.core.capacity import BILLING_CLASSES
from chalicelib.core.errors import InvalidInput
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import (
    PAGING,
    SORTED_PAGING,
    read_choice,
    read_instant,
    read_integer,
    read_limit,
    read_sort,
    require,
)
from chalicelib.runtime.workload_bodies import MAX_GPUS_PER_RENTAL

api = Api(__name__, wiring.authenticate)

OFFER_QUERY = frozenset(
    {
        "gpu_type",
        "gpu_count",
        "min_memory_mib",
        "region",
        "billing_class",
        "max_price_micros_per_gpu_hour",
        "max_intensity_mg_per_kwh",
        "min_reliability_ppm",
        "sort",
    }
)
HISTORY_QUERY = PAGING | {"gpu_type", "region", "billing_class", "from", "to"}
_SORTS: tuple[offers.OfferSort, ...] = get_args(offers.OfferSort)
#: Of numbers that only filter: more digits than any of them has.
_MAX_NUMBER = 10**12
_FOR_EVER_MS = 10**15
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


@api.route("GET", "/v1/offers", permission="offers:read", query=OFFER_QUERY)
def list_offers(call: Call) -> Answer[OfferListBody]:
    """List what can be rented now, with why a request would not fit."""
    principal, catalog = call.principal, wiring.cached_catalog().get(fresh=True)
    found = offers.list_offers(
        wiring.offer_ports(),
        catalog.of_account(principal.account_id),
        _read_offer_query(call),
        # Whoever may not rent has neither a quota nor a balance that an offer could exceed.
        account_id=principal.account_id if "rentals:write" in principal.permissions else None,
        now_ms=wiring.clock().now_ms(),
    )
    currency = wiring.settings().currency
    return Answer(OfferListBody(items=[render_offer(offer, currency) for offer in found]))


@api.route("GET", "/v1/prices/history", permission="offers:read", query=HISTORY_QUERY)
def list_price_history(call: Call) -> Answer[PriceHistoryBody]:
    """List the prices of a pool and class that were ever set or announced, newest first."""
    query = call.query
    require(query, "gpu_type", "region")
    billing_class = read_choice(query, "billing_class", BILLING_CLASSES) or "on_demand"
    key = PriceKey(_check_name(query["gpu_type"]), _check_name(query["region"]), billing_class)
    from_ms, to_ms = read_instant(query, "from"), read_instant(query, "to")
    page = wiring.catalog_ports().store.list_history(
        key,
        0 if from_ms is None else from_ms,
        _FOR_EVER_MS if to_ms is None else to_ms,
        read_limit(query),
        decode_cursor(query.get("cursor")),
    )
    currency = wiring.settings().currency
    return Answer(render_history(key, currency, list(page.items), encode_cursor(page.next_key)))


@api.route("GET", "/v1/agreement", permission="offers:read")
def get_agreement(call: Call) -> Answer[AgreementBody]:
    """Show what the caller's account pays by agreement."""
    agreement = agreements.read_agreement(wiring.catalog_ports(), call.principal.account_id)
    return Answer(render_agreement(agreement, wiring.settings().currency))


@api.route("GET", "/v1/accounts/{account_id}/agreement", permission="catalog:write")
def get_account_agreement(_call: Call, account_id: str) -> Answer[AgreementBody]:
    """Show what an account pays by agreement."""
    agreement = agreements.read_agreement(wiring.catalog_ports(), account_id)
    return Answer(render_agreement(agreement, wiring.settings().currency))


@api.route("PUT", "/v1/accounts/{account_id}/agreement", permission="catalog:write", body=AgreementRequest)
def put_agreement(call: Call, account_id: str) -> Answer[AgreementBody]:
    """Replace what an account pays by agreement, if it is still at the version that was read."""
    body: AgreementRequest = call.read_body(AgreementRequest)
    agreement = agreements.put_agreement(
        wiring.catalog_ports(),
        call.principal,
        body.read(account_id),
        wiring.known_regions(),
        wiring.account_exists,
    )
    return Answer(render_agreement(agreement, wiring.settings().currency))


@api.route("PUT", "/v1/gpu-types/{gpu_type}", permission="catalog:write", body=GpuTypeRequest)
def put_gpu_type(call: Call, gpu_type: str) -> Answer[GpuTypeBody]:
    """Create or replace a GPU type."""
    body: GpuTypeRequest = call.read_body(GpuTypeRequest)
    entity = GpuType(
        _check_name(gpu_type),
        body.architecture,
        body.memory_mib,
        body.power_limit_watts,
        body.interconnect,
        body.mig_profile,
        body.parent_gpu_type,
    )
    return Answer(render_gpu_type(service.put_gpu_type(wiring.catalog_ports(), call.principal, entity)))


@api.route("PUT", "/v1/gpu-types/{gpu_type}/prices/{region}", permission="catalog:write", body=PriceRequest)
def put_price(call: Call, gpu_type: str, region: str) -> Answer[PriceBody]:
    """Set the price per GPU-hour of a class in a region, from now or from an instant to come."""
    body: PriceRequest = call.read_body(PriceRequest)
    price = service.put_price(
        wiring.catalog_ports(),
        call.principal,
        gpu_type=_check_name(gpu_type),
        region=region,
        known_regions=wiring.known_regions(),
        price_micros_per_gpu_hour=body.price_micros_per_gpu_hour,
        billing_class=body.billing_class,
        effective_from_ms=body.effective_from,
        bounds=body.read_bounds(),
    )
    return Answer(render_price(price))


@api.route("PUT", "/v1/volume-prices/{region}", permission="catalog:write", body=VolumePriceRequest)
def put_volume_price(call: Call, region: str) -> Answer[VolumePriceBody]:
    """Set what a stopped rental's volume costs in a region; rentals that are placed already keep theirs."""
    body: VolumePriceRequest = call.read_body(VolumePriceRequest)
    micros = body.price_micros_per_gib_hour
    ports = wiring.catalog_ports()
    service.put_volume_price(ports, call.principal, region, micros, wiring.known_regions())
    currency = wiring.settings().currency
    return Answer(VolumePriceBody(region=region, price_micros_per_gib_hour=micros, currency=currency))


@api.route("GET", "/v1/volume-prices", permission="offers:read")
def list_volume_prices(_call: Call) -> Answer[VolumePricesBody]:
    """Show what volumes of stopped rentals cost, by region."""
    prices = wiring.catalog_ports().store.read_catalog().volume_prices_micros
    currency = wiring.settings().currency
    items = [
        VolumePriceBody(region=region, price_micros_per_gib_hour=micros, currency=currency)
        for region, micros in sorted(prices.items())
    ]
    return Answer(VolumePricesBody(items=items))


@api.route("POST", "/v1/templates", permission="templates:write", body=TemplateRequest)
def create_template(call: Call) -> Answer[TemplateBody]:
    """Keep defaults of a rental under a name, once per Idempotency-Key."""
    body: TemplateRequest = call.read_body(TemplateRequest)
    command = templates.CreateTemplate(
        content=body.read_content(),
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint("POST /v1/templates", call.raw_body),
        render=lambda template: render_template(template).model_dump_json(),
    )
    created = templates.create_template(wiring.template_ports(), call.principal, command)
    return Answer(created.body, HTTPStatus(created.status), tell_replayed(created))


@api.route("GET", "/v1/templates", permission="templates:read", query=SORTED_PAGING)
def list_templates(call: Call) -> Answer[TemplateListBody]:
    """List the account's templates and everybody's public ones, newest first."""
    page = wiring.template_ports().store.list_visible(
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
        oldest_first=read_sort(call.query),
    )
    items = [render_template(template) for template in page.items]
    return Answer(TemplateListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/templates/{template_id}", permission="templates:read", tagged=True)
def get_template(call: Call, template_id: str) -> Answer[TemplateBody]:
    """Show a template."""
    found = templates.read_template(wiring.template_ports(), call.principal, template_id)
    return Answer(render_template(found))


@api.route(
    "PUT",
    "/v1/templates/{template_id}",
    permission="templates:write",
    body=ReplaceTemplateRequest,
    conditional=True,
)
def replace_template(call: Call, template_id: str) -> Answer[TemplateBody]:
    """Replace a template of the caller's account, if it is still at the version that was read."""
    body: ReplaceTemplateRequest = call.read_body(ReplaceTemplateRequest)
    changed = templates.replace_template(
        wiring.template_ports(),
        call.principal,
        template_id,
        body.read_content(),
        version=body.version,
        check=call.match(render_template),
    )
    return Answer(render_template(changed))


@api.route("DELETE", "/v1/templates/{template_id}", permission="templates:write", conditional=True)
def remove_template(call: Call, template_id: str) -> Answer[None]:
    """Remove a template of the caller's account."""
    templates.remove_template(
        wiring.template_ports(), call.principal, template_id, call.match(render_template)
    )
    return Answer(status=HTTPStatus.NO_CONTENT)


def _read_offer_query(call: Call) -> offers.OfferQuery:
    query = call.query
    return offers.OfferQuery(
        gpu_type=query.get("gpu_type"),
        region=query.get("region"),
        billing_class=read_choice(query, "billing_class", BILLING_CLASSES),
        gpu_count=read_integer(query, "gpu_count", minimum=1, maximum=MAX_GPUS_PER_RENTAL) or 1,
        min_memory_mib=read_integer(query, "min_memory_mib", maximum=_MAX_NUMBER),
        max_price_micros_per_gpu_hour=read_integer(
            query, "max_price_micros_per_gpu_hour", maximum=MAX_PRICE_MICROS
        ),
        max_intensity_mg_per_kwh=read_integer(query, "max_intensity_mg_per_kwh", maximum=_MAX_NUMBER),
        min_reliability_ppm=read_integer(query, "min_reliability_ppm", maximum=PPM),
        sort=read_choice(query, "sort", _SORTS) or "price",
    )


def _check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InvalidInput("A name has 1 to 64 letters, digits, dots and hyphens.")
    return name
