"""What the statement of a busy account takes: 10,000 rental-days, read, checked, printed and kept."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chalicelib import wiring
from chalicelib.billing.model import USAGE, Leg
from chalicelib.billing.ports import UsageLine
from chalicelib.billing.posting import Posting, add_posting, find_balance
from chalicelib.core.clock import parse_instant
from chalicelib.statements.issuing import issue
from chalicelib.statements.service import read_statement
from tests.performance.consumption import watch_consumption

RENTALS, DAYS, GPUS, SECONDS = 400, 25, 2, 3_600
PRICE_MICROS_PER_GPU_HOUR = 2_490_000
MONTH, FIRST_DAY = "2026-09", datetime(2026, 9, 1, tzinfo=UTC)
CREDIT_MICROS = 10**12
#: Lines of one transaction: an item each, beside the journal's.
LINES = 80


def measure_statement(record: Callable[[str, float, str], None]) -> None:
    """Issue the month of an account that ran 400 rentals on each of 25 days, in every hour of them."""
    ports, account_id = wiring.statement_ports(), f"acc_{uuid.uuid4().hex}"
    # An instance loads its printer and its fonts for the first that it issues.
    other_id = f"acc_{uuid.uuid4().hex}"
    post(other_id, "credit", CREDIT_MICROS, ())
    started = time.perf_counter()
    assert issue(ports, other_id, MONTH) is not None
    record("statement_first_of_an_instance_seconds", time.perf_counter() - started, "s")
    posted_micros = write_month(account_id, hours=24)
    with watch_consumption() as consumed:
        statement = read_statement(ports, account_id, MONTH)
    assert statement.charged_micros == posted_micros == RENTALS * DAYS * GPUS * PRICE_MICROS_PER_GPU_HOUR
    assert len(statement.stays) == RENTALS
    record("statement_10000_rental_days_read_units", consumed.read_units, "units")
    started = time.perf_counter()
    read_statement(ports, account_id, MONTH)
    record("statement_10000_rental_days_json_seconds", time.perf_counter() - started, "s")
    # Ends the month, adds it up, numbers it, writes CSV and PDF, and keeps both.
    started, cpu = time.perf_counter(), time.thread_time()
    head = issue(ports, account_id, MONTH)
    # What is not CPU of ours is the embedded DynamoDB's: for each page it looks at a whole partition.
    record("statement_10000_rental_days_cpu_seconds", time.thread_time() - cpu, "s")
    record("statement_10000_rental_days_seconds", time.perf_counter() - started, "s")
    assert head is not None
    assert set(head.digests) == {"csv", "pdf"}
    # Each hour of a day has two numbers more in its row, which a statement does not read but DynamoDB does.
    account_id = f"acc_{uuid.uuid4().hex}"
    assert write_month(account_id, hours=1) == posted_micros
    started = time.perf_counter()
    assert issue(ports, account_id, MONTH) is not None
    record("statement_10000_days_of_one_hour_seconds", time.perf_counter() - started, "s")


def write_month(account_id: str, hours: int) -> int:
    """Write a month's lines under journals that sum to them, each day's over some hours; return the sum."""
    posted_micros = 0
    base = UsageLine(
        account_id,
        MONTH,
        "",
        "",
        1,
        "h100",
        GPUS,
        "eu-north-1",
        "train",
        PRICE_MICROS_PER_GPU_HOUR,
        SECONDS,
        GPUS * PRICE_MICROS_PER_GPU_HOUR,
        0,
        0,
        tuple((hour, SECONDS // hours, GPUS * PRICE_MICROS_PER_GPU_HOUR // hours) for hour in range(hours)),
    )
    rentals = [f"rnt_{number:032x}" for number in range(RENTALS)]
    post(account_id, "credit", CREDIT_MICROS, ())
    lines = [
        replace(base, day=f"{FIRST_DAY + timedelta(days=day):%Y-%m-%d}", rental_id=rental_id)
        for day in range(DAYS)
        for rental_id in rentals
    ]
    for start in range(0, len(lines), LINES):
        some = lines[start : start + LINES]
        micros = sum(line.micros for line in some)
        post(account_id, USAGE, -micros, some)
        posted_micros += micros
    return posted_micros


def post(account_id: str, kind: str, micros: int, lines: Sequence[UsageLine]) -> None:
    ports = wiring.billing_ports()
    posting = Posting(
        "bench",
        uuid.uuid4().hex,
        kind,
        (Leg(f"operator_credit:{account_id}", -micros),),
        {"reason": "bench"},
    )
    tx = ports.rentals.transactions()
    for line in lines:
        ports.usage.add_usage(tx, line)
    add_posting(
        ports, tx, find_balance(ports, account_id), posting, parse_instant(f"{FIRST_DAY:%Y-%m-%d}T12:00:00Z")
    )
    tx.commit()
