"""Bodies of the fleet routes."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from chalicelib.core.clock import format_instant
from chalicelib.fleet.health import GpuFault, HostNotice
from chalicelib.fleet.model import Enrolment, Gpu, Host, HostGpu, Liveness
from chalicelib.fleet.scores import score_host
from chalicelib.fleet.service import EnrolledHost, HostCredentials
from chalicelib.fleet.windows import PlannedMaintenance
from chalicelib.runtime.bodies import RequestBody, ResponseBody
from chalicelib.runtime.settings import Settings

Identifier = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.:-]+$")]
#: As `wire.v1`: eight boards in seven instances each.
MAX_GPUS_PER_HOST = 64


class EnrolmentRequest(RequestBody):
    gpu_type: Identifier
    region: Identifier


class EnrolmentBody(ResponseBody):
    enrolment_id: str
    gpu_type: str
    region: str
    expires_at: str
    #: Shown once.
    token: str


class GpuRequest(RequestBody):
    gpu_uuid: Identifier
    pci_bus_id: Identifier
    model: Annotated[str, Field(min_length=1, max_length=100)]
    memory_mib: Annotated[int, Field(ge=0, le=10_000_000)]
    parent_uuid: Identifier | None = None
    slices: Annotated[int, Field(ge=1, le=7)] | None = None
    link_group: Identifier | None = None


class HostRequest(RequestBody):
    install_id: Identifier
    agent_version: Annotated[str, Field(min_length=1, max_length=50)]
    gpus: Annotated[list[GpuRequest], Field(min_length=1, max_length=MAX_GPUS_PER_HOST)]
    fabric_id: Identifier | None = None


class EnrolledHostBody(ResponseBody):
    host_id: str
    api_key: str
    #: Hexadecimal; signs the host's messages and verifies its commands.
    signing_key: str
    region: str
    gpu_type: str
    aws_region: str
    heartbeats_queue_url: str
    telemetry_queue_url: str
    commands_queue_url: str
    heartbeat_interval_seconds: int
    telemetry_interval_seconds: int


class CredentialsBody(ResponseBody):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: str


class NoticeBody(ResponseBody):
    """What the machine's provider announces."""

    kind: str
    action: str
    noticed_at: str
    ends_at: str | None


class FaultBody(ResponseBody):
    """The error for which a GPU is offered to nobody."""

    xid: int
    xid_class: str
    at: str


class HostActionRequest(RequestBody):
    """``reason`` is needed for everything that closes a host or takes something from it."""

    action: Literal[
        "cordon", "uncordon", "retire", "force_release", "clear_faults", "make_reservable", "make_shared"
    ]
    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00-\x1f]*$")] | None = None
    #: For ``force_release``: GPUs that are stuck in ``wiping``.
    gpu_uuids: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_GPUS_PER_HOST)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "HostActionRequest":
        if self.action in {"cordon", "retire", "force_release"} and self.reason is None:
            raise ValueError(f"{self.action} needs a reason")
        if (self.action == "force_release") != (self.gpu_uuids is not None):
            raise ValueError("gpu_uuids are named for force_release, and for nothing else")
        return self


class HostGpuBody(ResponseBody):
    gpu_uuid: str
    model: str
    memory_mib: int
    #: Of an instance of a partitioned board.
    parent_uuid: str | None
    slices: int | None
    link_group: str | None
    lease_state: str
    epoch: int
    rental_id: str | None
    #: Broken health rules and failed checks, at the last heartbeat.
    conditions: list[str]
    #: What the driver answers, call by call, and where power comes from.
    capabilities: dict[str, Any] | None
    fault: FaultBody | None


class LossBody(ResponseBody):
    """When and why the host was last given up."""

    reason: str
    at: str


class CarriedWindowBody(ResponseBody):
    window_id: str
    category: str
    starts_at: str
    ends_at: str
    #: Nothing new is placed before it is over.
    closed: bool


class HostBody(ResponseBody):
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
    notice: NoticeBody | None
    #: Why nothing new is placed, when an operator or the platform has closed the host.
    cordoned_reason: str | None
    lost: LossBody | None
    #: The next announced window.
    maintenance: CarriedWindowBody | None
    #: Of the last 30 days, announced maintenance left out: 1,000,000 is always there.
    reliability_ppm: int
    #: Hardware incidents of the last 30 days; at three the host is cordoned.
    lemon_score: int
    incident_count: int | None = None
    fabric_id: str | None
    #: Kept for reservations: only reserved and spot rentals are placed on it.
    reservable: bool
    gpus: list[HostGpuBody] | None = None


class HostListBody(ResponseBody):
    items: list[HostBody]


def read_gpus(body: HostRequest) -> list[Gpu]:
    return [
        Gpu(
            gpu.gpu_uuid,
            gpu.pci_bus_id,
            gpu.model,
            gpu.memory_mib,
            gpu.parent_uuid,
            gpu.slices,
            gpu.link_group,
        )
        for gpu in body.gpus
    ]


def render_enrolment(enrolment: Enrolment, token: str) -> EnrolmentBody:
    return EnrolmentBody(
        enrolment_id=enrolment.enrolment_id,
        gpu_type=enrolment.gpu_type,
        region=enrolment.region,
        expires_at=format_instant(enrolment.expires_at_ms),
        token=token,
    )


def render_enrolled(enrolled: EnrolledHost, signing_key: bytes, settings: Settings) -> EnrolledHostBody:
    return EnrolledHostBody(
        host_id=enrolled.host.host_id,
        api_key=enrolled.key.token,
        signing_key=signing_key.hex(),
        region=enrolled.host.region,
        gpu_type=enrolled.host.gpu_type,
        aws_region=settings.aws_region,
        heartbeats_queue_url=settings.heartbeats_queue_url,
        telemetry_queue_url=settings.telemetry_queue_url,
        commands_queue_url=enrolled.host.commands_queue_url,
        heartbeat_interval_seconds=settings.heartbeat_interval_seconds,
        telemetry_interval_seconds=settings.telemetry_interval_seconds,
    )


def render_credentials(credentials: HostCredentials) -> CredentialsBody:
    return CredentialsBody(
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key,
        session_token=credentials.session_token,
        expires_at=format_instant(credentials.expires_at_ms),
    )


def render_host(
    host: Host,
    liveness: Liveness | None,
    gpus: list[HostGpu] | None = None,
    *,
    now_ms: int,
    incident_count: int | None = None,
) -> HostBody:
    score = score_host(host, liveness, now_ms)
    return HostBody(
        host_id=host.host_id,
        gpu_type=host.gpu_type,
        region=host.region,
        state=host.state,
        gpu_count=host.gpu_count,
        free_gpus=host.free_gpus,
        agent_version=liveness.agent_version if liveness else host.agent_version,
        created_at=format_instant(host.created_at_ms),
        last_seen_at=format_instant(liveness.last_seen_at_ms) if liveness else None,
        telemetry_records_lost=liveness.records_lost if liveness else None,
        gpus=None if gpus is None else [_render_gpu(gpu, liveness) for gpu in gpus],
        draining=host.draining,
        fabric_id=host.fabric_id,
        reservable=host.reservable,
        notice=None if host.notice is None else _render_notice(host.notice),
        cordoned_reason=None if host.cordon is None else host.cordon.reason,
        lost=None
        if host.lost is None
        else LossBody(reason=host.lost.reason, at=format_instant(host.lost.at_ms)),
        maintenance=None if host.maintenance is None else _render_carried(host.maintenance),
        reliability_ppm=score.reliability_ppm,
        lemon_score=score.lemon_score,
        incident_count=incident_count,
    )


def _render_carried(planned: PlannedMaintenance) -> CarriedWindowBody:
    return CarriedWindowBody(
        window_id=planned.window_id,
        category=planned.category,
        starts_at=format_instant(planned.starts_at_ms),
        ends_at=format_instant(planned.ends_at_ms),
        closed=planned.closed,
    )


def _render_gpu(row: HostGpu, liveness: Liveness | None) -> HostGpuBody:
    return HostGpuBody(
        gpu_uuid=row.gpu.gpu_uuid,
        model=row.gpu.model,
        memory_mib=row.gpu.memory_mib,
        parent_uuid=row.gpu.parent_uuid,
        slices=row.gpu.slices,
        link_group=row.gpu.link_group,
        lease_state=row.lease_state,
        epoch=row.epoch,
        rental_id=row.rental_id,
        conditions=liveness.conditions.get(row.gpu.gpu_uuid, []) if liveness else [],
        capabilities=row.capabilities,
        fault=_render_fault(row.fault) if row.fault is not None and row.fault.open else None,
    )


def _render_notice(notice: HostNotice) -> NoticeBody:
    return NoticeBody(
        kind=notice.kind,
        action=notice.action,
        noticed_at=format_instant(notice.noticed_at_ms),
        ends_at=None if notice.ends_at_ms is None else format_instant(notice.ends_at_ms),
    )


def _render_fault(fault: GpuFault) -> FaultBody:
    return FaultBody(xid=fault.code, xid_class=fault.error_class, at=format_instant(fault.at_ms))
