"""The ledger's vocabulary: legs, journals, wallets, promotional grants, holds. Pure.

Invariants: the legs of a journal sum to zero; a wallet's ``available`` is always ``posted - held``; its legs
are numbered without holes and chained; what a grant gives is spent, expires, or is still there.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.core.clock import name_month
from chalicelib.core.errors import Conflict
from chalicelib.core.money import Mark

#: A hold is resolved once: ``captured`` if any of it was spent, ``void`` if none, ``expired`` if nobody came.
HoldState = Literal["pending", "captured", "void", "expired"]
#: Of what a customer's money is: promotional credit expires and is spent first.
Purse = Literal["promo", "paid"]
#: ``delinquent``: more was taken back than there was; nothing starts, and what was paid for is kept.
WalletState = Literal["active", "low", "stopped", "data_hold", "delinquent"]
PURSES: tuple[Purse, ...] = ("promo", "paid")

#: Source and kind of a charge for time. Its line is the day's; every other journal has one of its own.
USAGE = "usage"
GPU_REVENUE = "revenue:gpu"
VOLUME_REVENUE = "revenue:volume"
ONE_OFF_REVENUE = "revenue:one_off"
#: What the early-cancel rule keeps of reservations.
RESERVATION_REVENUE = "revenue:reservation"
#: Removals that accounts buy through us, before what Stripe takes for them.
REMOVAL_REVENUE = "revenue:removal"
#: What ran, and no wallet, hold or budget could pay for: the platform bears it.
OVERRUN = "overrun_expense"
OPERATOR_CREDIT = "operator_credit"
PROMO_EXPENSE = "promo_expense"
#: Owed to a renter because the platform failed.
SERVICE_CREDIT = "service_credit_expense"
STRIPE_CLEARING = "stripe_clearing"
TAX_PAYABLE = "tax_payable"

CUSTOMER_PREFIX = "cust:"
#: Before the first leg of a chain.
CHAIN_START = "0" * 64
#: A renter is told when the money lasts less than a day, four hours, one hour.
ALERT_SECONDS = (86_400, 14_400, 3_600)
#: And that it is well again at so much of the bound: a balance that wavers about it tells once.
RECOVERED_PERCENT = 125
#: A wallet is read and written as one item, which must stay small.
MAX_GRANTS = 20


@dataclass(frozen=True, slots=True)
class Leg:
    """A change of one ledger account; positive credits it. Liabilities and revenue grow by credits."""

    ledger_account: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Journal:
    """One posting of one customer. (source, source_id) is unique for ever: that makes it happen once.

    ``details`` say what is posted, as the one who asked for it would say it again; the legs say how it was
    booked, which may depend on what was in the wallet. ``reverses``: the key of the journal that it undoes.
    """

    source: str
    source_id: str
    kind: str
    account_id: str
    legs: tuple[Leg, ...]
    currency: str
    posted_at_ms: int
    details: Mapping[str, object] = field(default_factory=dict)
    reverses: str | None = None

    @property
    def fingerprint(self) -> str:
        """Of what was asked for: a repeat has the same, another request under the same key has not."""
        facts = [self.kind, self.account_id, self.currency, self.reverses, dict(self.details)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        return f"{self.source}#{self.source_id}"


class UnbalancedJournal(Conflict):
    code = "unbalanced_journal"


def check_balanced(journal: Journal) -> None:
    """Raises UnbalancedJournal: the sum is not zero, an account appears twice, or a leg is empty."""
    accounts = [leg.ledger_account for leg in journal.legs]
    if sum_legs(journal.legs) != 0 or len(set(accounts)) != len(accounts):
        raise UnbalancedJournal(f"The journal {journal.key} does not balance.")
    if not journal.legs or any(leg.amount_micros == 0 for leg in journal.legs):
        raise UnbalancedJournal(f"The journal {journal.key} has an empty leg.")


def sum_legs(legs: Sequence[Leg]) -> int:
    return sum(leg.amount_micros for leg in legs)


def name_customer(account_id: str, purse: Purse = "paid") -> str:
    return f"{CUSTOMER_PREFIX}{account_id}:{purse}"


def name_shard(system_account: str, account_id: str) -> str:
    """Platform-side accounts are sharded by customer, so that no key takes every write."""
    return f"{system_account}:{account_id}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Promotional credit that is still there. ``expires_at_ms``: ``None``, never."""

    grant_id: str
    remaining_micros: int
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Balance:
    """A customer's wallet. ``leg_version`` numbers its legs without holes, ``chain_hash`` ends their chain.

    ``available_micros`` is what a start may hold, ``posted_micros`` promotional and paid credit together;
    ``burn_micros_per_hour`` is the price of all stays that hold money. ``spend_limit_micros_per_hour`` bounds
    it (``None``: nothing does).
    """

    account_id: str
    currency: str
    posted_micros: int = 0
    held_micros: int = 0
    available_micros: int = 0
    leg_version: int = 0
    chain_hash: str = CHAIN_START
    grants: tuple[Grant, ...] = ()
    burn_micros_per_hour: int = 0
    spend_limit_micros_per_hour: int | None = None
    #: The alert that was told last: how many of `ALERT_SECONDS` are above what is left.
    alert_level: int = 0
    #: Of its books, ``yyyy-mm``: whatever is posted stands in this month or a later one. Empty at first.
    month: str = ""
    #: When a stay was last stopped because nothing was left; a credit that leaves money takes it back.
    exhausted_at_ms: int | None = None
    #: When money was paid in first, of which promotional credit is none.
    paid_since_ms: int | None = None

    @property
    def seconds_left(self) -> int | None:
        """How long the money lasts at the present burn; ``None`` while nothing runs."""
        if not self.burn_micros_per_hour:
            return None
        return max(0, self.posted_micros) * 3600 // self.burn_micros_per_hour

    @property
    def promo_micros(self) -> int:
        return sum(grant.remaining_micros for grant in self.grants)

    @property
    def paid_micros(self) -> int:
        return self.posted_micros - self.promo_micros


def mark(balance: Balance) -> Mark:
    return Mark(balance.leg_version, balance.chain_hash, balance.paid_micros, balance.promo_micros)


def enter_month(balance: Balance, now_ms: int) -> str:
    """Return the month in which a posting of now stands: months follow the chain, whatever a clock says."""
    return max(balance.month, name_month(now_ms))


@dataclass(frozen=True, slots=True)
class Entry:
    """What a journal that is no charge for time changed in a wallet. ``leg_version`` is of its last leg."""

    account_id: str
    month: str
    leg_version: int
    journal_key: str
    kind: str
    posted_at_ms: int
    paid_micros: int
    promo_micros: int
    details: Mapping[str, object]


def find_state(balance: Balance) -> WalletState:
    """Return what the money allows: ``stopped``, what runs is being stopped; then its data is held."""
    if balance.exhausted_at_ms is not None:
        return "stopped" if balance.burn_micros_per_hour else "data_hold"
    if balance.posted_micros < 0:
        return "delinquent"
    return "low" if balance.alert_level and balance.burn_micros_per_hour else "active"


def find_alert_level(balance: Balance) -> int:
    """Return the alert that ``balance`` calls for; one that was told is taken back only well above it."""
    left = balance.seconds_left
    if left is None:
        return balance.alert_level
    reached = sum(left < bound for bound in ALERT_SECONDS)
    kept = sum(left * 100 < bound * RECOVERED_PERCENT for bound in ALERT_SECONDS)
    return max(reached, min(balance.alert_level, kept))


@dataclass(frozen=True, slots=True)
class ChainedLeg:
    """A customer's leg in its chain. ``balance_after_micros`` is of both purses."""

    version: int
    ledger_account: str
    amount_micros: int
    balance_after_micros: int
    journal_key: str
    posted_at_ms: int
    previous_hash: str

    @property
    def hash(self) -> str:
        facts = [
            self.previous_hash,
            self.version,
            self.ledger_account,
            self.amount_micros,
            self.balance_after_micros,
            self.journal_key,
            self.posted_at_ms,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def chain_legs(balance: Balance, journal: Journal) -> list[ChainedLeg]:
    """Return the customer's legs of ``journal`` as they follow what is in the wallet."""
    chained: list[ChainedLeg] = []
    after, previous = balance.posted_micros, balance.chain_hash
    for leg in journal.legs:
        if not leg.ledger_account.startswith(CUSTOMER_PREFIX):
            continue
        after += leg.amount_micros
        chained.append(
            ChainedLeg(
                balance.leg_version + 1 + len(chained),
                leg.ledger_account,
                leg.amount_micros,
                after,
                journal.key,
                journal.posted_at_ms,
                previous,
            )
        )
        previous = chained[-1].hash
    return chained


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain of legs does not follow, and what is wrong there."""

    version: int
    why: Literal["missing", "changed", "wrong_balance"]


def verify_chain(legs: Sequence[tuple[ChainedLeg, str]], balance: Balance) -> Broken | None:
    """Return the first fault of a wallet's legs, each with its stored hash, in order; ``None``: none."""
    posted, previous = 0, CHAIN_START
    for number, (leg, stored_hash) in enumerate(legs, start=1):
        posted += leg.amount_micros
        if leg.version != number:
            return Broken(number, "missing")
        if leg.previous_hash != previous or leg.hash != stored_hash:
            return Broken(number, "changed")
        if leg.balance_after_micros != posted:
            return Broken(number, "wrong_balance")
        previous = stored_hash
    if len(legs) != balance.leg_version or previous != balance.chain_hash:
        return Broken(len(legs) + 1, "missing")
    return None if posted == balance.posted_micros else Broken(len(legs), "wrong_balance")


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one stay. ``amount_micros`` is what is left, ``captured_micros`` what was spent.

    ``rate_micros_per_hour`` is the whole stay's price; ``budget_ids``: budgets that set as much aside. A
    reservation's deposit is a hold too: it has no rental and no rate, and counts in no budget.
    """

    hold_id: str
    amount_micros: int
    state: HoldState
    rate_micros_per_hour: int = 0
    rental_id: str = ""
    gpu_type: str = ""
    label: str | None = None
    captured_micros: int = 0
    budget_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a debit takes from each purse, and the grants that are left."""

    promo_micros: int
    paid_micros: int
    grants: tuple[Grant, ...]


def draw(grants: Sequence[Grant], amount_micros: int) -> Drawn:
    """Take ``amount_micros`` from promotional credit first, the earliest to expire before the others."""
    left, kept = amount_micros, []
    for grant in sorted(grants, key=_by_expiry):
        taken = min(left, grant.remaining_micros)
        left -= taken
        if grant.remaining_micros > taken:
            kept.append(replace(grant, remaining_micros=grant.remaining_micros - taken))
    return Drawn(amount_micros - left, left, tuple(kept))


def _by_expiry(grant: Grant) -> tuple[bool, int, str]:
    return grant.expires_at_ms is None, grant.expires_at_ms or 0, grant.grant_id
