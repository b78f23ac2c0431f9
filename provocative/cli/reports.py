"""Verbs of carbon reports: energy, emissions and removals of a day or month that is over."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from provocative.cli import options
from provocative.cli.output import print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given
from provocative.cli.report_views import show_gpu_hours, show_heads, show_report
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import group, verb

_Period = Annotated[str, typer.Argument(metavar="PERIOD", help="Such as 2026-11 or 2026-11-30; UTC.")]
_File = Annotated[
    Path,
    typer.Argument(metavar="FILE", dir_okay=False, help="What to write; its name ends in .csv.gz or .pdf."),
]
_Site = Annotated[
    str | None, typer.Option("--site", metavar="REGION", help="Of a site instead, for operators.")
]
_Version = Annotated[int | None, typer.Option("--version", metavar="N", help="Not the last, but this one.")]
_Rental = Annotated[str, typer.Argument(metavar="RENTAL", help="Whose GPUs.")]
_Day = Annotated[str | None, typer.Option("--day", metavar="DAY", help="Such as 2026-11-29; UTC.")]
_Days = Annotated[bool, typer.Option("--days", help="By day instead of by month.")]


def register(app: typer.Typer) -> None:
    nested = group(app, "carbon-reports", "Energy and emissions by month and day.", carbon_reports)
    verb(nested)(show)
    verb(nested)(download)
    verb(app)(energy)


def energy(session: Session, rental_id: _Rental, *, day: _Day = None) -> None:
    """Show what each GPU of a rental used, hour by hour, on a day (UTC); today without one."""
    session.show(session.client.rentals.list_gpu_hours(rental_id, day=day), show_gpu_hours)


def carbon_reports(
    session: Session,
    *,
    days: _Days = False,
    site: _Site = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the months (or days), newest first; what was restated has several versions."""
    kind: Literal["day", "month"] = "day" if days else "month"

    def fetch(**asked: Any) -> Any:
        return session.client.carbon_reports.list(kind=kind, site=site, **asked)

    show_page(session, fetch_page(fetch, limit=limit, cursor=cursor, everything=everything), show_heads)


def show(session: Session, period: _Period, *, site: _Site = None, version: _Version = None) -> None:
    """Show a day or month: energy, emissions by location and by market, removals beside them."""
    found = session.client.carbon_reports.read(period, **given(site=site, version=version))
    session.show(found, show_report)


def download(
    session: Session, period: _Period, file: _File, *, site: _Site = None, version: _Version = None
) -> None:
    """Write a report to a file: PDF, or packed CSV with a row a rental and hour."""
    if not file.name.lower().endswith((".csv.gz", ".pdf")):
        raise typer.BadParameter("The file's name ends in .csv.gz or .pdf.")
    form: Literal["csv.gz", "pdf"] = "pdf" if file.suffix.lower() == ".pdf" else "csv.gz"
    written = 0
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as output:
            chosen = given(site=site, version=version)
            for chunk in session.client.carbon_reports.download(period, form, **chosen):
                written += output.write(chunk)
        part.replace(file)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}.", code="not_written") from error
    finally:
        part.unlink(missing_ok=True)
    body: dict[str, Any] = {"period": period, "file": str(file), "bytes": written}
    session.show(body, lambda _: print_line(f"{file}: {written:,} bytes."))
