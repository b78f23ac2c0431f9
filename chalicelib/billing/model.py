"""The ledger's vocabulary: legs, journals, balances, holds. Pure.

Invariants: the legs of a journal sum to zero; a customer's ``available`` is always ``posted - held``;
usage never makes a prepaid balance negative, what it cannot cover the platform bears.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chalicelib.core.errors import Conflict

HoldState = Literal["pending", "released"]
REVENUE = "revenue:gpu"
OVERRUN = "overrun_expense"
OPERATOR_CREDIT = "operator_credit"


@dataclass(frozen=True, slots=True)
class Leg:
    """A change of one ledger account; positive credits it. Liabilities and revenue grow by credits."""

    ledger_account: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Journal:
    """One posting. (source, source_id) is unique for ever, which is what makes it happen once."""

    source: str
    source_id: str
    kind: str
    legs: tuple[Leg, ...]
    currency: str
    posted_at_ms: int

    @property
    def fingerprint(self) -> str:
        legs = [[leg.ledger_account, leg.amount_micros] for leg in self.legs]
        return hashlib.sha256(json.dumps([self.kind, self.currency, legs]).encode()).hexdigest()


class UnbalancedJournal(Conflict):
    code = "unbalanced_journal"


def check_balanced(journal: Journal) -> None:
    """Raises UnbalancedJournal: the sum is not zero, an account appears twice, or a leg is empty."""
    accounts = [leg.ledger_account for leg in journal.legs]
    if sum(leg.amount_micros for leg in journal.legs) != 0 or len(set(accounts)) != len(accounts):
        raise UnbalancedJournal(f"The journal {journal.source}:{journal.source_id} does not balance.")
    if not journal.legs or any(leg.amount_micros == 0 for leg in journal.legs):
        raise UnbalancedJournal(f"The journal {journal.source}:{journal.source_id} has an empty leg.")


CUSTOMER_PREFIX = "cust:"


def name_customer(account_id: str) -> str:
    return f"{CUSTOMER_PREFIX}{account_id}:paid"


def name_shard(system_account: str, account_id: str) -> str:
    """Platform-side accounts are sharded by customer, so that no key takes every write."""
    return f"{system_account}:{account_id}"


@dataclass(frozen=True, slots=True)
class Balance:
    """A customer's wallet. ``leg_version`` numbers its legs without holes."""

    account_id: str
    currency: str
    posted_micros: int
    held_micros: int
    available_micros: int
    leg_version: int


@dataclass(frozen=True, slots=True)
class Hold:
    hold_id: str
    amount_micros: int
    state: HoldState


@dataclass(frozen=True, slots=True)
class Split:
    """Where a charge is taken from: free balance first, then the hold, then the platform."""

    from_available: int
    from_hold: int
    overrun: int

    @property
    def paid(self) -> int:
        return self.from_available + self.from_hold


def split_charge(amount_micros: int, available_micros: int, hold_micros: int) -> Split:
    from_available = min(amount_micros, max(0, available_micros))
    from_hold = min(amount_micros - from_available, max(0, hold_micros))
    return Split(from_available, from_hold, amount_micros - from_available - from_hold)


def build_usage_legs(account_id: str, amount_micros: int, split: Split) -> tuple[Leg, ...]:
    """Return the legs of a usage charge; they sum to zero, none is empty."""
    legs = [
        Leg(name_customer(account_id), -split.paid),
        Leg(name_shard(OVERRUN, account_id), -split.overrun),
        Leg(name_shard(REVENUE, account_id), amount_micros),
    ]
    return tuple(leg for leg in legs if leg.amount_micros)


def sum_legs(legs: Sequence[Leg]) -> int:
    return sum(leg.amount_micros for leg in legs)
