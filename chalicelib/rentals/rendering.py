"""Bodies of the rental routes into what the use cases take, and back."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from chalicelib.core.capacity import Quota
from chalicelib.core.clock import format_instant
from chalicelib.rentals.flexible_schemas import read_flexibility, render_plan
from chalicelib.rentals.messages import GpuWarning, Interruption, LogExcerpt
from chalicelib.rentals.model import Rental, list_actions
from chalicelib.rentals.policies import IdlePolicy, Policies
from chalicelib.rentals.ramp import Allowance
from chalicelib.rentals.schemas import (
    ActionBody,
    ChangeRentalRequest,
    ClusterBody,
    CreateRentalRequest,
    EndpointBody,
    IdlePolicyBody,
    InterruptionBody,
    LeaseBody,
    LineBody,
    LogBody,
    PlannedEndBody,
    PoliciesBody,
    QuotaBody,
    RampBody,
    RentalBody,
    WarningBody,
)
from chalicelib.rentals.service import LinePosition, RentalRequest
from chalicelib.rentals.timing import change_policies


def read_request(body: CreateRentalRequest) -> RentalRequest:
    return RentalRequest(
        gpu_type=body.gpu_type,
        gpu_count=body.gpu_count,
        # The plan's regions narrow it.
        region="any" if body.flexible is not None and body.flexible.regions else body.region,
        workload=body.read_workload(),
        max_price_micros_per_gpu_hour=body.max_price_micros_per_gpu_hour,
        label=body.label,
        billing_class=body.billing_class,
        node_count=body.node_count,
        priority=body.priority,
        deadline_at_ms=body.deadline_at,
        waits=body.on_no_capacity == "queue",
        recovery=body.recovery,
        spread_group=body.spread_group,
        reservation_id=body.reservation_id,
        locked=body.locked,
        policies=Policies(
            body.max_duration_seconds,
            None if body.idle_policy is None else read_idle_policy(body.idle_policy),
            body.start_at,
            body.stop_at,
        ),
        flexibility=None if body.flexible is None else read_flexibility(body.flexible, body.region),
    )


def read_idle_policy(body: IdlePolicyBody) -> IdlePolicy:
    return IdlePolicy(body.idle_seconds, body.max_utilization_percent, body.action)


def change(rental: Rental, body: ChangeRentalRequest) -> Rental:
    """Return the rental with what the request names."""
    given = body.model_fields_set
    policies = rental.policies
    if "max_duration_seconds" in given:
        policies = replace(policies, max_duration_seconds=body.max_duration_seconds)
    if "idle_policy" in given:
        idle = None if body.idle_policy is None else read_idle_policy(body.idle_policy)
        policies = replace(policies, idle=idle)
    if "start_at" in given:
        policies = replace(policies, start_at_ms=body.start_at)
    if "stop_at" in given:
        policies = replace(policies, stop_at_ms=body.stop_at)
    return change_policies(
        replace(
            rental,
            label=body.label if "label" in given else rental.label,
            locked=rental.locked if body.locked is None else body.locked,
        ),
        policies,
    )


def render_created(rentals: Sequence[Rental]) -> str:
    """Return the body of an answer to a start: a rental, or a cluster with its nodes."""
    first = rentals[0]
    if first.cluster_id is None:
        return render_rental(first).model_dump_json()
    items = [render_rental(rental) for rental in rentals]
    return ClusterBody(cluster_id=first.cluster_id, items=items).model_dump_json()


def render_quota(quota: Quota, allowance: Allowance | None = None) -> QuotaBody:
    return QuotaBody(
        max=quota.max_gpus,
        used=quota.used_gpus,
        available=quota.available_gpus,
        ramp=None if allowance is None else _render_ramp(allowance),
    )


def _render_ramp(allowance: Allowance) -> RampBody:
    rises_at_ms = allowance.rises_at_ms
    return RampBody(
        max_gpus=allowance.max_gpus,
        spend_limit_micros_per_hour=allowance.spend_limit_micros_per_hour,
        rises_at=None if rises_at_ms is None else format_instant(rises_at_ms),
    )


def render_log(excerpt: LogExcerpt) -> LogBody:
    return LogBody(
        taken_at=format_instant(excerpt.taken_at_ms), text=excerpt.text, truncated=excerpt.truncated
    )


def render_rental(rental: Rental, position: LinePosition | None = None) -> RentalBody:
    """``position`` is shown where one rental is looked at; a listing does without."""
    return RentalBody(
        rental_id=rental.rental_id,
        account_id=rental.account_id,
        label=rental.label,
        gpu_type=rental.gpu_type,
        gpu_count=rental.gpu_count,
        region=rental.region,
        billing_class=rental.billing_class,
        cluster_id=rental.cluster_id,
        reservation_id=rental.reservation_id,
        host_id=rental.host_id,
        segment=rental.segment,
        gpus=[LeaseBody(gpu_uuid=lease.gpu_uuid, epoch=lease.epoch) for lease in rental.leases],
        state=rental.state,
        desired_state=rental.desired_state,
        health=rental.health,
        billing_state=rental.billing_state,
        reason=rental.reason,
        price_micros_per_gpu_hour=rental.price_micros_per_gpu_hour,
        max_price_micros_per_gpu_hour=rental.max_price_micros_per_gpu_hour,
        currency=rental.currency,
        billed_seconds=rental.billed_seconds,
        charge_micros=rental.charge_micros,
        created_at=format_instant(rental.created_at_ms),
        running_at=_format(rental.running_at_ms),
        stop_requested_at=_format(rental.stop_requested_at_ms),
        terminated_at=_format(rental.terminated_at_ms),
        line=_render_line(rental, position),
        priority=rental.priority,
        deadline_at=_format(rental.deadline_at_ms),
        locked=rental.locked,
        recovery=rental.recovery,
        spread_group=rental.spread_group,
        policies=_render_policies(rental.policies),
        start_plan=None if rental.start_plan is None else render_plan(rental.start_plan),
        planned_end=_render_planned_end(rental),
        volume_host_id=rental.volume_host_id,
        volume_lost_at=_format(rental.volume_lost_at_ms),
        volume_price_micros_per_gib_hour=rental.volume_price_micros_per_gib_hour,
        data_kept_until=None if rental.data_hold is None else format_instant(rental.data_hold.until_ms),
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


def _render_line(rental: Rental, position: LinePosition | None) -> LineBody | None:
    waiting = rental.waiting
    if waiting is None:
        return None
    wait_ms = None if position is None else position.wait_ms
    return LineBody(
        since=format_instant(waiting.since_ms),
        why=waiting.why,
        position=None if position is None else position.position,
        estimated_wait_seconds=None if wait_ms is None else wait_ms // 1000,
    )


def _render_policies(policies: Policies) -> PoliciesBody:
    idle = policies.idle
    return PoliciesBody(
        max_duration_seconds=policies.max_duration_seconds,
        idle_policy=None if idle is None else asdict(idle),
        start_at=_format(policies.start_at_ms),
        stop_at=_format(policies.stop_at_ms),
    )


def _render_planned_end(rental: Rental) -> PlannedEndBody | None:
    end = rental.planned_end
    if end is None:
        return None
    return PlannedEndBody(
        reason=end.reason, notice_at=format_instant(end.notice_at_ms), ends_at=format_instant(end.at_ms)
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
