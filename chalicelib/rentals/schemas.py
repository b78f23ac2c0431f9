"""Bodies of the rental routes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.clock import format_instant
from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.rentals.model import GpuWarning, Interruption, LogExcerpt, Rental, list_actions
from chalicelib.rentals.service import RentalRequest
from chalicelib.runtime.bodies import RequestBody, ResponseBody

MAX_GPUS_PER_RENTAL = 16
MAX_WORKLOAD_BYTES = 32 * 1024

Argument = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
EnvironmentName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
CatalogName = Annotated[str, Field(min_length=1, max_length=64)]


#: Repository with an optional registry, tag and digest. Source: OCI Distribution Specification 1.1, pulling.
IMAGE_REFERENCE = (
    r"^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)
#: Key type, base64 and comment, without options, which could run commands. Source: sshd(8), AUTHORIZED_KEYS.
SSH_PUBLIC_KEY = (
    r"^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com) "
    r"[A-Za-z0-9+/]{32,4096}={0,2}(?: [^\x00-\x1f]{0,256})?$"
)
SshPublicKey = Annotated[str, Field(max_length=4608, pattern=SSH_PUBLIC_KEY)]
MAX_VOLUME_GIB = 16_384
_MIB_PER_GIB = 1024


class PortBody(RequestBody):
    container_port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeBody(RequestBody):
    size_gib: Annotated[int, Field(ge=1, le=MAX_VOLUME_GIB)]
    #: Absolute, without the colon and comma that engines give a meaning of their own.
    mount_path: Annotated[str, Field(max_length=256, pattern=r"^(?:/[A-Za-z0-9_.-]+)+$")]


class CreateRentalRequest(RequestBody):
    gpu_type: CatalogName
    gpu_count: Annotated[int, Field(ge=1, le=MAX_GPUS_PER_RENTAL)] = 1
    #: A region of the offers, or "any" for the cheapest with room.
    region: CatalogName = "any"
    #: Arguments of the program; empty for what the image starts by itself.
    command: Annotated[list[Argument], Field(max_length=64, default_factory=list)]
    #: A container image; without one the command is run bare, on hosts that do so.
    image: Annotated[str, Field(max_length=512, pattern=IMAGE_REFERENCE)] | None = None
    ports: Annotated[list[PortBody], Field(max_length=16, default_factory=list)]
    #: Lines as in authorized_keys; any opens an SSH entry to the container on port 22.
    ssh_public_keys: Annotated[list[SshPublicKey], Field(max_length=16, default_factory=list)]
    #: A disk of its own that ends with the rental.
    volume: VolumeBody | None = None
    env: Annotated[dict[EnvironmentName, Argument], Field(max_length=64, default_factory=dict)]
    max_price_micros_per_gpu_hour: Annotated[int, Field(ge=0, le=10**12)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _check_size(self) -> "CreateRentalRequest":
        if not self.command and self.image is None:
            raise ValueError("command or image is needed")
        if self.image is None and (self.ports or self.ssh_public_keys):
            raise ValueError("ports and ssh_public_keys need an image")
        if len({(port.container_port, port.protocol) for port in self.ports}) < len(self.ports):
            raise ValueError("a port is named twice")
        texts = [*self.command, *self.env, *self.env.values(), *self.ssh_public_keys]
        if sum(len(text.encode("utf-8", "replace")) for text in texts) > MAX_WORKLOAD_BYTES:
            raise ValueError(f"command, env and ssh_public_keys may have {MAX_WORKLOAD_BYTES} bytes together")
        return self


class ActionRequest(RequestBody):
    action: Literal["terminate"]


class ActionBody(ResponseBody):
    available: bool
    reason_code: str | None


class LeaseBody(ResponseBody):
    gpu_uuid: str
    epoch: int


class EndpointBody(ResponseBody):
    container_port: int
    protocol: str
    address: str
    host_port: int


class InterruptionBody(ResponseBody):
    """The host will go, or be rebooted: what must survive has to be saved before ``ends_at``."""

    reason: str
    notice_at: str
    ends_at: str | None


class WarningBody(ResponseBody):
    """GPU errors that the running program causes. The hardware is not at fault; nothing is credited."""

    gpu_uuid: str
    xid: int
    xid_class: str
    count: int
    last_at: str
    text: str


class RentalBody(ResponseBody):
    rental_id: str
    account_id: str
    label: str | None
    gpu_type: str
    gpu_count: int
    region: str
    host_id: str
    gpus: list[LeaseBody]
    state: str
    desired_state: str
    health: str
    billing_state: str
    reason: str | None
    price_micros_per_gpu_hour: int
    currency: str
    billed_seconds: int
    charge_micros: int
    created_at: str
    running_at: str | None
    stop_requested_at: str | None
    terminated_at: str | None
    endpoints: list[EndpointBody]
    interruption: InterruptionBody | None
    warnings: list[WarningBody]
    actions: dict[str, ActionBody]


class LogBody(ResponseBody):
    taken_at: str
    text: str
    truncated: bool


class RentalListBody(ResponseBody):
    items: list[RentalBody]
    next_cursor: str | None


def read_request(body: CreateRentalRequest) -> RentalRequest:
    return RentalRequest(
        gpu_type=body.gpu_type,
        gpu_count=body.gpu_count,
        region=body.region,
        workload=Workload(
            command=tuple(body.command),
            env=body.env,
            image=body.image,
            ports=tuple(Port(port.container_port, port.protocol) for port in body.ports),
            ssh_public_keys=tuple(body.ssh_public_keys),
            volume=None
            if body.volume is None
            else Volume(body.volume.size_gib * _MIB_PER_GIB, body.volume.mount_path),
        ),
        max_price_micros_per_gpu_hour=body.max_price_micros_per_gpu_hour,
        label=body.label,
    )


def render_log(excerpt: LogExcerpt) -> LogBody:
    return LogBody(
        taken_at=format_instant(excerpt.taken_at_ms), text=excerpt.text, truncated=excerpt.truncated
    )


def render_rental(rental: Rental) -> RentalBody:
    return RentalBody(
        rental_id=rental.rental_id,
        account_id=rental.account_id,
        label=rental.label,
        gpu_type=rental.gpu_type,
        gpu_count=rental.gpu_count,
        region=rental.region,
        host_id=rental.host_id,
        gpus=[LeaseBody(gpu_uuid=lease.gpu_uuid, epoch=lease.epoch) for lease in rental.leases],
        state=rental.state,
        desired_state=rental.desired_state,
        health=rental.health,
        billing_state=rental.billing_state,
        reason=rental.reason,
        price_micros_per_gpu_hour=rental.price_micros_per_gpu_hour,
        currency=rental.currency,
        billed_seconds=rental.billed_seconds,
        charge_micros=rental.charge_micros,
        created_at=format_instant(rental.created_at_ms),
        running_at=_format(rental.running_at_ms),
        stop_requested_at=_format(rental.stop_requested_at_ms),
        terminated_at=_format(rental.terminated_at_ms),
        endpoints=[
            EndpointBody(
                container_port=each.container_port,
                protocol=each.protocol,
                address=each.address,
                host_port=each.host_port,
            )
            for each in rental.endpoints
        ],
        interruption=None if rental.interruption is None else _render_interruption(rental.interruption),
        warnings=[_render_warning(warning) for warning in rental.warnings],
        actions={
            name: ActionBody(available=state.available, reason_code=state.reason_code)
            for name, state in list_actions(rental).items()
        },
    )


def _render_interruption(interruption: Interruption) -> InterruptionBody:
    return InterruptionBody(
        reason=interruption.reason,
        notice_at=format_instant(interruption.notice_at_ms),
        ends_at=_format(interruption.ends_at_ms),
    )


def _render_warning(warning: GpuWarning) -> WarningBody:
    return WarningBody(
        gpu_uuid=warning.gpu_uuid,
        xid=warning.code,
        xid_class=warning.error_class,
        count=warning.count,
        last_at=format_instant(warning.last_at_ms),
        text=f"The GPU reports Xid {warning.code}, which a program causes that runs on it, for instance by "
        "an access outside its memory. The GPU is not at fault, and nothing is credited.",
    )


def _format(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else format_instant(epoch_ms)
