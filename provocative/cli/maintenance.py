"""Verbs of announced maintenance: renters are told, the host closes ahead and opens after."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.fleet_views import show_window, show_windows
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given, parse_duration, parse_instant
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.requests import WindowRequest

_Id = Annotated[str, typer.Argument(metavar="WINDOW", help="As maintenance shows it, mnt_….")]
_OfHost = Annotated[
    str | None, typer.Option("--host", metavar="HOST", help="Of this host only, past ones too.")
]
_From = Annotated[
    str,
    typer.Option("--from", metavar="INSTANT", parser=parse_instant, help="2026-11-23T09:00Z, now or +2h30m."),
]
_To = Annotated[
    str, typer.Option("--to", metavar="INSTANT", parser=parse_instant, help="2026-11-23T12:00Z or +5h.")
]
_Category = Annotated[
    str, typer.Option("--category", metavar="KIND", help="power, internet, disk, gpu, software or other.")
]
_Lead = Annotated[
    int | None,
    typer.Option("--lead", metavar="DURATION", parser=parse_duration, help="Closed that long before, 2h."),
]


def register(app: typer.Typer) -> None:
    nested = group(app, "maintenance", "Announced maintenance of hosts: list, plan, cancel.", maintenance)
    for function in (plan, show, cancel):
        verb(nested)(function)


def maintenance(
    session: Session,
    *,
    host: _OfHost = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what is announced or under way."""
    page = fetch_page(
        session.client.fleet.list_windows, limit=limit, cursor=cursor, everything=everything, host_id=host
    )
    show_page(session, page, show_windows)


def plan(
    session: Session,
    host_id: options.HostId,
    *,
    from_: _From,
    to: _To,
    reason: options.Reason,
    category: _Category = "other",
    lead: _Lead = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Announce maintenance of a host; its renters are told at once."""
    request: WindowRequest = given(
        host_id=host_id, category=category, reason=reason, starts_at=from_, ends_at=to, lead_seconds=lead
    )
    window = session.client.fleet.plan_window(request, idempotency_key=idempotency_key)
    session.show(window, show_window)


def show(session: Session, window_id: _Id) -> None:
    """Show one window."""
    session.show(session.client.fleet.read_window(window_id), show_window)


def cancel(session: Session, window_id: _Id) -> None:
    """Call maintenance off, or end it early; the host opens again."""
    session.show(session.client.fleet.cancel_window(window_id), show_window)
