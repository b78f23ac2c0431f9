"""Verbs of removals that are bought for residual emissions: settings, and what came of each month."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.output import Column, format_micros, print_facts, print_table
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import parse_money
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.money_models import RemovalPurchase, RemovalSettings

_Month = Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-11; UTC.")]
_MonthlyLimit = Annotated[
    int,
    typer.Option("--monthly-limit", metavar="AMOUNT", parser=parse_money, help="No more for a month (UTC)."),
]
_Beneficiary = Annotated[
    str | None, typer.Option("--beneficiary", metavar="NAME", help="In whose name, in public.")
]
_MG_PER_KG = 1_000_000


def register(app: typer.Typer) -> None:
    about = "Removals bought for residual emissions: list, show, settings, set, off."
    nested = group(app, "removal-purchases", about, removal_purchases)
    verb(nested)(show)
    verb(nested)(settings)
    verb(nested, "set")(put)
    verb(nested)(off)


def removal_purchases(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what was bought month by month, newest first."""
    fetch = session.client.removal_purchases.list
    page = fetch_page(fetch, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_purchases)


def show(session: Session, month: _Month) -> None:
    """Show what was bought for a month, and how far it is."""
    session.show(session.client.removal_purchases.read(month), show_purchase)


def settings(session: Session) -> None:
    """Show whether removals are bought, and for how much a month at most."""
    session.show(session.client.removal_purchases.read_settings(), show_settings)


def put(session: Session, *, monthly_limit: _MonthlyLimit, beneficiary: _Beneficiary = None) -> None:
    """Buy removals for what is left of each month's emissions, from this month on."""
    wanted = session.client.removal_purchases.put_settings(
        enabled=True, max_micros_per_month=monthly_limit, beneficiary_name=beneficiary
    )
    session.show(wanted, show_settings)


def off(session: Session) -> None:
    """Buy for no further month; what has begun comes to its end."""
    client = session.client.removal_purchases
    now = client.read_settings()
    wanted = client.put_settings(
        enabled=False,
        max_micros_per_month=now["max_micros_per_month"],
        beneficiary_name=now["beneficiary_name"],
    )
    session.show(wanted, show_settings)


def show_settings(wanted: RemovalSettings) -> None:
    print_facts(
        [
            ("removals are bought", "yes" if wanted["enabled"] else "no"),
            ("a month at most", format_micros(wanted["max_micros_per_month"], wanted["currency"])),
            ("in the name of", wanted["beneficiary_name"]),
            ("next month", wanted["next_month"]),
        ]
    )


def show_purchases(purchases: list[RemovalPurchase]) -> None:
    columns = [
        Column("MONTH"),
        Column("STATE"),
        Column("RESIDUAL", right=True, rank=1),
        Column("BOUGHT", right=True),
        Column("PRICE", right=True),
        Column("WHY", rank=2),
    ]
    rows = [
        [
            each["month"],
            each["state"].replace("_", " "),
            format_mass(each["residual_mg"]),
            format_mass(each["quantity_mg"]),
            format_micros(each["price_micros"], each["currency"]),
            (each["reason"] or "-").replace("_", " "),
        ]
        for each in purchases
    ]
    print_table(columns, rows, empty="No removals were bought; provocative removal-purchases set.")


def show_purchase(found: RemovalPurchase) -> None:
    currency = found["currency"]
    returned = found["returned_micros"]
    print_facts(
        [
            ("month", found["month"]),
            ("state", found["state"].replace("_", " ")),
            ("why", (found["reason"] or "").replace("_", " ") or None),
            ("residual emissions", format_mass(found["residual_mg"])),
            ("purchased removals", format_mass(found["quantity_mg"])),
            ("less, by the limit", "yes" if found["limited"] else None),
            ("price", format_micros(found["price_micros"], currency)),
            ("given back", format_micros(returned, currency) if returned else None),
            ("product", found["product_name"] or found["product_id"]),
            ("in the name of", found["beneficiary_name"]),
            ("order", found["order_id"]),
            ("to be delivered in", None if found["delivery_year"] is None else str(found["delivery_year"])),
            ("certificate", found["certificate_url"]),
            *(
                ("delivered by", f"{each['supplier']}, {each['delivered_at']}")
                for each in found["deliveries"]
            ),
        ]
    )


def format_mass(mass_mg: int) -> str:
    """Kilograms to the milligram, without zeros at the end: ``25.1 kg``."""
    whole, rest = divmod(mass_mg, _MG_PER_KG)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".") + " kg"
