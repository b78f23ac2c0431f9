"""Bodies of the rental routes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.clock import format_instant
from chalicelib.rentals.model import GpuWarning, Interruption, LogExcerpt, Rental, list_actions
from chalicelib.rentals.service import RentalRequest
from chalicelib.runtime.bodies import RequestBody, ResponseBody
from chalicelib.runtime.workload_bodies import CatalogName, GpuCount, WorkloadFields


class CreateRentalRequest(WorkloadFields):
    gpu_type: CatalogName
    gpu_count: GpuCount = 1
    #: A region of the offers, or "any" for the cheapest with room.
    region: CatalogName = "any"
    max_price_micros_per_gpu_hour: Annotated[int, Field(ge=0, le=10**12)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _check_complete(self) -> "CreateRentalRequest":
        if not self.command and self.image is None:
            raise ValueError("command or image is needed")
        if self.image is None and (self.ports or self.ssh_public_keys):
            raise ValueError("ports and ssh_public_keys need an image")
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
        workload=body.read_workload(),
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
