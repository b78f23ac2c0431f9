"""Verbs of money: what is left, what a rental has cost, what was posted."""

from collections.abc import Iterator
from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.money_views import (
    show_entries,
    show_proof,
    show_quota,
    show_receipt,
    show_top_up,
    show_top_ups,
    show_usage,
    show_wallet,
)
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import parse_instant, parse_money
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import verb
from provocative.money_models import LedgerEntry
from provocative.proving import is_in_seal, leads_to

_Rental = Annotated[str | None, typer.Argument(metavar="[RENTAL]", help="Its receipt; else the wallet.")]


_Limit = Annotated[
    int | None,
    typer.Argument(metavar="[AMOUNT]", parser=parse_money, help="An hour, such as 80; none lifts it."),
]


#: The most that the API gives.
_PAGE = 100

_Day = Annotated[str, typer.Argument(metavar="DAY", help="Such as 2026-11-29; UTC.")]
_From = Annotated[
    str | None, typer.Option("--from", metavar="INSTANT", parser=parse_instant, help="Such as 2026-11-01Z.")
]
_To = Annotated[
    str | None, typer.Option("--to", metavar="INSTANT", parser=parse_instant, help="Up to now by itself.")
]
_Bucket = Annotated[str | None, typer.Option("--by", metavar="BUCKET", help="hour, day or month.")]
_GroupBy = Annotated[
    str | None, typer.Option("--group-by", metavar="WHAT", help="none, rental, label or gpu_type.")
]
_Amount = Annotated[int, typer.Argument(metavar="AMOUNT", parser=parse_money, help="Such as 50 or 12.50.")]
_ReturnUrl = Annotated[
    str, typer.Option("--return-url", metavar="URL", help="Where the browser goes afterwards.")
]


def register(app: typer.Typer) -> None:
    verb(app)(cost)
    verb(app)(ledger)
    verb(app, "ledger-proof")(ledger_proof)
    verb(app)(usage)
    verb(app, "topup")(topup)
    verb(app, "topups")(topups)
    verb(app, "spend-limit")(spend_limit)
    verb(app)(quota)


def cost(session: Session, rental_id: _Rental = None) -> None:
    """Show the wallet, or the receipt of a rental: money, energy and emissions."""
    if rental_id is None:
        session.show(session.client.money.read_wallet(), show_wallet)
    else:
        session.show(session.client.rentals.read_receipt(rental_id), show_receipt)


def ledger(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what was posted to the wallet, newest first: charges, credits, and why."""
    page = fetch_page(session.client.money.list_entries, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_entries)


def ledger_proof(session: Session, day: _Day) -> None:
    """Check that the ledger leads, entry by entry, to what was sealed on a day; print the day's root."""
    proof = session.client.money.prove_ledger(day)
    if not is_in_seal(proof):
        raise Refused(f"The seal of {day} does not hold this account's ledger.", code="not_in_seal")
    if not leads_to(proof, _list_entries(session)):
        raise Refused(
            f"The ledger of today does not lead to entry {proof['version']}, which was sealed on {day}.",
            code="ledger_changed",
        )
    session.show(proof, show_proof)


def _list_entries(session: Session) -> Iterator[LedgerEntry]:
    cursor: str | None = None
    while True:
        page = session.client.money.list_entries(limit=_PAGE, cursor=cursor)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def usage(
    session: Session,
    *,
    from_: _From = None,
    to: _To = None,
    bucket: _Bucket = None,
    group_by: _GroupBy = None,
) -> None:
    """Sum what was used by hour, day or month; the last 30 days where no range is given."""
    found = session.client.money.read_usage(from_=from_, to=to, bucket=bucket, group_by=group_by)
    session.show(found, show_usage)


def topup(
    session: Session,
    amount: _Amount,
    *,
    return_url: _ReturnUrl = "https://provocative.cloud/paid",
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Open a page on which an amount is paid into the wallet, and print its address."""
    made = session.client.money.top_up(amount, return_url, idempotency_key=idempotency_key)
    session.show(made, show_top_up)


def topups(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the top-ups, newest first."""
    page = fetch_page(session.client.money.list_top_ups, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_top_ups)


def spend_limit(session: Session, amount: _Limit = None) -> None:
    """Bound what everything that runs may cost an hour; a start beyond it is refused."""
    session.show(session.client.money.set_spend_limit(amount), show_wallet)


def quota(session: Session) -> None:
    """Show how many GPUs the account may have at once, and has."""
    session.show(session.client.money.read_quota(), show_quota)
