"""What the API answers of removals: masses are milligrams of CO2."""

from typing import Literal, NotRequired, TypedDict


class Addition(TypedDict):
    kind: Literal["counterfactual", "loss", "activity"]
    mass_mg: int
    standard_deviation_mg: int
    source: str


class DrawRequest(TypedDict, total=False):
    additions: list[Addition]
    rated_mg_per_cycle: int
    heat_pump_cop_milli: int


class RemovalAction(TypedDict):
    """``evidence`` with verify and fail, ``buffer_ppm`` with issue."""

    action: Literal["submit", "verify", "fail", "issue"]
    revision: int
    evidence: NotRequired[str]
    buffer_ppm: NotRequired[int]


class Finding(TypedDict):
    code: str
    severity: str
    detail: str


class CountedEnergy(TypedDict):
    """Electricity by the figures of one source; ``annual``: those of a year, for hours that have none."""

    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    annual: bool
    energy_millijoules: int
    mass_mg: int


class Component(TypedDict):
    """``annual_ppm``: parts of a million of its energy that were counted with an annual figure."""

    kind: str
    mass_mg: int
    standard_deviation_mg: int
    source: str
    estimated: bool
    annual_ppm: int
    counted: list[CountedEnergy]


class Removal(TypedDict):
    """A unit's day. ``credited_mg`` is what is left after one standard deviation; it may be negative."""

    host_id: str
    unit_id: str
    day: str
    revision: int
    state: str
    gross_mg: int
    counterfactual_mg: int
    losses_mg: int
    activity_mg: int
    net_mg: int
    standard_deviation_mg: int
    credited_mg: int
    issued_before_mg: int
    due_mg: int
    shortfall_mg: int
    components: list[Component]
    findings: list[Finding]
    energy_millijoules: dict[str, int]
    evidence: str | None
    decided_by: str | None
    decided_at: str | None
    superseded_by: int | None
    serial: str | None


class RemovalShare(TypedDict):
    day: str
    host_id: str
    revision: int
    mass_mg: int
    state: str
    serial: str | None


class CreditBatch(TypedDict):
    serial: str
    day: str
    region: str
    issued_mg: int
    allocated_mg: int
    sold_mg: int
    buffer_mg: int
    free_mg: int
    retired_mg: int
    issued_at: str


class Certificate(TypedDict):
    serial: str
    parent: str
    kind: str
    mass_mg: int
    state: str
    children: list[str]
    beneficiary: str | None
    retired_at: str | None


class RegisterEntry(TypedDict):
    number: int
    act: str
    serial: str
    mass_mg: int
    at: str
    previous_hash: str
    hash: str


class Proof(TypedDict):
    """``register_fault`` is ``None`` while the register's chain holds."""

    batch: CreditBatch
    certificate: Certificate | None
    net_mg: int
    standard_deviation_mg: int
    register_fault: str | None
    entries: list[RegisterEntry]
