"""Bodies of the methodology."""

from chalicelib.core.methodology import Constant, Methodology, Section, Statement, Table
from chalicelib.runtime.bodies import ResponseBody


class ConstantBody(ResponseBody):
    symbol: str
    meaning: str
    #: An integer, or an exact decimal as text.
    value: int | str
    unit: str
    source: str
    #: Of the source; ``null``: a choice of ours, under the methodology's own version.
    version: str | None


class MethodStatementBody(ResponseBody):
    title: str
    formula: str
    detail: str
    source: str
    version: str | None
    constants: list[ConstantBody]
    #: The functions that do it.
    code: list[str]


class ColumnBody(ResponseBody):
    name: str
    unit: str


class TableBody(ResponseBody):
    title: str
    columns: list[ColumnBody]
    #: ``null`` where the source is blank.
    rows: list[list[int | str | None]]
    source: str
    version: str | None
    note: str


class SectionBody(ResponseBody):
    key: str
    title: str
    statements: list[MethodStatementBody]
    tables: list[TableBody]


class MethodologyBody(ResponseBody):
    version: str
    sections: list[SectionBody]


def render_methodology(methodology: Methodology) -> MethodologyBody:
    return MethodologyBody(
        version=methodology.version, sections=[_render_section(each) for each in methodology.sections]
    )


def _render_section(section: Section) -> SectionBody:
    return SectionBody(
        key=section.key,
        title=section.title,
        statements=[_render_statement(each) for each in section.statements],
        tables=[_render_table(each) for each in section.tables],
    )


def _render_statement(statement: Statement) -> MethodStatementBody:
    return MethodStatementBody(
        title=statement.title,
        formula=statement.formula,
        detail=statement.detail,
        source=statement.source,
        version=statement.version,
        constants=[_render_constant(each) for each in statement.constants],
        code=list(statement.code),
    )


def _render_constant(constant: Constant) -> ConstantBody:
    return ConstantBody(
        symbol=constant.symbol,
        meaning=constant.meaning,
        value=constant.value,
        unit=constant.unit,
        source=constant.source,
        version=constant.version,
    )


def _render_table(table: Table) -> TableBody:
    return TableBody(
        title=table.title,
        columns=[ColumnBody(name=each.name, unit=each.unit) for each in table.columns],
        rows=[list(row) for row in table.rows],
        source=table.source,
        version=table.version,
        note=table.note,
    )
