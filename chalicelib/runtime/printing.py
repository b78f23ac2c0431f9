"""Documents as PDF (reportlab): one face for all of them. The same content comes to the same bytes."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate, Paragraph, Table

INK, FAINT, RULE, ACCENT = (colors.HexColor(each) for each in ("#1b2430", "#667085", "#d0d5dd", "#0f766e"))
MARGIN = 18 * mm
WIDTH = A4[0] - 2 * MARGIN
_FOOT = 24 * mm
CELL_SIZE, _PADDING = 8, 2
_NO_SIZES: Mapping[int, float] = {}
_FONTS = (("Text", "SourceSansPro-Regular.ttf"), ("Bold", "SourceSansPro-Semibold.ttf"))


def print_pages(flowables: Sequence[Flowable], *, title: str, author: str) -> bytes:
    """Return a document of A4 pages; call `load_fonts` before anything is built."""
    buffer = io.BytesIO()
    # Nothing of this run is in it: the bytes can be made again.
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=_FOOT,
        title=title,
        author=author,
        invariant=1,
    )
    frame = Frame(MARGIN, _FOOT, WIDTH, A4[1] - MARGIN - _FOOT, 0, 0, 0, 0, id="body")
    foot = f"{author} · {title}"
    document.addPageTemplates(
        [PageTemplate("page", [frame], onPage=lambda canvas, _: _draw_foot(canvas, foot))]
    )
    document.build(list(flowables))
    return buffer.getvalue()


@cache
def load_fonts() -> None:
    """Read the fonts of all documents: once, as it takes as long as a document of some pages."""
    spec = find_spec("font_source_sans_pro")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "files"
    for name, file in _FONTS:
        pdfmetrics.registerFont(TTFont(name, str(folder / file)))
    pdfmetrics.registerFontFamily("Text", normal="Text", bold="Bold", italic="Text", boldItalic="Bold")


def write_text(
    text: str, size: float = 9, *, bold: bool = False, color: Any = INK, right: bool = False
) -> Paragraph:
    return Paragraph(escape(text), _style_text(size, bold, color, right))


@cache
def _style_text(size: float, bold: bool, color: Any, right: bool) -> ParagraphStyle:  # noqa: FBT001
    return ParagraphStyle(
        f"{size}{bold}{color}{right}",
        fontName="Bold" if bold else "Text",
        fontSize=size,
        leading=size * 1.35,
        textColor=color,
        alignment=2 if right else 0,
    )


def write_cell(text: str, width: float, size: float = CELL_SIZE) -> str | Paragraph:
    """Return ``text`` broken into lines for a column of ``width``: as a paragraph only if a word is too long.

    A plain cell takes a sixth of the time (measured, 600 of one line each), and a statement has hundreds.
    """
    room = width - 2 * _PADDING
    lines = simpleSplit(text, "Text", size, room)
    if any(pdfmetrics.stringWidth(line, "Text", size) > room for line in lines):
        return write_text(text, size)
    return "\n".join(lines)


def build_table(
    header: list[str],
    body: list[Any],
    widths: list[float],
    *,
    numbers: int,
    strong_rows: tuple[int, ...] = (),
    sizes: Mapping[int, float] = _NO_SIZES,
) -> Table:
    """``numbers``: how many columns at the right end are figures. ``sizes``: of columns of another size."""
    style: list[Any] = [
        ("FONT", (0, 0), (-1, 0), "Bold", CELL_SIZE),
        ("FONT", (0, 1), (-1, -1), "Text", CELL_SIZE),
        *(("FONT", (column, 1), (column, -1), "Text", size) for column, size in sizes.items()),
        ("TEXTCOLOR", (0, 0), (-1, 0), FAINT),
        ("TEXTCOLOR", (0, 1), (-1, -1), INK),
        ("ALIGN", (-numbers, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.7, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        ("LEFTPADDING", (0, 0), (-1, -1), _PADDING),
        ("RIGHTPADDING", (0, 0), (-1, -1), _PADDING),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        *(("FONT", (0, row), (-1, row), "Bold", 9) for row in strong_rows),
    ]
    return Table([header, *body], colWidths=widths, repeatRows=1, style=style, hAlign="LEFT")


def _draw_foot(canvas: Canvas, foot: str) -> None:
    canvas.setFont("Text", 7.5)
    canvas.setFillColor(FAINT)
    canvas.drawString(MARGIN, 12 * mm, foot)
    canvas.drawRightString(A4[0] - MARGIN, 12 * mm, f"Page {canvas.getPageNumber()}")
