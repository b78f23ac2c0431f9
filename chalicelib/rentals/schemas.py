"""Bodies of the rental routes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.capacity import BillingClass
from chalicelib.rentals.model import (
    Recovery,
)
from chalicelib.rentals.placing import MAX_NODES
from chalicelib.rentals.policies import (
    MAX_DURATION_SECONDS,
    MAX_IDLE_SECONDS,
    MIN_IDLE_SECONDS,
)
from chalicelib.rentals.queue import MAX_PRIORITY
from chalicelib.rentals.rules import Action
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody

MAX_GPUS_PER_RENTAL = 16
MAX_WORKLOAD_BYTES = 32 * 1024

Argument = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
EnvironmentName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Label = Annotated[str, Field(min_length=1, max_length=100)]
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


class PortBody(RequestBody):
    container_port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeBody(RequestBody):
    size_gib: Annotated[int, Field(ge=1, le=MAX_VOLUME_GIB)]
    #: Absolute, without the colon and comma that engines give a meaning of their own.
    mount_path: Annotated[str, Field(max_length=256, pattern=r"^(?:/[A-Za-z0-9_.-]+)+$")]


class IdlePolicyBody(RequestBody):
    """Ends a stay when no GPU is used; telemetry that is missing counts as use."""

    idle_seconds: Annotated[int, Field(ge=MIN_IDLE_SECONDS, le=MAX_IDLE_SECONDS)]
    max_utilization_percent: Annotated[int, Field(ge=0, le=99)] = 5
    action: Literal["stop", "terminate"] = "stop"


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
    label: Label | None = None
    billing_class: BillingClass = "on_demand"
    reservation_id: Annotated[str, Field(max_length=64)] | None = None
    #: Hosts of one cluster: all or none start, on one fabric.
    node_count: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 0
    #: Who waits longer than this is not started any more.
    deadline_at: Instant | None = None
    on_no_capacity: Literal["queue", "fail"] = "queue"
    #: What follows when the platform takes the GPUs away: a start elsewhere, or the end.
    recovery: Recovery = "replace"
    #: Rentals of one group never share a host.
    spread_group: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    locked: bool = False
    max_duration_seconds: Annotated[int, Field(ge=60, le=MAX_DURATION_SECONDS)] | None = None
    idle_policy: IdlePolicyBody | None = None
    start_at: Instant | None = None
    stop_at: Instant | None = None

    @model_validator(mode="after")
    def _check_size(self) -> "CreateRentalRequest":
        if not self.command and self.image is None:
            raise ValueError("command or image is needed")
        if self.image is None and (self.ports or self.ssh_public_keys):
            raise ValueError("ports and ssh_public_keys need an image")
        if len({(port.container_port, port.protocol) for port in self.ports}) < len(self.ports):
            raise ValueError("a port is named twice")
        texts = [*self.command, *self.env, *self.env.values(), *self.ssh_public_keys]
        if self.node_count > 1 and (self.volume is not None or self.spread_group is not None):
            raise ValueError("a cluster has no volumes and no spread_group: its nodes are apart already")
        if (self.billing_class == "reserved") != (self.reservation_id is not None):
            raise ValueError("billing_class reserved and reservation_id belong together")
        if sum(len(text.encode("utf-8", "replace")) for text in texts) > MAX_WORKLOAD_BYTES:
            raise ValueError(f"command, env and ssh_public_keys may have {MAX_WORKLOAD_BYTES} bytes together")
        return self


class ActionRequest(RequestBody):
    action: Action
    #: ``resume`` only: stand in line when there is no room now.
    wait: bool = False


class ChangeRentalRequest(RequestBody):
    """What is left out stays; ``null`` takes a policy away."""

    label: Label | None = None
    locked: bool | None = None
    max_duration_seconds: Annotated[int, Field(ge=60, le=MAX_DURATION_SECONDS)] | None = None
    idle_policy: IdlePolicyBody | None = None
    start_at: Instant | None = None
    stop_at: Instant | None = None


class QuotaRequest(RequestBody):
    max_gpus: Annotated[int, Field(ge=0, le=1_000_000)]


class QuotaBody(ResponseBody):
    max: int
    used: int
    available: int


class LineBody(ResponseBody):
    """``position`` counts from 1; ``estimated_wait_seconds``: ``null`` while nothing is known."""

    since: str
    why: str
    position: int | None
    estimated_wait_seconds: int | None


class PlannedEndBody(ResponseBody):
    reason: str
    notice_at: str
    ends_at: str


class PoliciesBody(ResponseBody):
    max_duration_seconds: int | None
    idle_policy: dict[str, int | str] | None
    start_at: str | None
    stop_at: str | None


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
    #: Where it is, or may be: ``any`` while it is nowhere.
    region: str
    billing_class: str
    cluster_id: str | None
    reservation_id: str | None
    host_id: str | None
    #: How often it was placed.
    segment: int
    gpus: list[LeaseBody]
    state: str
    desired_state: str
    health: str
    billing_state: str
    reason: str | None
    #: Of the present stay; ``null`` before the first.
    price_micros_per_gpu_hour: int | None
    max_price_micros_per_gpu_hour: int | None
    currency: str
    billed_seconds: int
    charge_micros: int
    created_at: str
    running_at: str | None
    stop_requested_at: str | None
    terminated_at: str | None
    line: LineBody | None
    priority: int
    deadline_at: str | None
    locked: bool
    recovery: str
    spread_group: str | None
    policies: PoliciesBody
    planned_end: PlannedEndBody | None
    volume_host_id: str | None
    volume_lost_at: str | None
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


class ClusterBody(ResponseBody):
    cluster_id: str
    items: list[RentalBody]
