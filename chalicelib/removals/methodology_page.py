"""The methodology as a page for people; exact figures are in the JSON."""

from collections.abc import Mapping
from html import escape

from chalicelib.core.methodology import Cell, Column, Constant, Methodology, Section, Statement, Table
from chalicelib.removals.pages import render_frame

#: Unit of the document -> (how many are one shown unit, the shown unit); thousandths are shown.
_SHOWN: Mapping[str, tuple[int, str]] = {
    "mg CO2e/kWh": (1000, "g CO2e/kWh"),
    "mg CO2e": (1_000_000, "kg CO2e"),
    "permille": (1000, ""),
}
#: The largest that divides a duration is shown.
_DURATIONS: Mapping[str, tuple[tuple[int, str], ...]] = {
    "ms": ((3_600_000, "h"), (60_000, "min"), (1000, "s")),
    "s": ((3600, "h"),),
}


#: A table of more columns is scrolled on a phone.
_NARROW = 2


def render_page(methodology: Methodology) -> str:
    """Return the methodology as HTML, to be sent with `pages.HEADERS`."""
    links = "".join(
        f'<a href="#{escape(each.key)}">{escape(each.title)}</a> ' for each in methodology.sections
    )
    return render_frame(
        f"Methodology {methodology.version}",
        "<h1>How energy, emissions and removals are counted</h1>"
        f'<p class="mass">Methodology {escape(methodology.version)}</p>'
        "<p>Drawn from the tables and constants by which it is computed. The version changes with every "
        "formula, constant and source; exact integers, and the functions that do it, are in its "
        '<a href="../methodology">JSON</a>.</p>'
        f"<nav>{links}</nav>{''.join(_render_section(each) for each in methodology.sections)}"
        "<footer>Removals stand beside emissions and never lower them. What is not known is not stated, and "
        "is not zero.</footer>",
        "methodology",
    )


def _render_section(section: Section) -> str:
    statements = "".join(_render_statement(each) for each in section.statements)
    tables = "".join(_render_table(each) for each in section.tables)
    return f'<h2 id="{escape(section.key)}">{escape(section.title)}</h2>{statements}{tables}'


def _render_statement(statement: Statement) -> str:
    constants = ""
    if statement.constants:
        rows = "".join(_render_constant(each) for each in statement.constants)
        head = '<tr><th>Constant</th><th class="number">Value</th><th>Source</th></tr>'
        constants = f'<div class="scroll"><table>{head}{rows}</table></div>'
    return (
        f'<h3>{escape(statement.title)}</h3><p class="formula">{escape(statement.formula)}</p>'
        f"<p>{escape(statement.detail)}</p>"
        f'<p class="source">{_render_source(statement.source, statement.version)}</p>{constants}'
    )


def _render_constant(constant: Constant) -> str:
    return (
        f'<tr><td>{escape(constant.meaning)}</td><td class="number">{escape(_format_constant(constant))}</td>'
        f"<td>{escape(constant.source)}{_render_version(constant.version)}</td></tr>"
    )


def _render_table(table: Table) -> str:
    head = "".join(f"<th{_align(each)}>{_render_head(each)}</th>" for each in table.columns)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_align(column)}>{escape(_format_cell(cell, column.unit))}</td>"
            for cell, column in zip(row, table.columns, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    source = f'<p class="source">{_render_source(table.source, table.version)}</p>'
    wide = "wide" if len(table.columns) > _NARROW else ""
    figures = "figures" if any(each.unit for each in table.columns) else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    grid = f'<table class="{wide} {figures}">{body}</table>'
    return f'<h3>{escape(table.title)}</h3>{note}{source}<div class="scroll">{grid}</div>'


def _align(column: Column) -> str:
    return ' class="number"' if column.unit else ""


def _render_head(column: Column) -> str:
    shown = _SHOWN.get(column.unit, (1, column.unit))[1]
    return f"{escape(column.name)}<br><small>{escape(shown)}</small>" if shown else escape(column.name)


def _render_source(source: str, version: str | None) -> str:
    return f"Source: {escape(source)}{_render_version(version)}"


def _render_version(version: str | None) -> str:
    return "" if version is None else f", {escape(version)}"


def _format_cell(cell: Cell, unit: str) -> str:
    if cell is None:
        return "\N{EN DASH}"
    return _format_value(cell, unit) if isinstance(cell, int) else cell


def _format_constant(constant: Constant) -> str:
    value, unit = constant.value, constant.unit
    if isinstance(value, str):
        return f"{value} {unit}"
    for size, name in _DURATIONS.get(unit, ()):
        if value and value % size == 0:
            return f"{value // size:,} {name}"
    return f"{_format_value(value, unit).removesuffix('.000')} {_SHOWN.get(unit, (1, unit))[1]}"


def _format_value(value: int, unit: str) -> str:
    """Thousandths of the shown unit, rounded half up; whole where the unit is shown as it is."""
    if unit not in _SHOWN:
        return f"{value:,}"
    size = _SHOWN[unit][0]
    whole, rest = divmod((2 * value * 1000 + size) // (2 * size), 1000)
    return f"{whole:,}.{rest:03d}"
