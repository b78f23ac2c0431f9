"""Bodies that operators receive; as `models`, plain dictionaries as the API sends them."""

from typing import Any, Literal, TypedDict

from provocative.requests import PoolOption


class Enrolment(TypedDict):
    enrolment_id: str
    gpu_type: str
    region: str
    expires_at: str
    #: Shown once.
    token: str


class HostNotice(TypedDict):
    kind: str
    action: str
    noticed_at: str
    ends_at: str | None


class GpuFault(TypedDict):
    xid: int
    xid_class: str
    at: str


class HostGpu(TypedDict):
    gpu_uuid: str
    model: str
    memory_mib: int
    parent_uuid: str | None
    slices: int | None
    link_group: str | None
    lease_state: str
    epoch: int
    rental_id: str | None
    conditions: list[str]
    capabilities: dict[str, Any] | None
    fault: GpuFault | None


class Loss(TypedDict):
    reason: str
    at: str


class CarriedWindow(TypedDict):
    window_id: str
    category: str
    starts_at: str
    ends_at: str
    closed: bool


class Host(TypedDict):
    host_id: str
    gpu_type: str
    region: str
    state: str
    gpu_count: int
    free_gpus: int
    agent_version: str
    created_at: str
    last_seen_at: str | None
    telemetry_records_lost: int | None
    draining: bool
    notice: HostNotice | None
    cordoned_reason: str | None
    lost: Loss | None
    maintenance: CarriedWindow | None
    reliability_ppm: int
    lemon_score: int
    #: Kept for reservations.
    reservable: bool
    #: Hosts of one fabric may serve a cluster.
    fabric_id: str | None
    #: These two are told of one host, not in listings.
    incident_count: int | None
    gpus: list[HostGpu] | None


class Incident(TypedDict):
    incident_id: str
    kind: str
    region: str
    at: str
    host_id: str | None
    details: dict[str, Any]


class Window(TypedDict):
    window_id: str
    host_id: str
    category: str
    reason: str
    starts_at: str
    ends_at: str
    closes_at: str
    created_at: str
    state: str


class Launch(TypedDict):
    launch_id: str
    host_id: str
    option: str
    state: str
    instance_id: str | None
    requested_at: str
    changed_at: str
    attempts: int
    last_error: str | None


class Pool(TypedDict):
    gpu_type: str
    region: str
    min_hosts: int
    max_hosts: int
    warm_gpus: int
    scale_in_after_seconds: int
    options: list[PoolOption]
    version: int
    launches: list[Launch]


class Decision(TypedDict):
    kind: str
    option: str | None
    host_id: str | None
    launch_id: str | None


class Plan(TypedDict):
    gpu_type: str
    region: str
    decision: Decision | None
    reason: str
    shortage_gpus: int
    free_gpus: int
    waiting_tickets: int
    hosts: int
    launches: int


class AuditEntry(TypedDict):
    audit_id: str
    at: str
    account_id: str
    actor: str
    action: str
    target: str
    details: dict[str, Any]


class AuditAnchor(TypedDict):
    """A head of the chain, and the way from there to the anchor's root."""

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


class AuditProblem(TypedDict):
    kind: str
    sequence: int
    audit_id: str


class AuditProof(TypedDict):
    account_id: str
    result: Literal["verified", "contradicted"]
    head_sequence: int
    head_hash: str
    first_sequence: int
    links: int
    next_sequence: int | None
    last_anchor: AuditAnchor | None
    problem_count: int
    problems: list[AuditProblem]


class AuditExport(TypedDict):
    url: str
    expires_at: str
    entries: int
    first_sequence: int
    last_sequence: int
    anchor: AuditAnchor | None
