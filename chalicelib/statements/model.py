"""A month's statement: the run of a wallet's chain that its books have in that month. Pure.

Invariant: opening balance + what the lines say = closing balance, in each purse, to the micro-unit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.core.money import Mark

#: ``open``: may still be posted to. ``closed``: over. ``issued``: numbered and kept as a document. ``empty``:
#: over, and nothing was posted in it.
State = Literal["open", "closed", "issued", "empty"]
Format = Literal["csv", "pdf"]
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
#: What the documents' font has: Latin, Greek and Cyrillic letters, and punctuation.
PRINTABLE = "^[ -~\u00a0-\u017f\u0386-\u03ce\u0400-\u045f\u1e9e\u2010-\u2027\u20ac\u2116]*$"
_PRINTABLE = re.compile(PRINTABLE)
MAX_ADDRESS_LINES = 4


class StatementMismatch(Conflict):
    """The lines of a month are not what its wallet moved by: nothing is issued until a person has looked."""

    code = "statement_mismatch"


@dataclass(frozen=True, slots=True)
class Party:
    """Who bills, or is billed, as tax law wants them named. ``country``: ISO 3166-1 alpha-2, or empty."""

    name: str = ""
    address_lines: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""


def check_party(party: Party) -> None:
    """Raises InvalidInput: it has a character that no document of ours can print."""
    for text in (party.name, *party.address_lines, party.tax_id):
        if not _PRINTABLE.fullmatch(text):
            raise InvalidInput(
                "Documents are printed in Latin, Greek or Cyrillic letters; write it in one of them.",
                code="not_printable",
            )


def check_month(text: str) -> str:
    """Raises InvalidInput: it is not ``yyyy-mm``."""
    if not _MONTH.fullmatch(text):
        raise InvalidInput("A month is written as 2026-11.", code="invalid_month")
    return text


@dataclass(frozen=True, slots=True)
class Head:
    """What is kept of a month. ``closing`` is ``None`` while it is open; ``number`` until it is given.

    ``customer`` is as it was when the number was given; ``digests``: SHA-256 of the documents by format.
    """

    account_id: str
    month: str
    currency: str
    state: State
    opened_at_ms: int
    opening: Mark
    closed_at_ms: int | None = None
    closing: Mark | None = None
    number: str | None = None
    numbered_at_ms: int | None = None
    customer: Party | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StayCharge:
    """What one stay was charged in the month. ``overrun_micros`` is borne by the platform."""

    rental_id: str
    segment: int
    gpu_type: str
    gpu_count: int
    region: str
    label: str | None
    price_micros_per_gpu_hour: int
    first_day: str
    last_day: str
    seconds: int
    micros: int
    promo_micros: int
    overrun_micros: int

    @property
    def paid_micros(self) -> int:
        return self.micros - self.promo_micros - self.overrun_micros

    @property
    def gpu_seconds(self) -> int:
        return self.seconds * self.gpu_count


@dataclass(frozen=True, slots=True)
class Movement:
    """What is no charge for time: money in, money back, credit. Amounts are changes of the wallet."""

    posted_at_ms: int
    kind: str
    paid_micros: int
    promo_micros: int
    tax_micros: int
    journal_key: str
    note: str


@dataclass(frozen=True, slots=True)
class Total:
    """Of one kind of movement."""

    kind: str
    paid_micros: int
    promo_micros: int


@dataclass(frozen=True, slots=True)
class Statement:
    """``days``: (yyyy-mm-dd, micros of time), of those that have any, in their order."""

    head: Head
    seller: Party
    customer: Party
    stays: tuple[StayCharge, ...]
    days: tuple[tuple[str, int], ...]
    movements: tuple[Movement, ...]

    @property
    def charged_micros(self) -> int:
        return sum(each.micros for each in self.stays)

    @property
    def charged_promo_micros(self) -> int:
        return sum(each.promo_micros for each in self.stays)

    @property
    def charged_paid_micros(self) -> int:
        return sum(each.paid_micros for each in self.stays)

    @property
    def overrun_micros(self) -> int:
        return sum(each.overrun_micros for each in self.stays)

    @property
    def gpu_seconds(self) -> int:
        return sum(each.gpu_seconds for each in self.stays)

    @property
    def tax_micros(self) -> int:
        """Paid with top-ups, less what came back with refunds."""
        return sum(each.tax_micros for each in self.movements)

    @property
    def totals(self) -> tuple[Total, ...]:
        kinds = dict.fromkeys(each.kind for each in self.movements)
        return tuple(
            Total(
                kind,
                sum(each.paid_micros for each in self.movements if each.kind == kind),
                sum(each.promo_micros for each in self.movements if each.kind == kind),
            )
            for kind in kinds
        )

    @property
    def closing_paid_micros(self) -> int:
        moved = sum(each.paid_micros for each in self.movements)
        return self.head.opening.paid_micros + moved - self.charged_paid_micros

    @property
    def closing_promo_micros(self) -> int:
        moved = sum(each.promo_micros for each in self.movements)
        return self.head.opening.promo_micros + moved - self.charged_promo_micros

    @property
    def is_empty(self) -> bool:
        return not self.stays and not self.movements


def check_adds_up(statement: Statement) -> None:
    """Raises StatementMismatch: the lines of a month that is over do not lead to its closing balance."""
    closing = statement.head.closing
    ends = (statement.closing_paid_micros, statement.closing_promo_micros)
    if closing is not None and ends != (closing.paid_micros, closing.promo_micros):
        raise StatementMismatch(
            f"The lines of {statement.head.month} of {statement.head.account_id} end at {ends}, its wallet "
            f"at {(closing.paid_micros, closing.promo_micros)}."
        )


def name_number(year: str, count: int) -> str:
    return f"PC-{year}-{count:06d}"
