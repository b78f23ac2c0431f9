"""Each table says how long it keeps, and what it says is what the stack does."""

import json
import re

from chalicelib.core.clock import parse_instant
from chalicelib.privacy.retention import PERIODS
from chalicelib.statements.store import find_end_seconds
from chalicelib.storage import connection
from infra.cdk.table_access import TABLE_ACCESS
from infra.cdk.tables import TABLES
from infra.local.paths import ROOT

#: What no attribute, body or setting may be called (PCI DSS 3.2: card data is Stripe's alone).
CARD = re.compile(r"(^|_)(pan|cvc|cvv|card_number|card_code|expiry_month|track_data)($|_)")


def test_every_table_has_a_period_and_every_period_a_table():
    assert set(PERIODS) == {spec.name for spec in TABLES}


def test_what_is_said_to_expire_is_what_expires_in_the_stack():
    said = {name for name, period in PERIODS.items() if period.ends == "expiry"}
    assert said == {spec.name for spec in TABLES if spec.expires}


def test_what_is_kept_for_the_law_is_not_erasable():
    erasable = {name for name, access in TABLE_ACCESS["RunPrivacyRequests"].items() if access == "erase"}
    # Of both only details, settings and customers, which the inventory calls ``delete``.
    assert {name for name in erasable if PERIODS[name].ground == "law"} == {"statements", "payments"}
    assert TABLE_ACCESS["RunPrivacyRequests"]["ledger"] == "read"


def test_a_statement_goes_ten_years_after_the_end_of_its_year():
    assert find_end_seconds("2026-01") == find_end_seconds("2026-12")
    assert find_end_seconds("2026-12") * 1000 == parse_instant("2037-01-01T00:00:00Z")


def test_no_attribute_and_no_body_has_room_for_a_card():
    names = {
        each.attr_name
        for model in connection.find_models()
        if model.Meta.table_name
        for each in model.get_attributes().values()
    }
    document = json.loads((ROOT / "chalicelib/runtime/openapi.json").read_text())
    names |= {
        name for schema in document["components"]["schemas"].values() for name in schema.get("properties", {})
    }
    assert len(names) > 500
    assert not [name for name in names if CARD.search(name)]
