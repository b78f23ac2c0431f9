"""Verbs of reservations: GPUs from one quarter of an hour to another."""

from typing import Annotated, Any

import typer

from provocative.cli import options
from provocative.cli.money_views import show_quota
from provocative.cli.output import format_micros, print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given, parse_instant
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.cli.views import show_availability, show_reservation, show_reservations
from provocative.requests import ReservationRequest

_Id = Annotated[str, typer.Argument(metavar="RESERVATION", help="As reservations shows it, rsv_….")]
_Type = Annotated[str, typer.Option("--gpu-type", "-g", metavar="NAME", help="Such as H100-SXM-80GB.")]
_Region = Annotated[str, typer.Option("--region", "-r", metavar="NAME", help="Such as eu-north-1.")]
_From = Annotated[
    str,
    typer.Option(
        "--from", metavar="INSTANT", parser=parse_instant, help="A full quarter, 2026-11-23T09:15Z."
    ),
]
_To = Annotated[
    str,
    typer.Option("--to", metavar="INSTANT", parser=parse_instant, help="A full quarter, 2026-11-23T12:00Z."),
]


def register(app: typer.Typer) -> None:
    nested = group(app, "reservations", "GPUs promised for a window: list, book, cancel.", reservations)
    verb(nested)(create)
    verb(nested)(show)
    verb(nested)(cancel)
    verb(nested)(availability)
    verb(nested)(quota)


def reservations(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the reservations, newest first."""
    page = fetch_page(session.client.reservations.list, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_reservations)


def create(
    session: Session,
    *,
    gpu_type: _Type,
    region: _Region,
    from_: _From,
    to: _To,
    gpus: options.GpuCount = None,
    nodes: options.Nodes = None,
    label: options.Label = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Book GPUs on one host, or whole hosts of one fabric; rent --reservation ID uses them."""
    request: ReservationRequest = given(
        gpu_type=gpu_type,
        region=region,
        gpu_count=gpus or 1,
        node_count=nodes,
        starts_at=from_,
        ends_at=to,
        label=label,
    )
    made = session.client.reservations.create(request, idempotency_key=idempotency_key)
    session.show(made, show_reservation)


def show(session: Session, reservation_id: _Id) -> None:
    """Show one reservation: its window, its hosts, what is in use."""
    session.show(session.client.reservations.read(reservation_id), show_reservation)


def cancel(session: Session, reservation_id: _Id, *, yes: options.Yes = False) -> None:
    """Cancel a reservation; the nearer its window, the more of the price is kept."""
    session.confirm(f"Cancel {reservation_id}? Part of its price may be kept.", yes=yes)

    def render(body: Any) -> None:
        kept = format_micros(body["cancel_fee_micros"], body["currency"])
        print_line(f"{body['reservation_id']} is {body['state']}; {kept} of its price is kept.")

    session.show(session.client.reservations.cancel(reservation_id), render)


def availability(
    session: Session,
    *,
    gpu_type: _Type,
    region: _Region,
    from_: _From,
    to: _To,
    gpus: options.GpuCount = None,
) -> None:
    """Show hour by hour what could be booked; nothing is promised by looking."""
    body = session.client.reservations.preview(
        gpu_type=gpu_type, region=region, from_=from_, to=to, gpu_count=gpus
    )
    session.show(body, show_availability)


def quota(session: Session) -> None:
    """Show how many GPUs the account may have reserved at once, and has."""
    session.show(session.client.reservations.read_quota(), show_quota)
