"""Months of accounts' books on the database that the platform runs on."""

import hashlib
import itertools
import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from chalicelib import wiring
from chalicelib.accounts.service import authenticate, create_account, create_key
from chalicelib.billing.model import Entry, Leg, mark
from chalicelib.billing.ports import UsageLine
from chalicelib.billing.posting import Posting, add_posting, find_balance
from chalicelib.billing.service import check_chain, end_month
from chalicelib.core.clock import name_month, parse_instant
from chalicelib.core.errors import Unavailable
from chalicelib.statements.functions import issue_statements
from chalicelib.statements.issuing import issue
from chalicelib.statements.model import Party, name_number
from chalicelib.statements.service import find_head, list_statements, put_details
from chalicelib.storage.tables.ledger import StatementItem
from infra.local.cloud import EmbeddedCloud
from tests.fakes.events import TICK
from tests.integration.fleet_setup import become_operator
from tests.integration.in_process import wire_to

CREDIT = 1_000


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def build_line(account_id: str, day: str) -> UsageLine:
    return UsageLine(
        account_id,
        "2026-11",
        day,
        "rnt_a",
        1,
        "h100",
        2,
        "eu-north-1",
        "train",
        7,
        10,
        100,
        60,
        0,
        ((9, 10, 100),),
    )


def test_a_month_is_read_by_day_wherever_its_lines_stand(wired: None) -> None:
    ports = wiring.billing_ports()
    account_id = f"acc_{uuid.uuid4().hex}"
    late = "2026-10-31"
    days = [late, *(f"2026-11-{day:02d}" for day in (1, 10, 11, 12, 20, 21, 30))]
    tx = ports.rentals.transactions()
    for day in reversed(days):
        ports.usage.add_usage(tx, build_line(account_id, day))
    tx.commit()
    assert [line.day for line in ports.usage.list_month(account_id, "2026-11")] == days
    for first, last in itertools.combinations_with_replacement(days, 2):
        found = ports.usage.list_usage(account_id, "2026-11", first, last)
        assert [line.day for line in found] == [day for day in days if first <= day <= last]


def test_a_day_of_usage_adds_up_by_the_hour(wired: None) -> None:
    ports = wiring.billing_ports()
    account_id = f"acc_{uuid.uuid4().hex}"
    line = build_line(account_id, "2026-11-24")
    late = replace(line, seconds=2, micros=20, promo_micros=0, hours=((22, 1, 10), (23, 1, 10)))
    next_day = replace(late, day="2026-11-25", label=None, hours=((0, 2, 20),))
    more = replace(line, seconds=5, micros=50, promo_micros=1, overrun_micros=9, hours=((9, 5, 50),))
    next_month = replace(late, month="2026-12")
    for added in ([line], [more], [late, next_day, next_month]):
        tx = ports.rentals.transactions()
        for each in added:
            ports.usage.add_usage(tx, each)
        tx.commit()
    found = list(ports.usage.list_usage(account_id, "2026-11", "2026-11-01", "2026-11-30"))
    hours = ((9, 15, 150), (22, 1, 10), (23, 1, 10))
    assert found == [
        replace(line, seconds=17, micros=170, promo_micros=61, overrun_micros=9, hours=hours),
        next_day,
    ]
    assert found[0].paid_micros == 100
    assert list(ports.usage.list_usage(account_id, "2026-11", "2026-11-25", "2026-11-25")) == [next_day]
    assert list(ports.usage.list_month(account_id, "2026-12")) == [replace(next_month, hours=())]


def post(account_id: str, source_id: str, amount_micros: int, at: str) -> None:
    ports = wiring.billing_ports()
    posting = Posting(
        "test",
        source_id,
        "credit" if amount_micros > 0 else "refund",
        (Leg(f"operator_credit:{account_id}", -amount_micros),),
        {"amount_micros": amount_micros, "reason": source_id},
    )
    tx = ports.rentals.transactions()
    add_posting(ports, tx, find_balance(ports, account_id), posting, parse_instant(at))
    tx.commit()


def list_entries(account_id: str, month: str) -> list[Entry]:
    """Return all of a month that has no usage."""
    found = list(wiring.billing_ports().usage.list_month(account_id, month))
    entries = [each for each in found if isinstance(each, Entry)]
    assert entries == found
    return entries


def test_months_follow_the_chain_and_none_is_written_to_once_it_has_ended(wired: None) -> None:
    ports = wiring.billing_ports()
    account_id = f"acc_{uuid.uuid4().hex}"
    post(account_id, f"{account_id}-a", CREDIT, "2026-10-05T00:00:00Z")
    post(account_id, f"{account_id}-b", -300, "2026-10-31T23:59:59Z")
    october = find_balance(ports, account_id)
    stale = Posting("test", f"{account_id}-stale", "credit", (Leg("operator_credit:x", -1),))
    tx = ports.rentals.transactions()
    add_posting(ports, tx, october, stale, parse_instant("2026-10-31T23:59:59Z"))
    end_month(ports, account_id, parse_instant("2026-11-01T00:00:01Z"))
    # The turn of the month changed no version, and yet what was read before it does not stand.
    with pytest.raises(Unavailable):
        tx.commit()
    assert ports.months.list_months(account_id, "2026-10") == ["2026-10", "2026-11"]
    end_month(ports, account_id, parse_instant("2026-11-30T00:00:00Z"))
    post(account_id, f"{account_id}-late", 5, "2026-10-31T23:59:59Z")
    assert [
        (each.kind, each.leg_version, each.paid_micros) for each in list_entries(account_id, "2026-10")
    ] == [("credit", 1, CREDIT), ("refund", 2, -300)]
    (late,) = list_entries(account_id, "2026-11")
    assert (late.leg_version, late.details["reason"]) == (3, f"{account_id}-late")
    balance = find_balance(ports, account_id)
    assert (balance.month, mark(balance).paid_micros) == ("2026-11", 705)
    assert check_chain(ports, account_id) is None


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def ask(cloud: EmbeddedCloud, token: str, path: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{cloud.api_url}{path}", headers={"Authorization": f"Bearer {token}"})
    return cast("dict[str, Any]", json.loads(read_request(request)))


def read_request(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def test_a_month_that_is_over_is_issued_once_and_fetched_by_its_links(
    cloud: EmbeddedCloud, wired: None
) -> None:
    ports = wiring.statement_ports()
    operator = become_operator()
    account = create_account(wiring.account_ports(), operator, name="reader", currency="USD")
    token = create_key(wiring.account_ports(), operator, account.account_id, label="k").token
    renter = authenticate(wiring.account_ports(), token)
    put_details(ports, renter, Party("ACME", ("1 Quay",), "IE", "IE1234567X"))
    post(account.account_id, f"{account.account_id}-a", CREDIT, "2026-10-05T00:00:00Z")
    assert issue(ports, account.account_id, "2026-10") is not None
    head = find_head(ports, account.account_id, "2026-10")
    assert (head.state, head.customer) == ("issued", Party("ACME", ("1 Quay",), "IE", "IE1234567X"))
    assert issue(ports, account.account_id, "2026-10") == head
    shown = ask(cloud, token, "/v1/statements/2026-10")
    assert (shown["number"], shown["closing"]["paid_micros"]) == (head.number, CREDIT)
    for form, begins in (("csv", b"month,kind"), ("pdf", b"%PDF-")):
        body = read(ask(cloud, token, f"/v1/statements/2026-10/{form}")["url"])
        assert body.startswith(begins)
        assert hashlib.sha256(body).hexdigest() == head.digests[form]
    # The present month, by the deployed function, which writes a draft of it.
    post(account.account_id, f"{account.account_id}-b", 7, "2026-11-24T00:00:00Z")
    (present,) = [each for each in ask(cloud, token, "/v1/statements")["items"] if each["state"] == "open"]
    draft = read(ask(cloud, token, f"/v1/statements/{present['month']}/pdf")["url"])
    assert draft.startswith(b"%PDF-")


def test_the_scheduled_function_issues_what_is_over_and_numbers_it_on_from_the_last(wired: None) -> None:
    ports = wiring.statement_ports()
    accounts = [f"acc_{uuid.uuid4().hex}" for _ in range(3)]
    for account_id in accounts:
        post(account_id, f"{account_id}-a", CREDIT, "2026-10-05T00:00:00Z")
    issue_statements(TICK, None)
    numbers = [find_head(ports, account_id, "2026-10").number for account_id in accounts]
    year = name_month(wiring.clock().now_ms())[:4]
    last = ports.store.get_last_number(year)
    given = sorted(item.number for item in StatementItem.scan(StatementItem.number.exists()))
    assert given == [name_number(year, number) for number in range(1, last + 1)]
    assert set(numbers) <= set(given)
    assert not [each for each in ports.store.list_pending("2026-11") if each[0] in accounts]


def test_a_month_that_says_nothing_is_set_aside_once(wired: None) -> None:
    ports, account_id = wiring.statement_ports(), f"acc_{uuid.uuid4().hex}"
    post(account_id, f"{account_id}-a", CREDIT, "2026-08-05T00:00:00Z")
    end_month(ports.billing, account_id, parse_instant("2026-09-02T00:00:00Z"))
    for _ in range(2):
        head = issue(ports, account_id, "2026-09")
        assert head is not None
        assert head.state == "empty"
    months = [each.month for each in list_statements(ports, account_id, 10, None).items]
    assert "2026-09" not in months
    assert "2026-08" in months
