"""Verbs of statements: what a month cost, as a table, a spreadsheet or a document."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from provocative.cli import options
from provocative.cli.output import print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.session import Refused, Session
from provocative.cli.statement_views import show_details, show_heads, show_statement
from provocative.cli.verbs import group, verb
from provocative.money_models import BillingDetails

_Month = Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-11; UTC.")]
_File = Annotated[
    Path, typer.Argument(metavar="FILE", dir_okay=False, help="What to write; its name ends in .csv or .pdf.")
]
_Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the company or person.")]
_Line = Annotated[
    list[str] | None, typer.Option("--address", metavar="LINE", help="May be repeated, up to four.")
]
_Country = Annotated[str | None, typer.Option("--country", metavar="CODE", help="Two letters, such as IE.")]
_TaxId = Annotated[str | None, typer.Option("--tax-id", metavar="ID", help="Such as a VAT number.")]


def register(app: typer.Typer) -> None:
    nested = group(app, "statements", "Monthly statements: list, show, download.", statements)
    verb(nested)(show)
    verb(nested)(download)
    verb(app, "billing-details")(billing_details)


def statements(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the months, newest first; the first is open."""
    page = fetch_page(session.client.statements.list, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_heads)


def show(session: Session, month: _Month) -> None:
    """Show a month: balances, money in and out, GPU time by stay; the current one as it stands."""
    session.show(session.client.statements.read(month), show_statement)


def download(session: Session, month: _Month, file: _File) -> None:
    """Write a month's statement to a file: CSV with a line a stay and day, or PDF."""
    forms: dict[str, Literal["csv", "pdf"]] = {".csv": "csv", ".pdf": "pdf"}
    form = forms.get(file.suffix.lower())
    if form is None:
        raise typer.BadParameter("The file's name ends in .csv or .pdf.")
    written = 0
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as output:
            for chunk in session.client.statements.download(month, form):
                written += output.write(chunk)
        part.replace(file)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}.", code="not_written") from error
    finally:
        part.unlink(missing_ok=True)
    body: dict[str, Any] = {"month": month, "file": str(file), "bytes": written}
    session.show(body, lambda _: print_line(f"{file}: {written:,} bytes."))


def billing_details(
    session: Session,
    *,
    name: _Name = None,
    address: _Line = None,
    country: _Country = None,
    tax_id: _TaxId = None,
) -> None:
    """Show whom statements are made out to, or set it; what is not given stays as it is."""
    client = session.client.statements
    details = client.read_billing_details()
    given = {"name": name, "address_lines": address or None, "country": country, "tax_id": tax_id}
    changes = {member: value for member, value in given.items() if value is not None}
    if changes:
        changed: Any = {**details, **changes}
        details = client.put_billing_details(_check(changed))
    session.show(details, show_details)


def _check(details: BillingDetails) -> BillingDetails:
    if not details["name"] or not details["country"]:
        raise typer.BadParameter("Give --name and --country the first time.")
    return details
