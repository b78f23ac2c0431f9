"""A statement as PDF (reportlab). The same statement comes to the same bytes."""

from datetime import UTC, datetime
from typing import Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, Spacer, Table

from chalicelib.core.money import MICROS_PER_UNIT, format_micros
from chalicelib.runtime.printing import (
    ACCENT,
    FAINT,
    RULE,
    WIDTH,
    build_table,
    load_fonts,
    print_pages,
    write_cell,
    write_text,
)
from chalicelib.statements.model import Movement, Party, Statement, StayCharge

#: A person reads no more; the CSV has each line.
MAX_PRINTED = 300
_RENTAL_WIDTH, _RENTAL_SIZE = 50 * mm, 7.5
_KIND_WIDTH = 42 * mm
NAMES = {
    "top_up": "Paid in",
    "refund": "Refunded",
    "dispute": "Taken back by a bank (dispute)",
    "dispute_reversed": "Returned by a bank (dispute)",
    "refund_failed": "A refund that came back",
    "credit": "Credit",
    "promo_credit": "Promotional credit",
    "promo_expired": "Promotional credit expired",
    "volume": "Volumes of stopped rentals",
    "one_off": "Other charges",
    "service_credit": "Credit for our failures",
    "reservation_fee": "Reservations cancelled",
    "removal_purchase": "Carbon removals bought",
    "reversal": "Corrections",
}
HOW_BILLED = (
    "GPU time is billed by the second: price by GPUs by seconds / 3600 for each stay, rounded down once to a "
    "millionth. It is posted about a minute after it was used, so the last of a month may stand in the "
    "statement of the next."
)


def print_statement(statement: Statement) -> bytes:
    """Return the document."""
    load_fonts()
    return print_pages(
        [
            *_build_head(statement),
            *_build_summary(statement),
            *_build_chart(statement),
            *_build_movements(statement),
            *_build_stays(statement),
            *_build_notes(statement),
        ],
        title=_name(statement),
        author=statement.seller.name,
    )


def _name(statement: Statement) -> str:
    number = statement.head.number
    return f"Statement {number}" if number else f"Draft statement, {statement.head.month}"


def _build_head(statement: Statement) -> list[Flowable]:
    head = statement.head
    facts = [f"Month {head.month} (UTC)", f"Account {head.account_id}"]
    if head.numbered_at_ms is not None:
        facts.append(f"Issued {_day(head.numbered_at_ms)}")
    else:
        facts.append("Not final: the month is still posted to, or has not been issued yet.")
    title = [
        write_text(_name(statement), 18, bold=True),
        *(write_text(each, 9, color=FAINT) for each in facts),
    ]
    parties = Table(
        [[_build_party("From", statement.seller), _build_party("To", statement.customer)]],
        colWidths=[WIDTH / 2] * 2,
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)],
    )
    return [*title, Spacer(0, 5 * mm), parties, Spacer(0, 5 * mm)]


def _build_party(role: str, party: Party) -> list[Flowable]:
    lines = [*party.address_lines, party.country, f"Tax id {party.tax_id}" if party.tax_id else ""]
    return [
        write_text(role, 8, color=FAINT),
        write_text(party.name or "No billing details given", bold=bool(party.name)),
        *(write_text(each) for each in lines if each),
    ]


def _build_summary(statement: Statement) -> list[Flowable]:
    head, currency = statement.head, statement.head.currency
    rows = [("Opening balance", head.opening.paid_micros, head.opening.promo_micros)]
    rows += [(_name_kind(each.kind), each.paid_micros, each.promo_micros) for each in statement.totals]
    if statement.stays:
        hours = statement.gpu_seconds / 3600
        rows.append(
            (
                f"GPU time, {hours:,.2f} GPU-hours",
                -statement.charged_paid_micros,
                -statement.charged_promo_micros,
            )
        )
    ends = "Closing balance" if head.closing is not None else "Balance now"
    rows.append((ends, statement.closing_paid_micros, statement.closing_promo_micros))
    header = [f"Amounts in {currency}", "Paid in money", "Promotional credit", "Together"]
    body = [[label, _money(paid), _money(promo), _money(paid + promo)] for label, paid, promo in rows]
    table = build_table(
        header, body, [WIDTH - 3 * 34 * mm, *[34 * mm] * 3], numbers=3, strong_rows=(1, len(rows))
    )
    notes = []
    if statement.tax_micros:
        notes.append(
            f"Tax paid with top-ups, which no wallet holds: {format_micros(statement.tax_micros, currency)}."
        )
    if statement.overrun_micros:
        borne = format_micros(statement.overrun_micros, currency)
        notes.append(f"Borne by us, not charged: {borne} of GPU time after balance or budget was used up.")
    return [
        table,
        Spacer(0, 1.5 * mm),
        *(write_text(each, 8, color=FAINT) for each in notes),
        Spacer(0, 5 * mm),
    ]


def _build_chart(statement: Statement) -> list[Flowable]:
    if not statement.days:
        return []
    by_day = dict(statement.days)
    names = sorted(
        {*by_day, *(f"{statement.head.month}-{day:02d}" for day in range(1, _last_day(statement) + 1))}
    )
    drawing = Drawing(WIDTH, 46 * mm)
    chart = VerticalBarChart()
    chart.x, chart.y = int(16 * mm), int(8 * mm)
    chart.width, chart.height = int(WIDTH - 17 * mm), int(35 * mm)
    chart.data = [[by_day.get(name, 0) / MICROS_PER_UNIT for name in names]]
    chart.categoryAxis.categoryNames = [name[8:] for name in names]
    chart.bars[0].fillColor, chart.bars[0].strokeColor = ACCENT, None
    chart.groupSpacing = 3
    for axis in (chart.categoryAxis, chart.valueAxis):
        axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = "Text", 7, FAINT
        axis.strokeColor = RULE
    chart.categoryAxis.labels.dy = -1
    chart.valueAxis.valueMin = 0
    chart.valueAxis.labelTextFormat = lambda value: f"{value:,.2f}"
    chart.valueAxis.visibleGrid, chart.valueAxis.gridStrokeColor = True, RULE
    drawing.add(chart)
    heading = f"GPU time by day of use, {statement.head.currency} (UTC)"
    return [write_text(heading, 10, bold=True), drawing, Spacer(0, 4 * mm)]


def _last_day(statement: Statement) -> int:
    year, month = (int(part) for part in statement.head.month.split("-"))
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return (following - datetime(year, month, 1, tzinfo=UTC)).days


def _build_movements(statement: Statement) -> list[Flowable]:
    if not statement.movements:
        return []
    shown = statement.movements[:MAX_PRINTED]
    body = [_read_movement(each) for each in shown]
    others = [26 * mm, _KIND_WIDTH, 28 * mm, 28 * mm]
    widths = [*others[:2], WIDTH - sum(others), *others[2:]]
    table = build_table(["Posted", "What", "Why", "Paid in money", "Promotional"], body, widths, numbers=2)
    return [
        write_text("Money in and out, and credit", 10, bold=True),
        Spacer(0, 1 * mm),
        table,
        *_rest(statement.movements),
    ]


def _read_movement(movement: Movement) -> list[str | Paragraph]:
    return [
        _day(movement.posted_at_ms),
        write_cell(_name_kind(movement.kind), _KIND_WIDTH),
        write_text(movement.note, 8, color=FAINT),
        _money(movement.paid_micros),
        _money(movement.promo_micros),
    ]


def _build_stays(statement: Statement) -> list[Flowable]:
    if not statement.stays:
        return []
    dearest = sorted(statement.stays, key=lambda each: (-each.micros, each.rental_id, each.segment))
    shown = sorted(dearest[:MAX_PRINTED], key=lambda each: (each.first_day, each.rental_id, each.segment))
    others = [28 * mm, 22 * mm, 25 * mm, 22 * mm]
    widths = [_RENTAL_WIDTH, others[0], WIDTH - _RENTAL_WIDTH - sum(others), *others[1:]]
    header = ["Rental", "Days", "GPUs", "Price an hour", "Time", "Charge"]
    body = [_read_stay(each, widths[2]) for each in shown]
    table = build_table(header, body, widths, numbers=3, sizes={0: _RENTAL_SIZE})
    return [
        Spacer(0, 5 * mm),
        write_text("GPU time by stay", 10, bold=True),
        Spacer(0, 1 * mm),
        table,
        *_rest(statement.stays),
    ]


def _read_stay(stay: StayCharge, gpus_width: float) -> list[str | Paragraph]:
    name = stay.rental_id + (f" · stay {stay.segment}" if stay.segment > 1 else "")
    label = f"{name} {stay.label}" if stay.label else name
    days = stay.first_day[5:] + (f" to {stay.last_day[5:]}" if stay.last_day != stay.first_day else "")
    minutes, seconds = divmod(stay.seconds, 60)
    return [
        write_cell(label, _RENTAL_WIDTH, _RENTAL_SIZE),
        days,
        write_cell(f"{stay.gpu_count} x {stay.gpu_type}, {stay.region}", gpus_width),
        _money(stay.price_micros_per_gpu_hour * stay.gpu_count),
        f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}",
        _money(stay.micros),
    ]


def _rest(items: tuple[Any, ...]) -> list[Flowable]:
    left = len(items) - MAX_PRINTED
    return [write_text(f"And {left:,} more; the CSV has each.", 8, color=FAINT)] if left > 0 else []


def _build_notes(statement: Statement) -> list[Flowable]:
    head = statement.head
    lines = [HOW_BILLED]
    if head.closing is not None:
        lines.append(
            f"This statement is entries {head.opening.leg_version + 1} to {head.closing.leg_version} of the "
            f"wallet's hash chain, which ends with SHA-256 {head.closing.chain_hash}."
        )
    return [Spacer(0, 5 * mm), *(write_text(each, 7.5, color=FAINT) for each in lines)]


def _name_kind(kind: str) -> str:
    return NAMES.get(kind, kind.replace("_", " ").capitalize())


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _money(micros: int) -> str:
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS_PER_UNIT)
    return f"{sign}{whole:,}.{fraction:06d}"
