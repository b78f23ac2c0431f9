"""Makes the reports that are due: content, documents, then the row that says that they are there.

Whoever dies before the row leaves documents that the next run writes over. A report whose content is what it
was is not made again; another content is another version, and what was issued before stays as it is.
"""

import csv
import gzip
import hashlib
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from chalicelib.carbon.model import RegionFigures
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import DomainError
from chalicelib.reporting.model import (
    HOUR_MS,
    Content,
    Due,
    Owner,
    Period,
    Removed,
    Report,
    combine,
    name_allocated,
)
from chalicelib.reporting.ports import ReportPorts
from chalicelib.reporting.rolling import ask_for
from chalicelib.reporting.rows import (
    Line,
    Row,
    count_rows,
    group_rows,
    list_site_lines,
    list_sources,
    list_stay_lines,
    list_steps,
)
from chalicelib.statements.assembling import disarm
from chalicelib.statements.issuing import open_file

#: Providers revise their figures, verifiers decide, purchases are delivered: it is looked at again then.
FOLLOW_UPS_MS = (8 * 24 * HOUR_MS, 35 * 24 * HOUR_MS)
COLUMNS = (
    "hour",
    "bill_day",
    "rental_id",
    "segment",
    "label",
    "region",
    "host_id",
    "gpu_type",
    "gpu_count",
    "user",
    "energy_millijoules",
    "estimated_millijoules",
    "covered_gpu_ms",
    "gap_gpu_ms",
    "gap_at_most_millijoules",
    "intensity_mg_co2e_per_kwh",
    "intensity_method",
    "intensity_source",
    "intensity_version",
    "intensity_zone",
    "intensity_estimated",
    "location_average_mg_co2e",
    "location_marginal_mg_co2e",
    "market_mg_co2e",
    "node_millijoules",
    "node_mg_co2e",
    "overhead_millijoules",
    "overhead_mg_co2e",
    "embodied_low_mg_co2e",
    "embodied_mg_co2e",
    "embodied_high_mg_co2e",
)


@dataclass(frozen=True, slots=True)
class Built:
    """``failed``: (owner, period, code) of what was left for another time. ``left``: time ran out."""

    made: int
    same: int
    failed: tuple[tuple[str, str, str], ...]
    left: bool


def build_reports(ports: ReportPorts, deadline_ms: int) -> Built:
    """Make every report that is due, until ``deadline_ms``. One that fails does not keep the others back."""
    made = same = 0
    failed: list[tuple[str, str, str]] = []
    for due in ports.store.list_due(ports.clock.now_ms()):
        if ports.clock.now_ms() >= deadline_ms:
            return Built(made, same, tuple(failed), left=True)
        try:
            report = build(ports, due.owner, due.period)
        except DomainError as error:
            failed.append((due.owner.name, due.period.name, error.code))
            continue
        _follow_up(ports, due)
        ports.store.clear_due(due)
        made, same = made + (report is not None), same + (report is None)
    return Built(made, same, tuple(failed), left=False)


def build(ports: ReportPorts, owner: Owner, period: Period) -> Report | None:
    """Make the next version of a report; ``None``: it says already what the records do.

    Raises:
        Unavailable: try again.
    """
    with open_file() as rows_file:
        if period.kind == "day":
            content = assemble_day(ports, owner, period, rows_file)
        else:
            content = assemble_month(ports, owner, period, rows_file)
        data = ports.codec.encode(content)
        digest = hashlib.sha256(data).hexdigest()
        latest = ports.store.find_report(owner, period)
        if latest is not None and latest.digest == digest:
            return None
        total = content.total
        report = Report(
            owner,
            period,
            1 if latest is None else latest.version + 1,
            ports.clock.now_ms(),
            digest,
            total.energy_millijoules,
            total.operational_mg,
            content.estimated,
        )
        rows_file.seek(0)
        ports.files.keep(report.name_document("csv.gz"), rows_file, "application/gzip")
    ports.files.keep(report.name_document("json"), io.BytesIO(data), "application/json")
    printed = ports.connect_printer()(content, report)
    ports.files.keep(report.name_document("pdf"), io.BytesIO(printed), "application/pdf")
    tx = ports.transactions()
    ports.store.add_report(tx, report)
    if period.kind == "day":
        ports.store.mark_due(tx, ask_for(owner, period.month, ports.clock.now_ms()))
    tx.commit()
    return report


def assemble_day(ports: ReportPorts, owner: Owner, day: Period, rows_file: BinaryIO | None = None) -> Content:
    """Return what the records say of a day; its rows go into ``rows_file``, if there is one."""
    lines: list[Line]
    removals: tuple[Removed, ...] = ()
    if owner.kind == "account":
        lines = list_stay_lines(ports.store.list_stay_days(owner.owner_id, day.name))
        removals = _sum_shares(ports, owner.owner_id, day)
    else:
        lines = list_site_lines(ports.store.list_site_days(owner.owner_id, day.name))
    figures = _read_figures(ports, lines)
    rows = count_rows(lines, figures, ports.read_power_limits())
    if rows_file is not None:
        write_rows(rows, rows_file)
    steps = list_steps(rows)
    return Content(
        owner.name, day.name, group_rows(rows), steps, steps, list_sources(rows, figures), removals
    )


def assemble_month(
    ports: ReportPorts, owner: Owner, month: Period, rows_file: BinaryIO | None = None
) -> Content:
    """Return a month out of the last versions of its days' reports."""
    days: dict[str, Content] = {}
    if rows_file is not None:
        rows_file.write(compress_header())
    for report in ports.store.list_day_reports(owner, month):
        with ports.files.read(report.name_document("json")) as file:
            days[report.period.name] = ports.codec.decode(file.read())
        if rows_file is not None:
            with ports.files.read(report.name_document("csv.gz")) as file:
                file.read(len(compress_header()))
                shutil.copyfileobj(file, rows_file)
    purchased: list[Removed] = []
    if owner.kind == "account":
        found = ports.purchases.find_purchased(owner.owner_id, month.name)
        purchased = [Removed(f"purchased, {state}", mass) for state, mass in sorted(found.items())]
    return combine(owner, month, days, purchased)


def compress_header() -> bytes:
    """Return the columns' names as gzip by themselves: gzips one after the other are one."""
    return gzip.compress((",".join(COLUMNS) + "\r\n").encode(), mtime=0)


def write_rows(rows: Sequence[Row], file: BinaryIO) -> None:
    """Write the rows as CSV in gzip: the names by themselves, then the rows."""
    file.write(compress_header())
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        for row in rows:
            writer.writerow([disarm(value) for value in list_values(row)])
        text.detach()


def list_values(row: Row) -> list[str | int]:
    line, figure, total = row.line, row.figure, row.total
    embodied = total.embodied
    return [
        format_instant(line.hour_ms),
        # With rental and segment it names the line of the bill.
        line.day if line.rental_id else "",
        line.rental_id,
        line.segment or "",
        line.label,
        line.region,
        line.host_id,
        line.gpu_type,
        line.gpu_count,
        line.user,
        total.energy_millijoules,
        total.estimated_millijoules,
        total.covered_ms,
        total.gap_ms,
        _or_blank(total.gap_millijoules),
        figure.mg_co2e_per_kwh,
        figure.method,
        figure.source,
        figure.version,
        figure.zone,
        "yes" if figure.estimated else "no",
        total.average_mg,
        _or_blank(total.marginal_mg),
        _or_blank(total.market_mg),
        *_known([total.node_millijoules, total.node_mg], total.node_unknown_ms),
        *_known([total.overhead_millijoules, total.overhead_mg], total.overhead_unknown_millijoules),
        *_known([embodied.low_mg, embodied.value_mg, embodied.high_mg], total.embodied_unknown_ms),
    ]


def _or_blank(value: int | None) -> int | str:
    """What nobody knows is not 0."""
    return "" if value is None else value


def _known(values: Sequence[int], unknown: int) -> Sequence[int | str]:
    return [""] * len(values) if unknown else values


def _read_figures(ports: ReportPorts, lines: Iterable[Line]) -> Mapping[str, RegionFigures]:
    hours: dict[str, set[int]] = {}
    for line in lines:
        hours.setdefault(line.region, set()).add(line.hour_ms)
    return {region: ports.read_figures(region, sorted(of_region)) for region, of_region in hours.items()}


def _sum_shares(ports: ReportPorts, account_id: str, day: Period) -> tuple[Removed, ...]:
    """Return what is the account's of the removals of a day, by state; what was withdrawn is none."""
    masses: dict[str, int] = {}
    serials: dict[str, list[str]] = {}
    for share in ports.shares.list_day_shares(account_id, day.name):
        if share.state != "withdrawn":
            masses[share.state] = masses.get(share.state, 0) + share.mass_mg
            serials.setdefault(share.state, []).extend([share.serial] if share.serial else [])
    return tuple(
        Removed(name_allocated(state), mass, tuple(sorted(serials[state])))
        for state, mass in sorted(masses.items())
    )


def _follow_up(ports: ReportPorts, due: Due) -> None:
    now_ms = ports.clock.now_ms()
    later = [due.period.until_ms + each for each in FOLLOW_UPS_MS if due.period.until_ms + each > now_ms]
    if later:
        tx = ports.transactions()
        ports.store.mark_due(tx, Due(later[0], due.owner, due.period, now_ms))
        tx.commit()
