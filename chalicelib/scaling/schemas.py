"""Bodies of the scaling routes."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import RequestBody, ResponseBody
from chalicelib.scaling.model import Launch, LaunchOption, PoolSettings
from chalicelib.scaling.planner import LaunchDecision, TerminateDecision
from chalicelib.scaling.service import PlanView, PoolView

#: 10,000 USD an hour for one machine.
MAX_PRICE_MICROS = 10_000_000_000
_Name = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Hosts = Annotated[int, Field(ge=0, le=1_000)]


class OptionRequest(RequestBody):
    name: _Name
    instance_type: Annotated[str, Field(max_length=41, pattern=r"^[a-z0-9-]{1,20}\.[a-z0-9-]{1,20}$")]
    gpus_per_host: Annotated[int, Field(ge=1, le=64)]
    availability_zone: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]{3,40}$")]
    purchase: Literal["on_demand", "spot", "capacity_block"]
    launch_template_id: Annotated[str, Field(max_length=35, pattern=r"^lt-[0-9a-f]{8,32}$")]
    list_price_micros_per_hour: Annotated[int, Field(ge=0, le=MAX_PRICE_MICROS)]
    capacity_reservation_id: Annotated[str, Field(max_length=35, pattern=r"^cr-[0-9a-f]{8,32}$")] | None = (
        None
    )


class PoolRequest(RequestBody):
    min_hosts: _Hosts
    max_hosts: _Hosts
    warm_gpus: Annotated[int, Field(ge=0, le=10_000)]
    scale_in_after_seconds: Annotated[int, Field(ge=60, le=86_400)]
    options: Annotated[list[OptionRequest], Field(min_length=1, max_length=20)]


class OptionBody(ResponseBody):
    name: str
    instance_type: str
    gpus_per_host: int
    availability_zone: str
    purchase: str
    launch_template_id: str
    list_price_micros_per_hour: int
    capacity_reservation_id: str | None


class LaunchBody(ResponseBody):
    launch_id: str
    host_id: str
    option: str
    state: str
    instance_id: str | None
    requested_at: str
    changed_at: str
    attempts: int
    last_error: str | None


class PoolBody(ResponseBody):
    gpu_type: str
    region: str
    min_hosts: int
    max_hosts: int
    warm_gpus: int
    scale_in_after_seconds: int
    options: list[OptionBody]
    version: int
    launches: list[LaunchBody]


class PoolListBody(ResponseBody):
    items: list[PoolBody]


class DecisionBody(ResponseBody):
    kind: str
    option: str | None = None
    host_id: str | None = None
    launch_id: str | None = None


class PlanBody(ResponseBody):
    gpu_type: str
    region: str
    decision: DecisionBody | None
    reason: str
    shortage_gpus: int
    free_gpus: int
    waiting_tickets: int
    hosts: int
    launches: int


class PlanListBody(ResponseBody):
    items: list[PlanBody]


def read_settings(body: PoolRequest, gpu_type: str, region: str) -> PoolSettings:
    options = tuple(
        LaunchOption(
            name=option.name,
            instance_type=option.instance_type,
            gpus_per_host=option.gpus_per_host,
            availability_zone=option.availability_zone,
            purchase=option.purchase,
            launch_template_id=option.launch_template_id,
            list_price_micros_per_hour=option.list_price_micros_per_hour,
            capacity_reservation_id=option.capacity_reservation_id,
        )
        for option in body.options
    )
    return PoolSettings(
        gpu_type=gpu_type,
        region=region,
        min_hosts=body.min_hosts,
        max_hosts=body.max_hosts,
        warm_gpus=body.warm_gpus,
        scale_in_after_seconds=body.scale_in_after_seconds,
        options=options,
    )


def render_pool(view: PoolView) -> PoolBody:
    settings = view.settings
    return PoolBody(
        gpu_type=settings.gpu_type,
        region=settings.region,
        min_hosts=settings.min_hosts,
        max_hosts=settings.max_hosts,
        warm_gpus=settings.warm_gpus,
        scale_in_after_seconds=settings.scale_in_after_seconds,
        options=[_render_option(option) for option in settings.options],
        version=settings.version,
        launches=[_render_launch(launch) for launch in view.launches],
    )


def render_plan(view: PlanView) -> PlanBody:
    decision = view.plan.decision
    body = None
    if isinstance(decision, LaunchDecision):
        body = DecisionBody(kind=decision.kind, option=decision.option.name)
    elif isinstance(decision, TerminateDecision):
        body = DecisionBody(kind=decision.kind, host_id=decision.host_id, launch_id=decision.launch_id)
    return PlanBody(
        gpu_type=view.settings.gpu_type,
        region=view.settings.region,
        decision=body,
        reason=view.plan.reason,
        shortage_gpus=view.plan.shortage_gpus,
        free_gpus=view.demand.free_gpus,
        waiting_tickets=len(view.demand.waiting),
        hosts=len(view.demand.hosts),
        launches=len(view.launches),
    )


def _render_option(option: LaunchOption) -> OptionBody:
    return OptionBody(
        name=option.name,
        instance_type=option.instance_type,
        gpus_per_host=option.gpus_per_host,
        availability_zone=option.availability_zone,
        purchase=option.purchase,
        launch_template_id=option.launch_template_id,
        list_price_micros_per_hour=option.list_price_micros_per_hour,
        capacity_reservation_id=option.capacity_reservation_id,
    )


def _render_launch(launch: Launch) -> LaunchBody:
    return LaunchBody(
        launch_id=launch.launch_id,
        host_id=launch.host_id,
        option=launch.option.name,
        state=launch.state,
        instance_id=launch.instance_id,
        requested_at=format_instant(launch.requested_at_ms),
        changed_at=format_instant(launch.changed_at_ms),
        attempts=launch.attempts,
        last_error=launch.last_error,
    )
