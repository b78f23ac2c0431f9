"""What must hold of the books at every moment, over everything that was posted."""

from collections.abc import Collection

from chalicelib.billing.model import Balance, Leg, mark, name_shard
from chalicelib.billing.posting import Posting, add_posting, post_once
from chalicelib.billing.service import check_chain
from tests.factories import Seeded


def check_books(seeded: Seeded, *, disputed: Collection[str] = ()) -> None:
    """What stands in docs/invariants/ledger.md, and that budgets and usage lines agree with the ledger.

    ``disputed``: accounts of which money was taken back, which may be below zero.
    """
    db = seeded.cloud.db
    check_journals(db)
    for account_id, balance in db.table("balances").items():
        own = [row for (owner, _), row in sorted(db.table("chains").items()) if owner == account_id]
        assert [leg.version for leg, _ in own] == list(range(1, balance.leg_version + 1))
        assert check_chain(seeded.cloud.billing, account_id) is None
        assert sum(leg.amount_micros for leg, _ in own) == balance.posted_micros
        promo = [leg.amount_micros for leg, _ in own if leg.ledger_account.endswith(":promo")]
        assert sum(promo) == balance.promo_micros
        assert all(grant.remaining_micros > 0 for grant in balance.grants)
        holds = [hold for (owner, _), hold in db.table("holds").items() if owner == account_id]
        assert sum(hold.amount_micros for hold in holds) == balance.held_micros
        assert all(hold.amount_micros == 0 for hold in holds if hold.state != "pending")
        burn = sum(hold.rate_micros_per_hour for hold in holds if hold.state == "pending")
        assert burn == balance.burn_micros_per_hour
        assert balance.available_micros == balance.posted_micros - balance.held_micros
        assert account_id in disputed or min(balance.posted_micros, balance.available_micros) >= 0
        check_budgets(db, account_id, holds)
        check_usage(db, account_id)
        check_months(db, account_id, balance)


def check_journals(db):
    legs = db.table("legs")
    assert sum(leg.amount_micros for leg, _ in legs.values()) == 0
    listed: dict[str, int] = {}
    for leg, journal_key in legs.values():
        listed[journal_key] = listed.get(journal_key, 0) + leg.amount_micros
    assert all(total == 0 for total in listed.values())
    assert set(listed) == {journal.key for journal in db.table("journals").values()}


def check_budgets(db, account_id, holds):
    for budget in [row for (owner, _), row in db.table("budgets").items() if owner == account_id]:
        held = sum(hold.amount_micros for hold in holds if budget.budget_id in hold.budget_ids)
        assert budget.held_micros == held
        assert budget.remaining_micros == budget.limit_micros - budget.spent_micros - held


def check_usage(db, account_id):
    """The usage lines are the ledger's revenue, to the unit."""
    lines = [line for key, line in db.table("usage").items() if key[0] == account_id]
    revenue = name_shard("revenue:gpu", account_id)
    charged = [
        leg.amount_micros
        for leg, journal_key in db.table("legs").values()
        if leg.ledger_account == revenue and journal_key.startswith("usage#")
    ]
    assert sum(line.micros for line in lines) == sum(charged)
    for line in lines:
        assert sum(micros for _, _, micros in line.hours) == line.micros
        assert sum(seconds for _, seconds, _ in line.hours) == line.seconds


def check_months(db, account_id, balance):
    """Each month begins where the one before ended, and what stands in it is what its legs moved."""
    legs = [row for (owner, _), (row, _) in sorted(db.table("chains").items()) if owner == account_id]
    months = [row for (owner, _), row in sorted(db.table("months").items()) if owner == account_id]
    closings = [month.closing for month in months[:-1]] + [mark(balance)]
    assert [month.opening for month in months[1:]] == closings[:-1]
    assert not months or months[0].opening == mark(Balance(account_id, "USD"))
    assert balance.month == (months[-1].month if months else "")
    for month, closing in zip(months, closings, strict=False):
        own = legs[month.opening.leg_version : closing.leg_version]
        lines = [row for key, row in db.table("usage").items() if key[:2] == (account_id, month.month)]
        entries = [row for key, row in db.table("entries").items() if key[:2] == (account_id, month.month)]
        for purse in ("paid", "promo"):
            moved = getattr(closing, f"{purse}_micros") - getattr(month.opening, f"{purse}_micros")
            assert sum(leg.amount_micros for leg in own if leg.ledger_account.endswith(purse)) == moved
            used = sum(getattr(line, f"{purse}_micros") for line in lines)
            assert sum(getattr(entry, f"{purse}_micros") for entry in entries) - used == moved
        for line in lines:
            assert min(line.promo_micros, line.paid_micros, line.overrun_micros) >= 0
        posted = [leg.journal_key for leg in own if not leg.journal_key.startswith("usage#")]
        assert {entry.journal_key for entry in entries} == set(posted)
        assert len(entries) == len(set(posted))


def sum_customer(journal):
    return sum(leg.amount_micros for leg in journal.legs if leg.ledger_account.startswith("cust:"))


def post_dispute(seeded, account_id, dispute_id, amount):
    ports = seeded.cloud.billing

    def attempt(wallet):
        posting = Posting(
            "stripe",
            f"{dispute_id}:withdrawn",
            "dispute",
            (Leg(name_shard("stripe_clearing", account_id), amount),),
            {"amount_micros": -amount},
            paid_only=True,
            may_overdraw=True,
        )
        tx = ports.rentals.transactions()
        add_posting(ports, tx, wallet.balance, posting, seeded.cloud.clock.now_ms())
        tx.commit()

    post_once(ports, account_id, attempt, lambda: None)
