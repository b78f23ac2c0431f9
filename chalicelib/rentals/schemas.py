"""Bodies of the rental routes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.capacity import BillingClass
from chalicelib.rentals.flexible_schemas import FlexibleBody, StartPlanBody
from chalicelib.rentals.model import Recovery
from chalicelib.rentals.placing import MAX_NODES
from chalicelib.rentals.policies import (
    MAX_DURATION_SECONDS,
    MAX_IDLE_SECONDS,
    MIN_IDLE_SECONDS,
)
from chalicelib.rentals.queue import MAX_PRIORITY
from chalicelib.rentals.rules import Action
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody
from chalicelib.runtime.workload_bodies import CatalogName, GpuCount, WorkloadFields

Label = Annotated[str, Field(min_length=1, max_length=100)]


class IdlePolicyBody(RequestBody):
    """Ends a stay when no GPU is used; telemetry that is missing counts as use."""

    idle_seconds: Annotated[int, Field(ge=MIN_IDLE_SECONDS, le=MAX_IDLE_SECONDS)]
    max_utilization_percent: Annotated[int, Field(ge=0, le=99)] = 5
    action: Literal["stop", "terminate"] = "stop"


#: A cluster starts in one transaction: a record for each GPU, so many for each node, and room for the start
#: itself and for budgets that cover it.
RECORDS_PER_NODE, MAX_RECORDS = 7, 90


class RentalForm(WorkloadFields):
    """A start as it is sent: what is left out comes from the template, if one is named."""

    template_id: Annotated[str, Field(max_length=64)] | None = None
    gpu_type: CatalogName | None = None
    gpu_count: GpuCount = 1
    #: A region of the offers, or "any" for the cheapest with room.
    region: CatalogName = "any"
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
    #: When and where it starts is left to the forecasts of the grids.
    flexible: FlexibleBody | None = None


class CreateRentalRequest(RentalForm):
    """A start with everything that it needs."""

    gpu_type: CatalogName

    @model_validator(mode="after")
    def _check_complete(self) -> "CreateRentalRequest":
        if not self.command and self.image is None:
            raise ValueError("command or image is needed")
        if self.image is None and (self.ports or self.ssh_public_keys):
            raise ValueError("ports and ssh_public_keys need an image")
        if self.node_count > 1 and (self.volume is not None or self.spread_group is not None):
            raise ValueError("a cluster has no volumes and no spread_group: its nodes are apart already")
        if self.node_count > 1 and self.node_count * (self.gpu_count + RECORDS_PER_NODE) > MAX_RECORDS:
            raise ValueError(
                "a cluster of so many nodes has fewer GPUs in each: 6 x 8, 5 x 11 or 4 x 15 at most"
            )
        if (self.billing_class == "reserved") != (self.reservation_id is not None):
            raise ValueError("billing_class reserved and reservation_id belong together")
        return self

    @model_validator(mode="after")
    def _check_flexible(self) -> "CreateRentalRequest":
        flexible = self.flexible
        if flexible is None:
            return self
        if self.start_at is not None or self.stop_at is not None or self.max_duration_seconds is not None:
            raise ValueError(
                "flexible says when it starts and how long it runs: leave out start_at, stop_at "
                "and max_duration_seconds"
            )
        if self.reservation_id is not None or self.billing_class == "reserved":
            raise ValueError("a reservation has a time and hosts of its own: it is not flexible")
        if self.node_count > 1:
            raise ValueError("a cluster is not flexible")
        if self.on_no_capacity == "fail":
            raise ValueError("a flexible rental waits in line: on_no_capacity fail does not go with it")
        if self.deadline_at is not None and self.deadline_at < flexible.latest_start_ms:
            raise ValueError("deadline_at is before the latest start that flexible allows")
        if flexible.regions is not None and self.region not in {"any", *flexible.regions}:
            raise ValueError("region is none of the regions that flexible allows")
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


class RampBody(ResponseBody):
    """Of a new account: what it is held to until ``rises_at``; ``null``: until after its first top-up."""

    max_gpus: int
    spend_limit_micros_per_hour: int
    rises_at: str | None


class QuotaBody(ResponseBody):
    """``max`` is what holds now; ``ramp``, while it holds an account below its quota."""

    max: int
    used: int
    available: int
    ramp: RampBody | None = None


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
    #: Of one whose start was left open.
    start_plan: StartPlanBody | None
    planned_end: PlannedEndBody | None
    volume_host_id: str | None
    volume_lost_at: str | None
    #: Of a GiB of its volume, an hour, while it is stopped; of its last stay.
    volume_price_micros_per_gib_hour: int
    #: Of one that was stopped because the wallet was empty: the volume goes then, unless there is money.
    data_kept_until: str | None
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
