"""The statement of a unit's day, from draft to credits. Pure.

A window is a UTC day of one unit, so windows never overlap and nothing is counted in two of them. What was
verified is locked: a correction is another revision, which counts only beyond what was issued before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.core.methodology import Constant
from chalicelib.removals.accounting import Component, Removal
from chalicelib.removals.allocation import allocate
from chalicelib.removals.plausibility import Finding, is_refused

State = Literal["draft", "awaiting_verification", "verified", "credits_issued", "failed"]
ShareState = Literal["provisional", "final", "withdrawn"]
#: Two records of each go into one transaction, which holds a hundred.
MAX_TENANTS = 45
DAY_MS = 86_400_000
CONSTANTS = (
    Constant("DAY_MS", "window of a statement: a UTC day of one unit", DAY_MS, "ms"),
    Constant("MAX_TENANTS", "most tenants that share what a unit captured in a day", MAX_TENANTS, "tenants"),
)


@dataclass(frozen=True, slots=True)
class Window:
    """``day`` is ``yyyy-mm-dd``, UTC."""

    host_id: str
    unit_id: str
    day: str

    @property
    def from_ms(self) -> int:
        return parse_instant(f"{self.day}T00:00:00Z")

    @property
    def until_ms(self) -> int:
        return self.from_ms + DAY_MS

    @property
    def name(self) -> str:
        return f"{self.host_id}/{self.unit_id}/{self.day}"


@dataclass(frozen=True, slots=True)
class Content:
    """What the records say of a window: the same records give the same content.

    ``energies``: millijoules of each tenant's GPUs, in the tenants' order.
    """

    components: tuple[Component, ...]
    removal: Removal
    findings: tuple[Finding, ...]
    energies: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """``version`` is of the stored row. ``evidence``: what a verifier's decision rests on."""

    window: Window
    revision: int
    content: Content
    created_at_ms: int
    #: Credits that revisions before it were issued for.
    issued_before_mg: int = 0
    state: State = "draft"
    version: int = 1
    evidence: str | None = None
    decided_by: str | None = None
    decided_at_ms: int | None = None
    superseded_by: int | None = None
    serial: str | None = None
    issued_mg: int = 0

    @property
    def name(self) -> str:
        return f"{self.window.name}/{self.revision}"

    @property
    def due_mg(self) -> int:
        """What credits may be issued for now."""
        return max(0, self.content.removal.issuable_mg - self.issued_before_mg - self.issued_mg)

    @property
    def shortfall_mg(self) -> int:
        """What was issued before and is not there by these records."""
        return max(0, self.issued_before_mg - self.content.removal.issuable_mg)

    def share_out(self, mass_mg: int) -> dict[str, int]:
        return allocate(mass_mg, dict(self.content.energies))


@dataclass(frozen=True, slots=True)
class Share:
    """What of a window is an account's. ``serial``: of its certificate, once it is final and not nothing."""

    account_id: str
    window: Window
    revision: int
    mass_mg: int
    state: ShareState
    serial: str | None = None


class WrongState(Conflict):
    code = "wrong_state"


class Implausible(Conflict):
    """Its findings are in ``extra``."""

    code = "implausible"


def check_day(window: Window, now_ms: int, margin_ms: int) -> None:
    """Raises InvalidInput: ``invalid_instant``, or ``day_not_over`` until its last readings may have come."""
    if window.until_ms + margin_ms > now_ms:
        raise InvalidInput(f"{window.day} is not over yet.", code="day_not_over")


def revise(latest: Statement | None, window: Window, content: Content, now_ms: int) -> Statement | None:
    """Return what the day's statement becomes by ``content``; ``None``: it says so already.

    A draft is replaced, what was decided is followed by a revision.

    Raises:
        WrongState: a verifier is looking at it.
    """
    if latest is None:
        return Statement(window, 1, content, now_ms)
    if latest.state != "failed" and latest.content == content:
        return None
    if latest.state == "draft":
        return replace(latest, content=content, version=latest.version + 1)
    if latest.state == "awaiting_verification":
        raise WrongState("It awaits its verification; let the verifier decide first.")
    issued_mg = latest.issued_before_mg + latest.issued_mg
    return Statement(window, latest.revision + 1, content, now_ms, issued_before_mg=issued_mg)


def submit(statement: Statement) -> Statement:
    """Raises WrongState, or Implausible: a finding says that it cannot be."""
    _require(statement, "draft")
    if is_refused(statement.content.findings):
        raise Implausible(
            "The records say what cannot be.", extra={"findings": describe(statement.content.findings)}
        )
    return replace(statement, state="awaiting_verification", version=statement.version + 1)


def decide(statement: Statement, state: State, evidence: str, actor: str, now_ms: int) -> Statement:
    """Return it as verified or failed. Raises WrongState."""
    _require(statement, "awaiting_verification")
    return replace(
        statement,
        state=state,
        version=statement.version + 1,
        evidence=evidence,
        decided_by=actor,
        decided_at_ms=now_ms,
    )


def mark_issued(statement: Statement, serial: str) -> Statement:
    """Raises WrongState, or Conflict (``nothing_to_issue``)."""
    _require(statement, "verified")
    if not statement.due_mg:
        raise Conflict(
            "There is nothing to issue credits for.",
            code="nothing_to_issue",
            extra={"shortfall_mg": statement.shortfall_mg},
        )
    return replace(
        statement,
        state="credits_issued",
        version=statement.version + 1,
        serial=serial,
        issued_mg=statement.due_mg,
    )


def supersede(statement: Statement) -> Statement:
    return replace(statement, superseded_by=statement.revision + 1, version=statement.version + 1)


def describe(findings: tuple[Finding, ...]) -> list[Mapping[str, str]]:
    return [{"code": each.code, "severity": each.severity, "detail": each.detail} for each in findings]


def _require(statement: Statement, state: State) -> None:
    if statement.superseded_by is not None:
        raise WrongState(f"Revision {statement.superseded_by} has taken its place.")
    if statement.state != state:
        raise WrongState(f"It is {statement.state}, not {state}.")
