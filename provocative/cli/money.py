"""Verbs of money: what is left, and what a rental has cost."""

from typing import Annotated

import typer

from provocative.cli.money_views import show_quota, show_receipt, show_wallet
from provocative.cli.session import Session
from provocative.cli.verbs import verb

_Rental = Annotated[str | None, typer.Argument(metavar="[RENTAL]", help="Its receipt; else the wallet.")]


def register(app: typer.Typer) -> None:
    verb(app)(cost)
    verb(app)(quota)


def cost(session: Session, rental_id: _Rental = None) -> None:
    """Show the wallet, or the receipt of a rental: money, energy and emissions."""
    if rental_id is None:
        session.show(session.client.money.read_wallet(), show_wallet)
    else:
        session.show(session.client.rentals.read_receipt(rental_id), show_receipt)


def quota(session: Session) -> None:
    """Show how many GPUs the account may have at once, and has."""
    session.show(session.client.money.read_quota(), show_quota)
