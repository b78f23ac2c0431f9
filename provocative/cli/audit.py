"""The verb of the audit trail."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.fleet_views import show_audit
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.session import Session
from provocative.cli.verbs import verb

_Target = Annotated[
    str | None, typer.Option("--target", metavar="ID", help="What it was done to: a host, a rental, a pool.")
]
_Actor = Annotated[str | None, typer.Option("--actor", metavar="KEY", help="Who did it, key_….")]


def register(app: typer.Typer) -> None:
    verb(app)(audit)


def audit(
    session: Session,
    *,
    target: _Target = None,
    actor: _Actor = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what was done to something, or by a key, newest first."""
    if (target is None) == (actor is None):
        raise typer.BadParameter("Ask for --target or for --actor.")
    page = fetch_page(
        session.client.fleet.list_audit,
        limit=limit,
        cursor=cursor,
        everything=everything,
        target=target,
        actor=actor,
    )
    show_page(session, page, show_audit)
