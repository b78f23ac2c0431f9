"""Bodies of the routes of statements."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, JsonValue

from chalicelib.core.clock import format_instant
from chalicelib.core.paging import Page, encode_cursor
from chalicelib.runtime.bodies import RequestBody, ResponseBody
from chalicelib.statements.model import (
    MAX_ADDRESS_LINES,
    PRINTABLE,
    Head,
    Movement,
    Party,
    Statement,
    StayCharge,
)
from chalicelib.statements.ports import Link

#: Of stays and of movements in one answer; the CSV has each.
MAX_ROWS = 1000

#: Letters that our documents can print; whoever uses others is told so with a code of its own.
_PRINTED: Mapping[str, JsonValue] = {"pattern": PRINTABLE}
Line = Annotated[str, Field(min_length=1, max_length=100, json_schema_extra=dict(_PRINTED))]


class BillingDetailsRequest(RequestBody):
    name: Line
    address_lines: Annotated[list[Line], Field(max_length=MAX_ADDRESS_LINES)] = Field(default_factory=list)
    #: ISO 3166-1 alpha-2.
    country: Annotated[str, Field(max_length=2, pattern="^[A-Z]{2}$")]
    tax_id: Annotated[str, Field(max_length=30, json_schema_extra=dict(_PRINTED))] = ""


class PartyBody(ResponseBody):
    name: str
    address_lines: list[str]
    country: str
    tax_id: str


class HeadBody(ResponseBody):
    #: ``yyyy-mm``, UTC.
    month: str
    #: ``open``: may still be posted to; ``closed``: over; ``issued``: final, with a number.
    state: str
    number: str | None
    issued_at: str | None
    currency: str
    #: SHA-256 of the documents, by format.
    digests: dict[str, str]


class HeadsBody(ResponseBody):
    items: list[HeadBody]
    next_cursor: str | None


class BalanceBody(ResponseBody):
    paid_micros: int
    promo_micros: int
    #: The last entry of the wallet's chain by then, and its hash; ``null`` while the month is open.
    entry_version: int | None
    chain_hash: str | None


class ChargesBody(ResponseBody):
    gpu_seconds: int
    charge_micros: int
    from_paid_micros: int
    from_promo_micros: int
    #: Used after the money was gone: not charged.
    borne_by_platform_micros: int


class StayBody(ResponseBody):
    rental_id: str
    #: Numbers the rental's stays on hosts from 1.
    segment: int
    gpu_type: str
    gpu_count: int
    region: str
    label: str | None
    price_micros_per_gpu_hour: int
    first_day: str
    last_day: str
    seconds: int
    charge_micros: int
    from_paid_micros: int
    from_promo_micros: int
    borne_by_platform_micros: int


class MovementBody(ResponseBody):
    posted_at: str
    kind: str
    paid_micros: int
    promo_micros: int
    tax_micros: int
    journal_key: str
    note: str


class TotalBody(ResponseBody):
    kind: str
    paid_micros: int
    promo_micros: int


class StatementBody(HeadBody):
    account_id: str
    seller: PartyBody
    customer: PartyBody
    opening: BalanceBody
    closing: BalanceBody
    charges: ChargesBody
    totals: list[TotalBody]
    tax_micros: int
    #: The dearest first.
    stays: list[StayBody]
    stay_count: int
    movements: list[MovementBody]
    movement_count: int


class LinkBody(ResponseBody):
    #: Whoever has it may fetch the document.
    url: str
    expires_at: str


def read_party(body: BillingDetailsRequest) -> Party:
    return Party(body.name, tuple(body.address_lines), body.country, body.tax_id)


def render_party(party: Party) -> PartyBody:
    return PartyBody(
        name=party.name,
        address_lines=list(party.address_lines),
        country=party.country,
        tax_id=party.tax_id,
    )


def render_heads(page: Page[Head]) -> HeadsBody:
    items = [
        HeadBody(
            month=head.month,
            state=head.state,
            number=head.number,
            issued_at=_format_issued(head),
            currency=head.currency,
            digests=dict(head.digests),
        )
        for head in page.items
    ]
    return HeadsBody(items=items, next_cursor=encode_cursor(page.next_key))


def _format_issued(head: Head) -> str | None:
    return None if head.numbered_at_ms is None else format_instant(head.numbered_at_ms)


def render_link(link: Link) -> LinkBody:
    return LinkBody(url=link.url, expires_at=format_instant(link.expires_at_ms))


def render_statement(statement: Statement) -> StatementBody:
    head = statement.head
    dearest = sorted(statement.stays, key=lambda each: (-each.micros, each.rental_id, each.segment))
    return StatementBody(
        account_id=head.account_id,
        month=head.month,
        state=head.state,
        number=head.number,
        issued_at=_format_issued(head),
        currency=head.currency,
        digests=dict(head.digests),
        seller=render_party(statement.seller),
        customer=render_party(statement.customer),
        opening=BalanceBody(
            paid_micros=head.opening.paid_micros,
            promo_micros=head.opening.promo_micros,
            entry_version=head.opening.leg_version,
            chain_hash=head.opening.chain_hash,
        ),
        closing=BalanceBody(
            paid_micros=statement.closing_paid_micros,
            promo_micros=statement.closing_promo_micros,
            entry_version=None if head.closing is None else head.closing.leg_version,
            chain_hash=None if head.closing is None else head.closing.chain_hash,
        ),
        charges=ChargesBody(
            gpu_seconds=statement.gpu_seconds,
            charge_micros=statement.charged_micros,
            from_paid_micros=statement.charged_paid_micros,
            from_promo_micros=statement.charged_promo_micros,
            borne_by_platform_micros=statement.overrun_micros,
        ),
        totals=[
            TotalBody(kind=each.kind, paid_micros=each.paid_micros, promo_micros=each.promo_micros)
            for each in statement.totals
        ],
        tax_micros=statement.tax_micros,
        stays=_render_stays(dearest[:MAX_ROWS]),
        stay_count=len(statement.stays),
        movements=[_render_movement(each) for each in statement.movements[:MAX_ROWS]],
        movement_count=len(statement.movements),
    )


def _render_stays(stays: Sequence[StayCharge]) -> list[StayBody]:
    return [
        StayBody(
            rental_id=stay.rental_id,
            segment=stay.segment,
            gpu_type=stay.gpu_type,
            gpu_count=stay.gpu_count,
            region=stay.region,
            label=stay.label,
            price_micros_per_gpu_hour=stay.price_micros_per_gpu_hour,
            first_day=stay.first_day,
            last_day=stay.last_day,
            seconds=stay.seconds,
            charge_micros=stay.micros,
            from_paid_micros=stay.paid_micros,
            from_promo_micros=stay.promo_micros,
            borne_by_platform_micros=stay.overrun_micros,
        )
        for stay in stays
    ]


def _render_movement(movement: Movement) -> MovementBody:
    return MovementBody(
        posted_at=format_instant(movement.posted_at_ms),
        kind=movement.kind,
        paid_micros=movement.paid_micros,
        promo_micros=movement.promo_micros,
        tax_micros=movement.tax_micros,
        journal_key=movement.journal_key,
        note=movement.note,
    )
