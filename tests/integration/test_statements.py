"""Months of accounts' books on the database that the platform runs on."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib import wiring
from chalicelib.billing.model import Leg, mark
from chalicelib.billing.ports import UsageLine
from chalicelib.billing.posting import Posting, add_posting, find_balance
from chalicelib.billing.service import check_chain, end_month
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import Unavailable
from infra.local.cloud import EmbeddedCloud
from tests.integration.in_process import wire_to

CREDIT = 1_000


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def test_a_day_of_usage_adds_up_by_the_hour(wired: None) -> None:
    ports = wiring.billing_ports()
    account_id = f"acc_{uuid.uuid4().hex}"
    line = UsageLine(
        account_id,
        "2026-11",
        "2026-11-24",
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
    late = replace(line, seconds=2, micros=20, promo_micros=0, hours=((22, 1, 10), (23, 1, 10)))
    next_day = replace(late, day="2026-11-25", label=None, hours=((0, 2, 20),))
    more = replace(line, seconds=5, micros=50, promo_micros=1, overrun_micros=9, hours=((9, 5, 50),))
    next_month = replace(late, month="2026-12")
    for added in ([line], [more], [late, next_day, next_month]):
        tx = ports.rentals.transactions()
        for each in added:
            ports.usage.add_usage(tx, each)
        tx.commit()
    found = list(ports.usage.list_usage(account_id, "2026-11"))
    hours = ((9, 15, 150), (22, 1, 10), (23, 1, 10))
    assert found == [
        replace(line, seconds=17, micros=170, promo_micros=61, overrun_micros=9, hours=hours),
        next_day,
    ]
    assert found[0].paid_micros == 100
    assert list(ports.usage.list_usage(account_id, "2026-11", "2026-11-25", "2026-11-25")) == [next_day]
    assert list(ports.usage.list_usage(account_id, "2026-12")) == [next_month]


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
        (each.kind, each.leg_version, each.paid_micros)
        for each in ports.usage.list_entries(account_id, "2026-10")
    ] == [("credit", 1, CREDIT), ("refund", 2, -300)]
    (late,) = ports.usage.list_entries(account_id, "2026-11")
    assert (late.leg_version, late.details["reason"]) == (3, f"{account_id}-late")
    assert list(ports.usage.list_usage(account_id, "2026-10")) == []
    balance = find_balance(ports, account_id)
    assert (balance.month, mark(balance).paid_micros) == ("2026-11", 705)
    assert check_chain(ports, account_id) is None
