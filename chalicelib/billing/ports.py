"""What the use cases of billing need, and what they share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.billing.budget import Budget
from chalicelib.billing.model import Balance, ChainedLeg, Entry, Hold, Journal, Leg
from chalicelib.core.errors import Conflict
from chalicelib.core.money import Mark
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.metering.ports import ChargeQueue, MeterStore
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.retention import DATA_HOLD_MS

MAX_ATTEMPTS = 8


def find_paid_since(balance: Balance) -> int | None:
    """Return when the account paid first, ``None``: it never did.

    Money that was paid in before that was written down was paid long ago.
    """
    if balance.paid_since_ms is None and balance.paid_micros > 0:
        return 0
    return balance.paid_since_ms


def find_data_hold_end(balance: Balance) -> int | None:
    """Return until when the data of stopped rentals is kept; ``None``: nothing bounds it."""
    return None if balance.exhausted_at_ms is None else balance.exhausted_at_ms + DATA_HOLD_MS


class AlreadyPosted(Conflict):
    """The journal is there: another attempt posted the same."""

    code = "already_posted"


class PostingMismatch(Conflict):
    """The journal's key was used for something else."""

    code = "posting_mismatch"


@dataclass(frozen=True, slots=True)
class Wallet:
    """A balance and the budgets of its account, read at one instant."""

    balance: Balance
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What a stay was billed for one UTC day, as far as it stands in one month of the books.

    The time at the end of a month is charged when the next has begun, and then stands there. ``micros`` is
    what it costs: paid from promotional credit, from what was paid in, and what the platform bore itself.
    ``hours``: (hour, seconds, micros), of those that have any.
    """

    account_id: str
    month: str
    day: str
    rental_id: str
    segment: int
    gpu_type: str
    gpu_count: int
    region: str
    label: str | None
    price_micros_per_gpu_hour: int
    seconds: int
    micros: int
    promo_micros: int
    overrun_micros: int
    hours: tuple[tuple[int, int, int], ...]

    @property
    def paid_micros(self) -> int:
        return self.micros - self.promo_micros - self.overrun_micros


class LedgerStore(Protocol):
    def get_journal(self, source: str, source_id: str) -> Journal | None: ...
    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        """The legs as they stand in the accounts of this journal, not as the journal lists them."""
        ...

    def list_journals(self, journal_keys: Sequence[str]) -> dict[str, Journal]: ...
    def list_chain(self, account_id: str, limit: int, start: str | None) -> Page[tuple[ChainedLeg, str]]:
        """The customer's legs with their stored hashes, oldest first."""
        ...

    def list_entries(self, account_id: str, limit: int, start: str | None) -> Page[ChainedLeg]:
        """The customer's legs, newest first."""
        ...

    def add_journal(self, tx: Transaction, journal: Journal, chained: Sequence[ChainedLeg]) -> None:
        """Write the journal and its legs, the customer's as ``chained``.

        Fails with AlreadyPosted, or PostingMismatch when the journal there says something else.
        """


class WalletStore(Protocol):
    def get_balance(self, account_id: str) -> Balance | None: ...
    def get_wallet(self, account_id: str) -> Wallet | None: ...
    def get_hold(self, account_id: str, hold_id: str) -> Hold | None: ...
    def list_due(self, now_ms: int, limit: int) -> list[str]:
        """Accounts with a grant that has expired by ``now_ms``. An index: a hint."""
        ...

    def move_balance(
        self, tx: Transaction, before: Balance, after: Balance, *, may_overdraw: bool = False
    ) -> None:
        """Add what posted, held and burn differ by; write legs' version, chain and grants as in ``after``.

        A balance that does not exist is empty. Fails with Unavailable when version or month moved, or when a
        net debit would take available below zero, unless it ``may_overdraw``; a net credit never does.
        """

    def set_spend_limit(self, tx: Transaction, balance: Balance, limit_micros_per_hour: int | None) -> None:
        """Fails with Unavailable when the limit is no longer that of ``balance``."""

    def require_nothing_held(self, tx: Transaction, account_id: str) -> None:
        """Fails with Unavailable when money is set aside: something runs, or is booked."""

    def add_deposit(self, tx: Transaction, account_id: str, deposit: Hold) -> None:
        """Hold it, whatever else moves in the wallet. Fails with InsufficientFunds."""

    def void_deposit(self, tx: Transaction, account_id: str, deposit: Hold) -> None:
        """Give it back, whatever else moves in the wallet. Fails with Unavailable when it changed."""

    def change_hold(self, tx: Transaction, account_id: str, old: Hold, new: Hold) -> None:
        """Fails with Unavailable when the hold is no longer ``old``."""


class BudgetStore(Protocol):
    """Budgets are read with the wallet (`LedgerStore.get_wallet`)."""

    def add_budget(self, tx: Transaction, budget: Budget, currency: str) -> None:
        """Fails with Conflict (``too_many_budgets``)."""

    def replace_budget(self, tx: Transaction, old: Budget, new: Budget, *, exact: bool = False) -> None:
        """Add what held and remaining differ by; write the rest as in ``new``.

        Fails with Unavailable when spent, limit, hard stop or alerts moved (``exact``: or anything), or a
        hard stop's remaining would fall below zero.
        """

    def remove_budget(self, tx: Transaction, budget: Budget, currency: str, *, exact: bool = False) -> None:
        """Fails with Unavailable when it is not there (``exact``: as it was read)."""


class UsageStore(Protocol):
    """What stands in a month of an account's books: with the journals, in their transactions."""

    def add_usage(self, tx: Transaction, line: UsageLine) -> None:
        """Add ``line`` to what the stay's day has in this month.

        The journal in the same transaction makes it once only.
        """

    def add_entry(self, tx: Transaction, entry: Entry) -> None: ...
    def list_usage(self, account_id: str, month: str, first_day: str, last_day: str) -> Iterator[UsageLine]:
        """By day, then rental; both days (``yyyy-mm-dd``) are included."""
        ...

    def list_month(self, account_id: str, month: str) -> Iterator[UsageLine | Entry]:
        """All of the month: lines by day, then rental, without their hours; then entries as in the chain."""
        ...


class MonthStore(Protocol):
    """The months of an account's books: each begins where the one before ended."""

    def open_month(self, tx: Transaction, balance: Balance, month: str, opening: Mark, now_ms: int) -> None:
        """Fails with Unavailable when it is open already."""

    def close_month(self, tx: Transaction, balance: Balance, closing: Mark, now_ms: int) -> None:
        """End the month in which ``balance`` is. Fails with Unavailable when it is not open."""

    def list_months(self, account_id: str, since: str) -> list[str]:
        """The account's months from ``since`` (``yyyy-mm``) on, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class BillingPorts:
    ledger: LedgerStore
    wallets: WalletStore
    budgets: BudgetStore
    usage: UsageStore
    months: MonthStore
    meters: MeterStore
    rentals: RentalPorts
    charges: ChargeQueue
