"""What people type about money, against the API's own handlers."""

import copy
import csv
import hashlib
import io
from dataclasses import replace

import pytest

from chalicelib.billing.sealing import seal_ledger
from chalicelib.billing.seals import name_day
from chalicelib.payments.refilling import refill_wallets
from chalicelib.payments.settling import settle_payment
from chalicelib.statements.issuing import issue_statements
from chalicelib.statements.ports import Link
from provocative.proving import CHAIN_START, is_in_seal, leads_to
from tests.factories import GPU_TYPE, give_credit
from tests.unit.billing.books import post_dispute
from tests.unit.provocative.test_renters import rent, report


def live(terminal, seconds=60):
    """Return a rental that ran, was charged and is over."""
    rental_id = rent(terminal, gpus="2")["rental_id"]
    seeded = terminal.platform.seeded
    report(terminal, rental_id, "running")
    for _ in range(seconds // 20):
        seeded.cloud.clock.advance_seconds(20)
        report(terminal, rental_id, "running")
    terminal("terminate", rental_id, "--yes")
    report(terminal, rental_id, "terminated", wiped=True)
    seeded.charge_all()
    return rental_id


def test_a_ledger_says_what_was_posted_and_usage_sums_it(terminal):
    rental_id = live(terminal)
    entries = terminal.read("ledger")["items"]
    assert [each["kind"] for each in entries] == ["usage", "credit"]
    assert entries[0]["details"]["rental_id"] == rental_id
    assert entries[0]["previous_hash"] == entries[1]["hash"]
    shown = terminal("ledger").out
    assert rental_id in shown
    assert "-0.083" in shown
    usage = terminal.read("usage", "--by", "day", "--group-by", "rental")
    assert usage["total_charge_micros"] == -entries[0]["amount_micros"]
    assert [each["group"] for each in usage["items"]] == [rental_id]
    assert "in all" in terminal("usage", "--group-by", "gpu_type").out
    assert GPU_TYPE in terminal("usage", "--group-by", "gpu_type").out


def test_a_budget_is_made_shown_changed_and_removed(terminal):
    made = terminal.read("budgets", "create", "research", "--limit", "500", "--label", "train")
    assert (made["scope"], made["scope_value"], made["hard_stop"]) == ("label", "train", True)
    assert made["limit_micros"] == 500_000_000
    budget_id = made["budget_id"]
    assert "research" in terminal("budgets").out
    assert "stops its rentals" in terminal("budgets", "show", budget_id).out
    changed = terminal.read("budgets", "change", budget_id, "--limit", "12.50", "--soft", "--alert", "90")
    assert (changed["limit_micros"], changed["hard_stop"]) == (12_500_000, False)
    assert changed["alert_percents"] == [90]
    terminal("budgets", "remove", budget_id, "--yes")
    assert terminal("budgets").out.startswith("There are no budgets")


def test_a_budget_that_does_not_cover_a_start_says_so(terminal):
    budget = terminal.read("budgets", "create", "tight", "--limit", "0.01")
    refused = terminal("rent", "-g", GPU_TYPE, "--", "true", code=1)
    assert "budget_exhausted" in refused.err
    terminal("budgets", "remove", budget["budget_id"], "--yes")
    rent(terminal, gpus="1")


def test_a_spend_limit_is_set_and_lifted(terminal):
    assert "80.00 USD an hour" in terminal("spend-limit", "80").out
    assert terminal.read("spend-limit")["spend_limit_micros_per_hour"] is None


def test_a_top_up_prints_where_it_is_paid_and_an_operator_gives_it_back(terminal):
    made = terminal.read("topup", "50", "--idempotency-key", "once")
    assert made == terminal.read("topup", "50", "--idempotency-key", "once")
    assert made["checkout_url"] in " ".join(terminal("topup", "50", "--idempotency-key", "once").out.split())
    platform = terminal.platform
    platform.stripe.pay(platform.till.store.get_top_up(made["top_up_id"]), "pi_1")
    settle_payment(platform.till, "pi_1")
    assert terminal.read("topups")["items"][0]["state"] == "succeeded"
    refunded = terminal.read("accounts", "refund", made["top_up_id"], "20", "--yes", role="operator")
    assert refunded["refunded_micros"] == 20_000_000
    assert [each["kind"] for each in terminal.read("ledger")["items"]][:2] == ["refund", "top_up"]


def test_a_card_is_saved_and_fills_the_wallet_up_by_itself(terminal):
    platform = terminal.platform
    account_id = platform.seeded.renter.account_id
    assert "None is saved yet" in terminal("payment-methods").out
    page = terminal.read("payment-methods", "add", "--idempotency-key", "once")
    assert page == terminal.read("payment-methods", "add", "--idempotency-key", "once")
    platform.stripe.save_method(account_id, "pm_1")
    assert terminal.read("payment-methods")[0]["payment_method_id"] == "pm_1"
    assert "4242" in terminal("payment-methods").out
    order = ("--below", "10", "--amount", "50", "--monthly-limit", "200")
    assert terminal.read("auto-top-up", "set", "pm_1", *order)["state"] == "active"
    post_dispute(platform.seeded, account_id, "all_of_it", terminal.read("cost")["posted_micros"])
    assert refill_wallets(platform.till, 10**15).ended == 1
    assert terminal.read("cost")["posted_micros"] == 50_000_000
    assert "50.00 USD of 200.00 USD" in " ".join(terminal("auto-top-up").out.split())
    terminal("payment-methods", "remove", "pm_1", "--yes")
    assert "paused, since method removed" in " ".join(terminal("auto-top-up").out.split())
    assert "off" in terminal("auto-top-up", "off").out
    assert terminal.read("auto-top-up")["state"] == "off"
    assert "portal.example" in terminal("billing-portal").out
    refused = terminal("auto-top-up", "set", "pm_1", *order, code=3)
    assert "no such payment method" in refused.err


def test_promotional_credit_is_shown_with_its_end_and_a_charge_is_reversed(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    credit = ("accounts", "credit", account_id, "5", "--reason", "welcome")
    wallet = terminal.read(*credit, "--promo", "--expires-at", "2030-01-01T00:00Z", role="operator")
    assert wallet["promo_micros"] == 5_000_000
    assert "5.00 USD until 2030-01-01" in " ".join(terminal("cost").out.split())
    live(terminal)
    key = terminal.read("ledger")["items"][0]["journal_key"]
    before = terminal.read("cost")["posted_micros"]
    reverse = ("accounts", "reverse", key, "--reason", "measured wrongly", "--yes")
    after = terminal.read(*reverse, role="operator")
    assert after["posted_micros"] == before + 83_000
    assert terminal.read("ledger")["items"][0]["reverses"] == key


def test_a_month_is_listed_shown_and_written_to_a_file(terminal, tmp_path):
    rental_id = live(terminal)
    cloud = terminal.platform.cloud
    (open_month,) = terminal.read("statements")["items"]
    month = open_month["month"]
    assert (open_month["state"], open_month["number"]) == ("open", None)
    assert "balance now" in terminal("statements", "show", month).out
    cloud.clock.advance_seconds(40 * 86_400)
    issue_statements(cloud.statements, 10**15)
    assert "PC-2027-000001" in terminal("statements").out
    shown = terminal("statements", "show", month).out
    assert rental_id in shown
    assert "closing balance" in shown
    statement = terminal.read("statements", "show", month)
    table = tmp_path / "month.csv"
    assert terminal.read("statements", "download", month, str(table))["bytes"] == table.stat().st_size
    rows = list(csv.DictReader(io.StringIO(table.read_text(), newline="")))
    assert sum(int(row["charge_micros"] or 0) for row in rows) == statement["charges"]["charge_micros"]
    assert hashlib.sha256(table.read_bytes()).hexdigest() == statement["digests"]["csv"]
    terminal("statements", "download", month, str(tmp_path / "month.pdf"))
    assert (tmp_path / "month.pdf").read_bytes().startswith(b"%PDF-")
    assert "ends in .csv or .pdf" in terminal("statements", "download", month, "x.txt", code=2).err


def test_a_link_that_is_over_leaves_no_file_behind(terminal, tmp_path):
    live(terminal)
    (month,) = (each["month"] for each in terminal.read("statements")["items"])
    terminal.platform.cloud.documents.link = lambda _key, _name: Link("https://documents.test/gone", 0)
    refused = terminal("statements", "download", month, str(tmp_path / "month.pdf"), code=4)
    assert "links last five minutes" in " ".join(refused.err.split())
    assert not list(tmp_path.glob("month*"))


def test_billing_details_are_set_member_by_member(terminal):
    assert "not given" in terminal("billing-details").out
    assert "--country" in terminal("billing-details", "--name", "ACME", code=2).err
    given = ("--name", "ACME", "--country", "IE", "--address", "1 Quay", "--address", "Dublin")
    terminal("billing-details", *given)
    changed = terminal.read("billing-details", "--tax-id", "IE1234567X")
    assert changed == {
        "name": "ACME",
        "address_lines": ["1 Quay", "Dublin"],
        "country": "IE",
        "tax_id": "IE1234567X",
    }
    refused = terminal("billing-details", "--name", "\u682a\u5f0f", code=1)
    assert "not_printable" in refused.err


def seal_day(terminal):
    """End the day and seal it; return its name."""
    cloud = terminal.platform.cloud
    day = name_day(cloud.clock.now_ms())
    cloud.clock.advance_seconds(86_400)
    seal_ledger(cloud.seals, 10**15)
    return day


def credit(terminal):
    seeded = terminal.platform.seeded
    now_ms = seeded.cloud.clock.advance_seconds(60)
    give_credit(seeded, seeded.renter.account_id, 1_000_000, key=f"credit at {now_ms}")


def test_a_ledger_is_proven_against_the_seal_of_a_day_by_who_owns_it(terminal):
    live(terminal)
    day = seal_day(terminal)
    credit(terminal)
    proof = terminal.read("ledger-proof", day)
    entries = terminal.read("ledger")["items"]
    assert (entries[1]["version"], entries[1]["hash"]) == (proof["version"], proof["hash"])
    assert proof["version"] < entries[0]["version"]
    assert proof["seal"]["root"] in terminal("ledger-proof", day).out
    assert "invalid_day" in terminal("ledger-proof", "today", code=1).err


def test_a_ledger_that_was_rewritten_under_a_seal_is_found_by_who_owns_it(terminal):
    live(terminal)
    day = seal_day(terminal)
    assert terminal.read("ledger-proof", day)["version"] == 2
    chains, account_id = (
        terminal.platform.cloud.db.table("chains"),
        terminal.platform.seeded.renter.account_id,
    )
    first, second = (chains[account_id, version][0] for version in (1, 2))
    forged = replace(first, amount_micros=first.amount_micros + 1)
    follows = replace(second, previous_hash=forged.hash)
    chains[account_id, 1], chains[account_id, 2] = (forged, forged.hash), (follows, follows.hash)
    assert "does not lead to entry 2" in terminal("ledger-proof", day, code=1).err


@pytest.mark.parametrize("member", ["version", "hash", "index", "path", "part", "seal"])
def test_a_proof_that_says_anything_else_proves_nothing(terminal, member):
    live(terminal)
    day = seal_day(terminal)
    proof = terminal.read("ledger-proof", day)
    assert is_in_seal(proof)
    false = copy.deepcopy(proof)
    other = {"version": 9, "hash": "e" * 64, "index": 99, "path": [*proof["path"], "e" * 64], "part": 4}
    if member == "seal":
        false["seal"]["previous_root"] = "e" * 64
    else:
        false[member] = other[member]
    assert not is_in_seal(false)


def test_a_chain_with_a_gap_or_a_changed_entry_leads_nowhere(terminal):
    live(terminal)
    day = seal_day(terminal)
    proof = terminal.read("ledger-proof", day)
    credit(terminal)
    credit(terminal)
    entries = terminal.read("ledger")["items"]
    assert leads_to(proof, entries)
    assert not leads_to(proof, [entries[0], *entries[2:]])
    assert not leads_to(proof, entries[:1])
    assert not leads_to(proof, [{**entries[0], "amount_micros": 1}, *entries[1:]])
    before = {**proof, "version": 0, "hash": CHAIN_START}
    assert leads_to(before, entries)
    assert leads_to(before, [])
    assert not leads_to(before, entries[:-1])
