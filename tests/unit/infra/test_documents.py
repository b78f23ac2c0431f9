"""What the check of the documents finds, and what it leaves alone."""

import re

import pytest

import app
from infra.cdk.tables import TABLES
from infra.checks import ROOT, check_documents
from infra.documents import check_page

FILES = {
    "docs/adr/README.md": "",
    "chalicelib/rentals/api.py": '@api.route(\n    "PATCH", "/v1/rentals/{rental_id}", permission="p"\n)',
    "chalicelib/rentals/ports.py": "class Wallets(Protocol):\n    def add_holds(self): ...\n",
    "tests/unit/rentals/test_life.py": "def test_a_stop_keeps_the_volume(tmp_path):\n    ...\n",
    "tests/unit/rentals/test_queue.py": "    def test_age_decides(self):\n        ...\n",
}


def find(text, page="docs/page.md"):
    return list(check_page(page, text, FILES))


@pytest.mark.parametrize(
    "text",
    [
        "`unit/rentals/test_life.py::test_a_stop_keeps_the_volume`",
        "`tests/unit/rentals/test_queue.py::test_age_decides`, `test_life.py`, `rentals/api.py`",
        "`test_age_decides`",
        "`PATCH /v1/rentals/{id}` and `PATCH /v1/rentals/{rental_id}?dry_run=true`",
        "[decisions](adr/README.md#top), [all](adr/), [a site](https://example.com), [here](#below)",
        "`rentals.ports.Wallets`, `chalicelib.rentals.ports.add_holds()`, `rentals.life.unknown`, `a.b`",
        "`self.test_age_decides()`, `make test`, `GET`",
    ],
)
def test_what_is_there_may_be_named(text):
    assert find(text) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("`unit/rentals/test_lives.py`", "unit/rentals/test_lives.py, which is not there"),
        ("`unit/rentals/test_gone.py::test_age_decides`", "unit/rentals/test_gone.py, which is not there"),
        (
            "`unit/rentals/test_life.py::test_age_decides`",
            "the test test_age_decides, which is not in unit/rentals/test_life.py",
        ),
        ("`unit/rentals/test_life.py::test_a_stop`", "test_a_stop, which is not in"),
        ("`unit/rentals/test_life.py::test_*`", "test_*, which is not in"),
        ("`test_of_nothing`", "the test test_of_nothing, which is not there"),
        ("`POST /v1/rentals/{rental_id}`", "the route POST /v1/rentals/{rental_id}, which is not there"),
        ("`rentals.ports.Purses`", "names rentals.ports.Purses, which is not there"),
        ("[a page](adr/0001.md)", "links to adr/0001.md, which is not there"),
        ("[outside](../../elsewhere.md)", "links to ../../elsewhere.md, which is not there"),
    ],
)
def test_what_is_not_there_is_told(text, told):
    (problem,) = find(text)
    assert problem.startswith("docs/page.md ")
    assert told in problem


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("| Stop | yes | `POST /v1/rentals` |", True),
        ("| Stop | partly | soon more |", True),
        ("| Stop | yes | `unit/rentals/test_life.py` |", False),
        ("| Stop | no | nobody asked |", False),
        ("| feature | | shown by |", False),
    ],
)
def test_a_feature_that_is_there_names_its_test(row, told):
    problems = [problem for problem in find(row, "docs/features.md") if "names no test" in problem]
    assert bool(problems) == told
    assert find(row.replace("`POST /v1/rentals`", "")) == []


def test_the_documents_name_what_is_there():
    assert list(check_documents()) == []


def test_the_architecture_names_every_function_and_every_table():
    text = (ROOT / "docs" / "architecture.md").read_text()
    functions = {each.name for each in (*app.app.pure_lambda_functions, *app.app.event_sources)}
    assert len(functions) > len(app.FUNCTIONS)
    assert [name for name in sorted(functions) if f"| `{name}` |" not in text] == []
    assert [spec.name for spec in TABLES if f"\n| {spec.name} |" not in text] == []


def test_every_decision_is_in_the_index():
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    pages = [page.name for page in (ROOT / "docs" / "adr").glob("[0-9]*.md")]
    assert [
        name for name in sorted(pages) if f"{int(name[:4])}. [" not in index or f"({name})" not in index
    ] == []


def test_every_check_of_security_has_a_row_with_its_tests_or_why_there_is_none():
    text = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| S(\d+) \|[^|]*\|(.*)\|$", text, flags=re.MULTILINE)
    assert {int(number) for number, _ in rows} == set(range(1, 61))
    assert [number for number, shown in rows if "`" not in shown and "not there" not in shown] == []
