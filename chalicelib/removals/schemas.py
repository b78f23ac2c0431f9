"""Bodies of the routes of removals."""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.core.paging import Page, encode_cursor
from chalicelib.removals.accounting import Component
from chalicelib.removals.certificates import Batch, Certificate, Entry
from chalicelib.removals.model import Share, Statement
from chalicelib.removals.retiring import Proof
from chalicelib.runtime.bodies import RequestBody, ResponseBody

Text = Annotated[str, Field(min_length=1, max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
#: A million tonnes.
Mass = Annotated[int, Field(ge=0, le=10**15)]
MAX_ADDITIONS = 20
#: Entries of the register in one answer; its hash and number stand for the rest.
MAX_ENTRIES = 1000


class AdditionRequest(RequestBody):
    kind: Literal["counterfactual", "loss", "activity"]
    mass_mg: Mass
    standard_deviation_mg: Mass
    source: Name


class DrawRequest(RequestBody):
    additions: Annotated[list[AdditionRequest], Field(max_length=MAX_ADDITIONS)] = Field(default_factory=list)
    rated_mg_per_cycle: Annotated[int, Field(gt=0, le=10**12)] | None = None
    #: COP times 1000, where the unit's electricity meter does not see its heat pump.
    heat_pump_cop_milli: Annotated[int, Field(gt=1000, le=20_000)] | None = None

    def read_additions(self) -> tuple[Component, ...]:
        return tuple(
            Component(each.kind, each.mass_mg, each.standard_deviation_mg, each.source)
            for each in self.additions
        )


class RemovalActionRequest(RequestBody):
    action: Literal["submit", "verify", "fail", "issue"]
    revision: Annotated[int, Field(ge=1, le=9999)]
    #: Of ``verify`` and ``fail``: what the decision rests on.
    evidence: Text | None = None
    #: Of ``issue``: kept for reversals, rounded up.
    buffer_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class SaleRequest(RequestBody):
    buyer: Name
    mass_mg: Annotated[int, Field(ge=1, le=10**15)]


class CertificateActionRequest(RequestBody):
    action: Literal["split", "retire"]
    #: Of ``split``: the first of the two parts.
    mass_mg: Annotated[int, Field(ge=1, le=10**15)] | None = None
    #: Of ``retire``: for whom, shown to everybody.
    beneficiary: Name | None = None


class CountedEnergyBody(ResponseBody):
    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    #: The hours had no figure of their own: the region's year stood in.
    annual: bool
    energy_millijoules: int
    mass_mg: int


class ComponentBody(ResponseBody):
    kind: str
    mass_mg: int
    standard_deviation_mg: int
    source: str
    #: Of electricity: some was counted with what is no measurement of its hour.
    estimated: bool
    #: Parts of a million of its energy that were counted with an annual figure, rounded up.
    annual_ppm: int
    counted: list[CountedEnergyBody]


class FindingBody(ResponseBody):
    code: str
    #: ``reject``: it cannot be; ``flag``: for the verifier.
    severity: str
    detail: str


class RemovalBody(ResponseBody):
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
    #: ``net - standard deviation``; it may be negative.
    credited_mg: int
    issued_before_mg: int
    due_mg: int
    shortfall_mg: int
    components: list[ComponentBody]
    findings: list[FindingBody]
    energy_millijoules: dict[str, int]
    evidence: str | None
    decided_by: str | None
    decided_at: str | None
    superseded_by: int | None
    serial: str | None


class RemovalListBody(ResponseBody):
    items: list[RemovalBody]
    next_cursor: str | None


class ShareBody(ResponseBody):
    day: str
    host_id: str
    revision: int
    mass_mg: int
    #: ``provisional`` until the batch is shared out, then ``final``; ``withdrawn`` if it came to nothing.
    state: str
    serial: str | None


class ShareListBody(ResponseBody):
    items: list[ShareBody]
    next_cursor: str | None


class BatchBody(ResponseBody):
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


class CertificateBody(ResponseBody):
    serial: str
    parent: str
    kind: str
    mass_mg: int
    state: str
    children: list[str]
    beneficiary: str | None
    retired_at: str | None


class CertificateListBody(ResponseBody):
    items: list[CertificateBody]


class EntryBody(ResponseBody):
    number: int
    act: str
    serial: str
    mass_mg: int
    at: str
    previous_hash: str
    hash: str


class ProofBody(ResponseBody):
    batch: BatchBody
    certificate: CertificateBody | None
    net_mg: int
    standard_deviation_mg: int
    #: ``null``: the chain of the register holds.
    register_fault: str | None
    entries: list[EntryBody]


def render_removal(statement: Statement) -> RemovalBody:
    window, removal = statement.window, statement.content.removal
    return RemovalBody(
        host_id=window.host_id,
        unit_id=window.unit_id,
        day=window.day,
        revision=statement.revision,
        state=statement.state,
        gross_mg=removal.gross_mg,
        counterfactual_mg=removal.counterfactual_mg,
        losses_mg=removal.losses_mg,
        activity_mg=removal.activity_mg,
        net_mg=removal.net_mg,
        standard_deviation_mg=removal.standard_deviation_mg,
        credited_mg=removal.credited_mg,
        issued_before_mg=statement.issued_before_mg,
        due_mg=statement.due_mg,
        shortfall_mg=statement.shortfall_mg,
        components=[_render_component(each) for each in statement.content.components],
        findings=[
            FindingBody(code=each.code, severity=each.severity, detail=each.detail)
            for each in statement.content.findings
        ],
        energy_millijoules=dict(statement.content.energies),
        evidence=statement.evidence,
        decided_by=statement.decided_by,
        decided_at=_format(statement.decided_at_ms),
        superseded_by=statement.superseded_by,
        serial=statement.serial,
    )


def _render_component(component: Component) -> ComponentBody:
    return ComponentBody(
        kind=component.kind,
        mass_mg=component.mass_mg,
        standard_deviation_mg=component.standard_deviation_mg,
        source=component.source,
        estimated=component.estimated,
        annual_ppm=component.annual_ppm,
        counted=[CountedEnergyBody(**asdict(each)) for each in component.counted],
    )


def render_removals(page: Page[Statement]) -> RemovalListBody:
    return RemovalListBody(
        items=[render_removal(each) for each in page.items], next_cursor=encode_cursor(page.next_key)
    )


def render_shares(page: Page[Share]) -> ShareListBody:
    items = [
        ShareBody(
            day=each.window.day,
            host_id=each.window.host_id,
            revision=each.revision,
            mass_mg=each.mass_mg,
            state=each.state,
            serial=each.serial,
        )
        for each in page.items
    ]
    return ShareListBody(items=items, next_cursor=encode_cursor(page.next_key))


def render_batch(batch: Batch) -> BatchBody:
    return BatchBody(
        serial=batch.serial,
        day=batch.day,
        region=batch.region,
        issued_mg=batch.issued_mg,
        allocated_mg=batch.allocated_mg,
        sold_mg=batch.sold_mg,
        buffer_mg=batch.buffer_mg,
        free_mg=batch.free_mg,
        retired_mg=batch.retired_mg,
        issued_at=format_instant(batch.issued_at_ms),
    )


def render_certificate(certificate: Certificate) -> CertificateBody:
    """Who holds it is not told: anybody may read it."""
    return CertificateBody(
        serial=certificate.serial,
        parent=certificate.parent,
        kind=certificate.kind,
        mass_mg=certificate.mass_mg,
        state=certificate.state,
        children=list(certificate.children),
        beneficiary=certificate.beneficiary,
        retired_at=_format(certificate.retired_at_ms),
    )


def render_proof(proof: Proof) -> ProofBody:
    removal, certificate = proof.statement.content.removal, proof.certificate
    return ProofBody(
        batch=render_batch(proof.batch),
        certificate=None if certificate is None else render_certificate(certificate),
        net_mg=removal.net_mg,
        standard_deviation_mg=removal.standard_deviation_mg,
        register_fault=proof.fault,
        entries=[_render_entry(*each) for each in proof.entries[-MAX_ENTRIES:]],
    )


def _render_entry(entry: Entry, stored_hash: str) -> EntryBody:
    return EntryBody(
        number=entry.number,
        act=entry.act,
        serial=entry.serial,
        mass_mg=entry.mass_mg,
        at=format_instant(entry.at_ms),
        previous_hash=entry.previous_hash,
        hash=stored_hash,
    )


def _format(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else format_instant(epoch_ms)
