"""Verbs of what fills the wallet up: saved payment methods, auto top-up, Stripe's own page."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.output import Column, format_micros, print_facts, print_line, print_table
from provocative.cli.parsing import parse_money
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.money_models import AutoTopUp, PaymentMethod, WebPage

_Method = Annotated[str, typer.Argument(metavar="METHOD", help="As payment-methods shows it, pm_….")]
_Below = Annotated[
    int, typer.Option("--below", metavar="AMOUNT", parser=parse_money, help="When less is available.")
]
_Amount = Annotated[
    int, typer.Option("--amount", metavar="AMOUNT", parser=parse_money, help="What is paid in, such as 50.")
]
_MonthlyLimit = Annotated[
    int,
    typer.Option("--monthly-limit", metavar="AMOUNT", parser=parse_money, help="No more in a month (UTC)."),
]
_ReturnUrl = Annotated[
    str, typer.Option("--return-url", metavar="URL", help="Where the browser goes afterwards.")
]
_BACK = "https://provocative.cloud/paid"


def register(app: typer.Typer) -> None:
    methods = group(app, "payment-methods", "Saved payment methods: list, add, remove.", payment_methods)
    verb(methods)(add)
    verb(methods)(remove)
    orders = group(app, "auto-top-up", "Fill the wallet up by itself: show, set, off.", auto_top_up)
    verb(orders, "set")(put)
    verb(orders)(off)
    verb(app, "billing-portal")(billing_portal)


def payment_methods(session: Session) -> None:
    """List the saved payment methods."""
    session.show(session.client.paying.list_methods(), show_methods)


def add(
    session: Session, *, return_url: _ReturnUrl = _BACK, idempotency_key: options.IdempotencyKey = None
) -> None:
    """Open a page of Stripe on which a payment method is saved, and print its address."""
    page = session.client.paying.save_method(return_url, idempotency_key=idempotency_key)
    session.show(page, show_page)


def remove(session: Session, method: _Method, *, yes: options.Yes = False) -> None:
    """Forget a payment method; an auto top-up that is paid from it pauses."""
    session.confirm(f"Forget {method}?", yes=yes)
    session.client.paying.remove_method(method)
    session.show({"payment_method_id": method, "removed": True}, lambda _: print_line(f"{method}: removed."))


def auto_top_up(session: Session) -> None:
    """Show the auto top-up, and whether it is at work."""
    session.show(session.client.paying.read_auto_top_up(), show_auto_top_up)


def put(
    session: Session, method: _Method, *, below: _Below, amount: _Amount, monthly_limit: _MonthlyLimit
) -> None:
    """Pay in an amount whenever less than a threshold is available: at most once an hour."""
    order = session.client.paying.put_auto_top_up(
        method, threshold_micros=below, amount_micros=amount, monthly_limit_micros=monthly_limit
    )
    session.show(order, show_auto_top_up)


def off(session: Session) -> None:
    """Switch the auto top-up off; a payment that has begun comes to its end."""
    session.client.paying.remove_auto_top_up()
    session.show({"state": "off"}, lambda _: print_line("The auto top-up is off."))


def billing_portal(session: Session, *, return_url: _ReturnUrl = _BACK) -> None:
    """Open Stripe's own page for payment methods and receipts, and print its address."""
    session.show(session.client.paying.open_portal(return_url), show_page)


def show_page(page: WebPage) -> None:
    print_facts([("open in a browser", page["url"])])


def show_methods(methods: list[PaymentMethod]) -> None:
    columns = [Column("METHOD"), Column("KIND"), Column("OF"), Column("ENDS IN"), Column("EXPIRES")]
    rows = [
        [
            each["payment_method_id"],
            each["kind"],
            each["brand"] or "-",
            each["last4"] or "-",
            each["expires"] or "-",
        ]
        for each in methods
    ]
    print_table(columns, rows, empty="None is saved yet; provocative payment-methods add.")


def show_auto_top_up(order: AutoTopUp) -> None:
    currency = order["currency"]
    spent = format_micros(order["month_micros"], currency)
    print_facts(
        [
            ("state", order["state"].replace("_", " ")),
            ("paused, since", (order["paused_reason"] or "").replace("_", " ") or None),
            ("below", format_micros(order["threshold_micros"], currency)),
            ("amount", format_micros(order["amount_micros"], currency)),
            ("this month", f"{spent} of {format_micros(order['monthly_limit_micros'], currency)}"),
            ("paid from", order["payment_method_id"]),
            ("attempt", order["top_up_id"]),
        ]
    )
