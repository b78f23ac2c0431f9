"""How the document says that things are written is how the edge takes them."""

import json
import re

import pytest

from chalicelib.catalog.schemas import TemplateRequest
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.reporting.model import read_period
from chalicelib.runtime.bodies import INSTANT_SCHEMA, parse_body
from chalicelib.runtime.http import Call
from chalicelib.statements.model import check_month
from tests.unit.infra.json_schema import find_faults
from tests.unit.infra.test_openapi import CONTRACT, WRITTEN, walk


def test_what_a_parameter_is_written_like_is_what_the_routes_take():
    def find(path, name):
        (found,) = (each for each in WRITTEN["GET", path]["parameters"] if each["name"] == name)
        return re.compile(found["schema"]["pattern"])

    month = find("/v1/statements/{month}", "month")
    period = find("/v1/carbon/reports/{period}", "period")
    day = find("/v1/ledger-entries/proofs/{day}", "day")
    for text in ("2026-11", "2026-01", "1970-12"):
        assert month.search(check_month(text))
        assert period.search(read_period(text).name)
    for text in ("2026-11-30", "2026-12-31", "2028-02-29"):
        assert period.search(read_period(text).name)
        assert day.search(text)
    for text in ("2026", "2026-13", "2026-00", "26-11", "2026-11-", "2026-11-32", " 2026-11"):
        assert not month.search(text)
        assert not period.search(text)


@pytest.mark.parametrize(
    ("key", "good"),
    [("a", True), ("a b", True), ("~!", True), (" a", False), ("a ", False), ("", False), ("ä", False)],
)
def test_what_an_idempotency_key_is_written_like_is_what_the_edge_takes(key, good):
    (header,) = (
        each for each in WRITTEN["POST", "/v1/rentals"]["parameters"] if each["name"] == "Idempotency-Key"
    )
    assert bool(re.search(header["schema"]["pattern"], key)) == good
    call = Call(None, b"", {}, {"idempotency-key": key}, "request-1")
    if good:
        assert call.idempotency_key == key
    elif key.strip() == key:
        with pytest.raises(InvalidInput):
            _ = call.idempotency_key


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ("CreditRequest", "expires_at"),
        ("PriceRequest", "effective_from"),
        ("TermRequest", "effective_from"),
        ("TermRequest", "effective_until"),
        ("WindowRequest", "starts_at"),
        ("WindowRequest", "ends_at"),
        ("CreateReservationRequest", "starts_at"),
    ],
)
def test_an_instant_is_written_down_as_one(body, member):
    schema = CONTRACT["components"]["schemas"][body]["properties"][member]
    ((found),) = [each for each in schema.get("anyOf", [schema]) if each["type"] == "string"]
    assert {name: found[name] for name in INSTANT_SCHEMA} == INSTANT_SCHEMA


def test_an_instant_has_a_year_that_the_edge_takes():
    pattern = re.compile(INSTANT_SCHEMA["pattern"])
    for year, good in (("1969", False), ("1970", True), ("1999", True), ("2026", True), ("9999", True)):
        text = f"{year}-06-01T00:00:00Z"
        assert bool(pattern.search(text)) == good
        if good:
            assert parse_instant(text) >= 0
        else:
            with pytest.raises(InvalidInput):
                parse_instant(text)


def test_names_of_another_form_than_is_written_are_refused_by_document_and_edge_alike():
    body = {"name": "training", "gpu_type": "H100", "gpu_count": 1, "image": "a", "env": {"not a name": "1"}}
    assert list(find_faults({"$ref": "#/components/schemas/TemplateRequest"}, body, CONTRACT))
    with pytest.raises(InvalidInput):
        parse_body(json.dumps(body).encode(), TemplateRequest)


def test_no_pattern_means_another_thing_to_another_engine():
    # What counts as a space, a letter or a digit differs from one to the next.
    patterns = [
        value["pattern"] for _, value in walk(CONTRACT) if isinstance(value, dict) and "pattern" in value
    ]
    assert not [each for each in patterns if isinstance(each, str) and re.search(r"\\[sSwWdDb]", each)]
