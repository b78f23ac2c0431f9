"""The methodology says what the code does: no constant is left out, and none changes under its version."""

import ast
import hashlib
import importlib
import inspect
import json
import textwrap
from dataclasses import asdict, replace
from fractions import Fraction
from html import escape
from typing import get_args

import pytest

import app
from chalicelib.carbon import embodied, grid, intensity, policies, sci, starts
from chalicelib.carbon import model as emissions
from chalicelib.core import units
from chalicelib.metering import model as metering
from chalicelib.removals import accounting, allocation, certificates, measuring, model, plausibility
from chalicelib.removals.methodology import METHODOLOGY_VERSION, build_methodology
from chalicelib.removals.methodology_page import render_page
from chalicelib.removals.methodology_schemas import render_methodology
from chalicelib.wire import accuracy
from tests.unit.runtime.contract import hold_to_document
from tests.unit.runtime.gateway import build_event

#: Version -> digest of what it says and of the code that does it. A version that was published stays here.
PUBLISHED = {
    "1": "2fe004c5f8cfe4a8007c305051f92601423c2b2b8cb4911f1c54513468eb3468",  # pragma: allowlist secret
    "2": "04f1f2f9b65bcc54b0c1cd3842523977be97758b539b89e5e7b6cc6562cffecc",  # pragma: allowlist secret
}
MODULES = (
    accounting,
    accuracy,
    allocation,
    certificates,
    embodied,
    emissions,
    grid,
    intensity,
    measuring,
    metering,
    model,
    plausibility,
    policies,
    sci,
    starts,
    units,
)
#: Numbers that are no choice: how many of one unit are another, and what is for the database alone.
PLAIN = {
    "HOUR_MS",
    "MAX_PERCENT",
    "MINUTE_MS",
    "OPEN_SHARDS",
    "PPB",
    "PPM",
    "_MG_PER_KG",
    "_MILLI",
    "_UNIT",
}
FOUND = build_methodology()
STATEMENTS = [each for section in FOUND.sections for each in section.statements]
CONSTANTS = {each.symbol: each for statement in STATEMENTS for each in statement.constants}
TABLES = {table.title: table for section in FOUND.sections for table in section.tables}


def find_code(name):
    """Return what stands under ``module.name`` or ``module.class.name``."""
    head, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(head), last)
    except ModuleNotFoundError:
        return getattr(find_code(head), last)


def read_code(name):
    """Return a function or class as it is computed: without its layout, comments and docstrings."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(find_code(name))))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def compute_digest(methodology):
    said = asdict(replace(methodology, version=""))
    named = {name for section in methodology.sections for each in section.statements for name in each.code}
    done = {name: read_code(name) for name in sorted(named)}
    return hashlib.sha256(json.dumps([said, done], sort_keys=True).encode()).hexdigest()


def test_nothing_changes_under_a_version():
    digest = compute_digest(FOUND)
    assert PUBLISHED.get(METHODOLOGY_VERSION) == digest, (
        "What the methodology says, or the code that does it, has changed. Raise METHODOLOGY_VERSION in "
        f"chalicelib/removals/methodology.py and add it to PUBLISHED with {digest}. If the code changed and "
        "every figure stays as it was, put this digest in the place of the version's own."
    )


def test_another_constant_word_or_figure_is_another_digest():
    section = FOUND.sections[0]
    statement = next(each for each in section.statements if each.constants)
    constant = replace(statement.constants[0], value=1)
    for other in (
        replace(statement, constants=(constant, *statement.constants[1:])),
        replace(statement, formula="E = 0"),
        replace(statement, code=statement.code[:-1]),
    ):
        changed = replace(section, statements=(other, *section.statements[1:]))
        assert compute_digest(replace(FOUND, sections=(changed, *FOUND.sections[1:]))) != compute_digest(
            FOUND
        )
    assert compute_digest(replace(FOUND, version="2")) == compute_digest(FOUND)


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.__name__)
def test_every_number_of_a_module_is_published_as_it_is(module):
    numbers = {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | Fraction) and name not in PLAIN
    }
    assert set(numbers) <= set(CONSTANTS)
    for each in getattr(module, "CONSTANTS", ()):
        assert CONSTANTS[each.symbol] == each
    for name, value in numbers.items():
        assert Fraction(CONSTANTS[name].value) == value


def test_everything_has_a_source_and_what_is_not_ours_a_version():
    cited = [*STATEMENTS, *CONSTANTS.values(), *TABLES.values()]
    assert all(each.source for each in cited)
    ours = {each.source for each in cited if each.version is None}
    assert all("this platform" in each for each in ours), ours


def test_every_function_that_it_names_is_there_and_every_section_can_be_linked():
    assert all(callable(find_code(name)) for each in STATEMENTS for name in each.code)
    assert all(each.code for each in STATEMENTS)
    keys = [each.key for each in FOUND.sections]
    assert len(set(keys)) == len(keys)
    assert all(key.isalnum() for key in keys)


def test_every_region_has_its_row_by_the_table_that_counts():
    rows = {row[0]: row for row in TABLES["Annual figures and PUE by region"].rows}
    assert set(rows) == grid.REGIONS
    assert rows["eu-north-1"] == ("eu-north-1", "2024", 1100, 24_710, 791_260, 0, "SE")
    assert rows["eu-west-2"][2] is None, "a blank is not zero"
    assert rows["af-south-1"][5] is None
    for region, row in rows.items():
        assert row[3] == grid.read_intensity(region)


def test_every_gpu_has_its_interval_by_the_table_that_counts():
    rows = {row[0]: row for row in TABLES["Embodied emissions by GPU"].rows}
    for name, row in rows.items():
        found = embodied.find_embodied(name)
        total = found.total
        assert row[1:] == (
            found.scope,
            total.low_mg,
            total.value_mg,
            total.high_mg,
            found.source,
            found.version,
        )
    assert {"H100-SXM", "H200", "L40S"} <= set(rows)


def test_every_finding_and_every_quantity_is_explained():
    assert [row[0] for row in TABLES["Findings"].rows] == list(plausibility.MEANINGS)
    assert set(plausibility.MEANINGS) == set(get_args(plausibility.Code))
    assert dict(TABLES["What capture units tell"].rows) == measuring.UNITS


def open_page(suffix=""):
    """As a browser would, without a key."""
    event = build_event("GET", f"/v1/carbon/methodology{suffix}")
    event["headers"].pop("Authorization", None)
    event["multiValueHeaders"].pop("Authorization", None)
    answer = app.app(event, None)
    hold_to_document(event, answer)
    assert answer["statusCode"] == 200
    return answer


def test_the_document_is_open_to_everybody_and_is_the_one_that_counts():
    body = json.loads(open_page()["body"])
    assert body == render_methodology(FOUND).model_dump()
    assert body["version"] == METHODOLOGY_VERSION
    pounds = next(
        constant
        for section in body["sections"]
        for each in section["statements"]
        for constant in each["constants"]
        if constant["symbol"] == "GRAMS_PER_POUND"
    )
    assert (pounds["value"], pounds["unit"]) == ("453.59237", "g")


def test_the_page_shows_all_of_it_and_loads_nothing():
    page = open_page("/page")["body"]
    assert page == render_page(FOUND)
    for loaded in ("<script", "<link", "<img", "src=", "http", "url("):
        assert loaded not in page
    for each in STATEMENTS:
        assert page.count(f"<h3>{escape(each.title)}</h3>") == 1
    assert "E = C2 - C1" in page
    assert "C2 &lt; C1" in page, "what is put into the page is escaped"
    assert "<td>eu-north-1</td>" in page
    assert '<td class="number">24.710</td>' in page
    assert '<td class="number">\N{EN DASH}</td>' in page, "a blank is shown as one"
    assert '<td class="number">52,560 h</td>' in page


def test_the_page_escapes_whatever_a_source_is_called():
    section = FOUND.sections[0]
    evil = "<script>alert(1)</script>"
    statement = replace(
        section.statements[0], title=evil, formula=evil, detail=evil, source=evil, version=evil
    )
    table = replace(next(iter(TABLES.values())), title=evil, note=evil, source=evil)
    table = replace(table, rows=tuple((evil,) * len(table.columns) for _ in range(1)))
    changed = replace(section, title=evil, statements=(statement,), tables=(table,))
    page = render_page(replace(FOUND, version=evil, sections=(changed,)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
