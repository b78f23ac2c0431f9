"""A month's statement: the ledger in every form, issued once, under numbers without a gap."""

import csv
import hashlib
import io
from dataclasses import replace

import pytest
from pypdf import PdfReader

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.posting import find_balance
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.metering.failover import lose_stay
from chalicelib.statements.assembling import COLUMNS, assemble
from chalicelib.statements.issuing import issue, issue_statements
from chalicelib.statements.linking import link_document
from chalicelib.statements.model import Party, StatementMismatch, check_adds_up
from chalicelib.statements.pdf_gateway import print_statement
from chalicelib.statements.service import (
    find_head,
    list_statements,
    put_details,
    read_details,
    read_statement,
)
from tests.factories import add_renter, give_credit, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books, post_dispute
from tests.unit.billing.test_crediting import promise
from tests.unit.billing.test_months import seed

JANUARY, FEBRUARY = "2027-01", "2027-02"
LATER = 10**15


@pytest.fixture
def seeded():
    """January: two rentals over two days, one of them lost; promotional credit; a bank takes money back."""
    seeded = seed("2027-01-30T23:30:00Z")
    promise(seeded, 2_000_000)
    lost, kept = start(seeded, 2, key="a", label="train"), start(seeded, 1, key="b")
    for minute in range(40):
        seeded.cloud.clock.advance_seconds(60)
        for rental in (lost, kept):
            seeded.report(seeded.rental(rental.rental_id), "running")
            if minute % 7 == 6:
                charge_rental(seeded.cloud.billing, rental.rental_id)
    lose_stay(
        seeded.cloud.meters,
        seeded.rental(lost.rental_id),
        "host_lost",
        seeded.cloud.clock.advance_seconds(60),
    )
    for rental in (lost, kept):
        charge_rental(seeded.cloud.billing, rental.rental_id)
    post_dispute(seeded, seeded.renter.account_id, "du_1", 5_000)
    check_books(seeded)
    return seeded


def turn_to_february(seeded):
    seeded.cloud.clock.value_ms = parse_instant("2027-02-01T00:10:00Z")


def read(seeded, month=JANUARY):
    return read_statement(seeded.cloud.statements, seeded.renter.account_id, month)


def read_rows(seeded, month=JANUARY):
    ports = seeded.cloud.statements
    file = io.BytesIO()
    assemble(ports, find_head(ports, seeded.renter.account_id, month), file)
    text = file.getvalue().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_text(pdf):
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def sum_column(rows, name, kind=None):
    return sum(int(row[name]) for row in rows if row[name] and kind in (None, row["kind"]))


def list_events(seeded, kind):
    return [event for event in seeded.cloud.db.table("events").values() if event.type == kind]


def test_statement_and_csv_are_the_ledger_to_the_unit(seeded):
    statement, rows = read(seeded), read_rows(seeded)
    balance = find_balance(seeded.cloud.billing, seeded.renter.account_id)
    assert (statement.closing_paid_micros, statement.closing_promo_micros) == (
        balance.paid_micros,
        balance.promo_micros,
    )
    legs = [leg for leg, _ in seeded.cloud.db.table("chains").values()]
    for purse in ("paid", "promo"):
        posted = sum(leg.amount_micros for leg in legs if leg.ledger_account.endswith(purse))
        assert sum_column(rows, f"{purse}_micros") == posted
    used = [leg for leg in legs if leg.journal_key.startswith("usage#")]
    assert -sum(leg.amount_micros for leg in used) == statement.charged_micros
    assert sum_column(rows, "charge_micros", "usage") == statement.charged_micros
    assert sum(micros for _, micros in statement.days) == statement.charged_micros
    rentals = seeded.cloud.db.table("rentals").values()
    assert sum(rental.charge_micros for rental in rentals) == statement.charged_micros
    assert {each.kind for each in statement.totals} == {"credit", "promo_credit", "service_credit", "dispute"}
    assert [each.rental_id for each in statement.stays] == sorted(each.rental_id for each in rentals)


def test_every_row_has_the_columns_and_a_charge_says_what_for(seeded):
    rows = read_rows(seeded)
    assert all(tuple(row) == COLUMNS for row in rows)
    days = [(row["rental_id"], row["day"]) for row in rows if row["kind"] == "usage"]
    assert len(days) == len(set(days)) == 4
    train = [row for row in rows if row["label"] == "train"]
    assert {row["gpu_count"] for row in train} == {"2"}
    assert all(int(row["gpu_seconds"]) == 2 * int(row["seconds"]) for row in train)


def test_what_is_over_is_issued_once_and_kept_as_it_was(seeded):
    turn_to_february(seeded)
    ports, account_id = seeded.cloud.statements, seeded.renter.account_id
    assert [issue_statements(ports, LATER).issued for _ in range(2)] == [1, 0]
    head = find_head(ports, account_id, JANUARY)
    assert (head.state, head.number) == ("issued", "PC-2027-000001")
    kept = seeded.cloud.documents.files
    for form in ("csv", "pdf"):
        body = kept[f"statements/{account_id}/{JANUARY}.{form}"]
        assert head.digests[form] == hashlib.sha256(body).hexdigest()
    (event,) = list_events(seeded, "statement.issued")
    assert event.data["number"] == head.number
    # Whatever comes late stands in the next month.
    seeded.cloud.clock.advance_seconds(-900)
    give_credit(seeded, account_id, 77, key="late")
    assert print_statement(read(seeded)) == kept[f"statements/{account_id}/{JANUARY}.pdf"]
    assert [each.kind for each in read(seeded, FEBRUARY).movements] == ["credit"]
    check_books(seeded)


def test_the_next_month_begins_where_this_one_ended(seeded):
    before = read(seeded)
    turn_to_february(seeded)
    issue_statements(seeded.cloud.statements, LATER)
    opening = read(seeded, FEBRUARY).head.opening
    assert (opening.paid_micros, opening.promo_micros) == (
        before.closing_paid_micros,
        before.closing_promo_micros,
    )
    assert opening == find_head(seeded.cloud.statements, seeded.renter.account_id, JANUARY).closing


def test_numbers_have_no_gap_whoever_dies_and_wherever():
    seeded = seed_cloud(credit_micros=0)
    seeded.cloud.clock.value_ms = parse_instant("2027-01-31T12:00:00Z")
    for number in range(4):
        add_renter(seeded, name=f"r{number}", credit_micros=1_000 + number)
    turn_to_february(seeded)
    db, ports = seeded.cloud.db, seeded.cloud.statements
    deaths = 0
    for when in ("crash_before", "crash_after"):
        for _ in range(6):
            setattr(db, when, db.commits + deaths % 3)
            try:
                issue_statements(ports, LATER)
            except Crash:
                deaths += 1
            setattr(db, when, None)
    seeded.cloud.documents.fails = 1
    issue_statements(ports, LATER)
    issue_statements(ports, LATER)
    heads = [row for row in db.table("months").values() if row.month == JANUARY]
    assert deaths > 4
    assert {row.state for row in heads} == {"issued"}
    assert sorted(row.number for row in heads) == [f"PC-2027-{n:06d}" for n in range(1, 5)]
    assert len(list_events(seeded, "statement.issued")) == len(heads) == 4
    check_books(seeded)


def test_two_that_number_at_once_give_two_numbers():
    seeded = seed_cloud(credit_micros=0)
    seeded.cloud.clock.value_ms = parse_instant("2027-01-31T12:00:00Z")
    accounts = [add_renter(seeded, name=name, credit_micros=1_000).account_id for name in "ab"]
    turn_to_february(seeded)
    db, ports = seeded.cloud.db, seeded.cloud.statements
    issue_early = [None]

    def interrupt():
        if db.table("months").get((accounts[0], JANUARY)).state == "closed" and issue_early:
            issue_early.clear()
            issue(ports, accounts[1], JANUARY)

    db.interlude = interrupt
    issue(ports, accounts[0], JANUARY)
    assert not issue_early
    numbers = [db.table("months")[account_id, JANUARY].number for account_id in accounts]
    assert sorted(numbers) == ["PC-2027-000001", "PC-2027-000002"]


def test_lines_that_do_not_lead_to_the_balance_are_not_issued_and_keep_no_other_back(seeded):
    other = add_renter(seeded, name="other", credit_micros=500)
    turn_to_february(seeded)
    rows = seeded.cloud.db.table("usage")
    key = next(key for key in rows if key[0] == seeded.renter.account_id)
    rows[key] = replace(rows[key], micros=rows[key].micros + 1)
    done = issue_statements(seeded.cloud.statements, LATER)
    assert done.failed == ((seeded.renter.account_id, JANUARY, "statement_mismatch"),)
    assert (done.issued, done.left) == (1, False)
    ports = seeded.cloud.statements
    head = find_head(ports, seeded.renter.account_id, JANUARY)
    assert (head.state, head.number) == ("closed", None)
    assert find_head(ports, other.account_id, JANUARY).number == "PC-2027-000001"
    with pytest.raises(StatementMismatch):
        assemble(ports, head, io.BytesIO())
    with pytest.raises(StatementMismatch):
        check_adds_up(read(seeded))


def test_a_month_in_which_nothing_was_posted_has_neither_number_nor_statement(seeded):
    ports, account_id = seeded.cloud.statements, seeded.renter.account_id
    for month in ("2027-02", "2027-03"):
        seeded.cloud.clock.value_ms = parse_instant(f"{month}-02T00:00:00Z")
        done = issue_statements(ports, LATER)
    assert (done.issued, done.empty) == (0, 1)
    assert issue_statements(ports, LATER).empty == 0
    with pytest.raises(NotFound):
        find_head(ports, account_id, FEBRUARY)
    assert [head.month for head in list_statements(ports, account_id, 10, None).items] == [
        "2027-03",
        JANUARY,
    ]
    assert seeded.cloud.db.table("numbers") == {"2027": 1}


def test_when_time_runs_out_the_next_run_goes_on(seeded):
    turn_to_february(seeded)
    done = issue_statements(seeded.cloud.statements, seeded.cloud.clock.now_ms())
    assert (done.issued, done.left) == (0, True)
    assert issue_statements(seeded.cloud.statements, LATER).issued == 1


def test_a_statement_is_made_out_to_whom_the_account_named_when_it_was_numbered(seeded):
    ports, renter = seeded.cloud.statements, seeded.renter
    assert read_details(ports, renter.account_id) == Party()
    first = Party("Łódź Computing Sp. z o.o.", ("ul. Piotrkowska 1", "Łódź"), "PL", "PL5250012312")
    put_details(ports, renter, first)
    turn_to_february(seeded)
    issue_statements(ports, LATER)
    put_details(ports, renter, replace(first, name="Renamed"))
    assert read(seeded).customer == first
    text = read_text(seeded.cloud.documents.files[f"statements/{renter.account_id}/{JANUARY}.pdf"])
    for line in ("Łódź Computing Sp. z o.o.", "PL5250012312", "Provocative Cloud Ltd", "PC-2027-000001"):
        assert line in text


@pytest.mark.parametrize("name", ["株式会社", "a\nb", "\u202eevil", "🚀"])
def test_a_name_that_no_document_can_print_is_refused(seeded, name):
    with pytest.raises(InvalidInput) as refused:
        put_details(seeded.cloud.statements, seeded.renter, Party(name))
    assert refused.value.code == "not_printable"


def test_no_cell_is_a_formula(seeded):
    promise(seeded, 3, key="evil")
    rows = seeded.cloud.db.table("entries")
    key = max(rows, key=lambda each: each[2])
    rows[key] = replace(rows[key], details={"reason": "=HYPERLINK(1)"})
    assert read_rows(seeded)[-1]["note"] == "'=HYPERLINK(1)"


def test_the_current_month_is_linked_as_a_draft_of_now(seeded):
    ports, account_id = seeded.cloud.statements, seeded.renter.account_id
    links = [link_document(ports, account_id, JANUARY, "pdf") for _ in range(2)]
    assert all("/drafts/" in link.url and f"draft-{JANUARY}.pdf" in link.url for link in links)
    assert links[0].url != links[1].url
    draft = next(iter(seeded.cloud.documents.files.values()))
    assert "Not final" in read_text(draft)
    turn_to_february(seeded)
    issue_statements(ports, LATER)
    url = link_document(ports, account_id, JANUARY, "csv").url
    assert url.endswith(f"statements/{account_id}/{JANUARY}.csv?name=PC-2027-000001.csv")


def test_the_document_says_what_the_statement_says(seeded):
    statement = read(seeded)
    text = read_text(print_statement(statement))
    for stay in statement.stays:
        assert f"{stay.micros // 10**6}.{stay.micros % 10**6:06d}" in text
    assert "Credit for our failures" in text
    assert "Taken back by a bank" in text


@pytest.mark.parametrize("month", ["2027-13", "2027-1", "january", "DETAILS"])
def test_what_is_no_month_is_refused(seeded, month):
    with pytest.raises(InvalidInput):
        read(seeded, month)


def test_a_month_before_the_account_is_not_found(seeded):
    with pytest.raises(NotFound):
        read(seeded, "2026-12")
