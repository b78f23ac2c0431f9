"""Bodies of the audit trail, of its proofs and its exports."""

from typing import Any, Literal

from chalicelib.compliance.anchors import AnchorProof
from chalicelib.compliance.exporting import Export
from chalicelib.compliance.model import Problem, ProblemKind
from chalicelib.compliance.verifying import ChainReport
from chalicelib.core.clock import format_instant
from chalicelib.core.ports import AuditEntry
from chalicelib.runtime.bodies import ResponseBody


class AuditEntryBody(ResponseBody):
    audit_id: str
    at: str
    #: Whose trail it stands in: the acting account, or the account that it befell.
    account_id: str
    actor: str
    action: str
    target: str
    details: dict[str, Any]


class AuditListBody(ResponseBody):
    items: list[AuditEntryBody]
    next_cursor: str | None


class AuditAnchorBody(ResponseBody):
    """The head that the anchor holds, and the way from there to its root (RFC 9162, section 2.1)."""

    number: int
    at: str
    at_ms: int
    root: str
    previous_root: str
    size: int
    tree_root: str
    sequence: int
    hash: str
    index: int
    path: list[str]


class AuditProblemBody(ResponseBody):
    kind: ProblemKind
    #: 0 and empty where there is none to name.
    sequence: int
    audit_id: str


class AuditProofBody(ResponseBody):
    """``links`` from ``first_sequence`` were verified; ``next_sequence`` goes on where there are more."""

    account_id: str
    result: Literal["verified", "contradicted"]
    head_sequence: int
    head_hash: str
    first_sequence: int
    links: int
    next_sequence: int | None
    last_anchor: AuditAnchorBody | None
    problem_count: int
    #: The first hundred.
    problems: list[AuditProblemBody]


class AuditExportBody(ResponseBody):
    #: Whoever has it may fetch the document.
    url: str
    expires_at: str
    entries: int
    #: 0 where nothing of the period is linked.
    first_sequence: int
    last_sequence: int
    anchor: AuditAnchorBody | None


def render_entry(entry: AuditEntry) -> AuditEntryBody:
    return AuditEntryBody(
        audit_id=entry.audit_id,
        at=format_instant(entry.at_ms),
        account_id=entry.account_id,
        actor=entry.actor,
        action=entry.action,
        target=entry.subject,
        details=dict(entry.details),
    )


def render_proof(report: ChainReport) -> AuditProofBody:
    found = report.findings
    return AuditProofBody(
        account_id=report.account_id,
        result="contradicted" if found.count else "verified",
        head_sequence=report.head.sequence,
        head_hash=report.head.hash,
        first_sequence=report.first_sequence,
        links=report.links,
        next_sequence=report.next_sequence,
        last_anchor=_render_anchor(report.last_anchor),
        problem_count=found.count,
        problems=[_render_problem(each) for each in found.problems],
    )


def render_export(export: Export) -> AuditExportBody:
    return AuditExportBody(
        url=export.document.url,
        expires_at=format_instant(export.document.expires_at_ms),
        entries=export.entries,
        first_sequence=export.first_sequence,
        last_sequence=export.last_sequence,
        anchor=_render_anchor(export.anchor),
    )


def _render_problem(problem: Problem) -> AuditProblemBody:
    return AuditProblemBody(kind=problem.kind, sequence=problem.sequence, audit_id=problem.audit_id)


def _render_anchor(proof: AnchorProof | None) -> AuditAnchorBody | None:
    if proof is None:
        return None
    anchor = proof.anchor
    return AuditAnchorBody(
        number=anchor.number,
        at=format_instant(anchor.at_ms),
        at_ms=anchor.at_ms,
        root=anchor.root,
        previous_root=anchor.previous_root,
        size=anchor.size,
        tree_root=anchor.tree_root,
        sequence=proof.head.sequence,
        hash=proof.head.hash,
        index=proof.index,
        path=list(proof.path),
    )
