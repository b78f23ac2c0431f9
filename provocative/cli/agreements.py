"""Verbs of what an account pays by agreement; operators write it."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.output import Column, format_instant, format_micros, format_share, print_table
from provocative.cli.parsing import given, parse_instant, parse_money, parse_share
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.models import Agreement, Term
from provocative.requests import TermRequest

_Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="acc_….")]
_Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="As agreement shows it.")]
_Price = Annotated[
    int | None,
    typer.Option("--price", metavar="AMOUNT", parser=parse_money, help="Per GPU and hour; with --gpu-type."),
]
_Discount = Annotated[
    int | None,
    typer.Option("--discount", metavar="SHARE", parser=parse_share, help="Off the list price, such as 20%."),
]
_Until = Annotated[
    str | None,
    typer.Option("--until", metavar="INSTANT", parser=parse_instant, help="Its end; left out, it has none."),
]


def register(app: typer.Typer) -> None:
    nested = group(app, "agreement", "What the account pays by agreement; operators write it.", agreement)
    verb(nested)(of)
    verb(nested)(add)
    verb(nested)(drop)


def agreement(session: Session) -> None:
    """Show the prices and discounts that the account has by agreement."""
    session.show(session.client.catalog.read_agreement(), show_agreement)


def of(session: Session, account_id: _Account) -> None:
    """Show the prices and discounts of an account."""
    session.show(session.client.catalog_desk.read_agreement(account_id), show_agreement)


def add(
    session: Session,
    account_id: _Account,
    *,
    price: _Price = None,
    discount: _Discount = None,
    gpu_type: options.GpuType = None,
    region: options.Region = None,
    billing_class: options.Class = None,
    from_: options.From = None,
    until: _Until = None,
) -> None:
    """Promise an account a price of a GPU type, or a discount: in a minute, or from an instant to come."""
    term: TermRequest = given(
        price_micros_per_gpu_hour=price,
        discount_ppm=discount,
        gpu_type=gpu_type,
        region=region,
        billing_class=billing_class,
        effective_from=from_ or parse_instant("now"),
        effective_until=until,
    )
    desk = session.client.catalog_desk
    found = desk.read_agreement(account_id)
    terms = [*(_repeat(each) for each in found["terms"]), term]
    session.show(desk.put_agreement(account_id, terms, version=found["version"]), show_agreement)


def drop(session: Session, account_id: _Account, number: _Number, *, yes: options.Yes = False) -> None:
    """Take a term back. What runs keeps the price that it started with."""
    desk = session.client.catalog_desk
    found = desk.read_agreement(account_id)
    if number > len(found["terms"]):
        raise typer.BadParameter(f"There is no term {number}; the account has {len(found['terms'])}.")
    session.confirm(f"Take term {number} of {account_id} back?", yes=yes)
    terms = [_repeat(each) for at, each in enumerate(found["terms"], 1) if at != number]
    session.show(desk.put_agreement(account_id, terms, version=found["version"]), show_agreement)


def _repeat(term: Term) -> TermRequest:
    request: TermRequest = given(**term)
    return request


def show_agreement(found: Agreement) -> None:
    columns = [
        Column("#", right=True),
        Column("GPU TYPE"),
        Column("REGION"),
        Column("CLASS"),
        Column("PAYS", right=True),
        Column("FROM"),
        Column("UNTIL"),
    ]
    rows = [
        [
            str(number),
            term["gpu_type"],
            term["region"],
            term["billing_class"],
            _format_price(term, found["currency"]),
            format_instant(term["effective_from"]),
            format_instant(term["effective_until"]) if term["effective_until"] else "-",
        ]
        for number, term in enumerate(found["terms"], 1)
    ]
    print_table(columns, rows, empty="There is no agreement: the list prices hold.")


def _format_price(term: Term, currency: str) -> str:
    if term["discount_ppm"] is not None:
        return f"list less {format_share(term['discount_ppm'])}"
    return format_micros(term["price_micros_per_gpu_hour"], currency)
