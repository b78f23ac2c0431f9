"""Cells of a printed table stay in their column, whatever a customer wrote there."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import Paragraph

from chalicelib.runtime.printing import CELL_SIZE, build_table, load_fonts, print_pages, write_cell

WIDTH = 100.0
WORDS = st.text("abcWil<&>1 ", max_size=80)


@pytest.fixture(autouse=True, scope="module")
def _fonts():
    load_fonts()


@given(WORDS)
def test_a_cell_is_lines_that_fit_or_a_paragraph_that_breaks_words(text):
    cell = write_cell(text, WIDTH)
    longest = max((stringWidth(word, "Text", CELL_SIZE) for word in text.split()), default=0)
    if longest > WIDTH - 4:
        assert isinstance(cell, Paragraph)
        return
    assert cell.split() == text.split()
    assert all(stringWidth(line, "Text", CELL_SIZE) <= WIDTH - 4 for line in cell.splitlines())


@pytest.mark.parametrize("text", ["short", "many words that stand on lines", "x" * 60, "<b>&amp;</b>"])
def test_all_of_a_cell_is_printed(text):
    table = build_table(["What"], [[write_cell(text, WIDTH, 7.5)]], [WIDTH], numbers=0, sizes={0: 7.5})
    pages = PdfReader(io.BytesIO(print_pages([table], title="t", author="a"))).pages
    printed = pages[0].extract_text().replace("\n", "").replace(" ", "")
    assert text.replace(" ", "") in printed
