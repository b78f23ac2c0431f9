"""The verb that starts something, and the wait until it runs."""

from typing import Annotated, Any, cast

import typer

from provocative.cli import options
from provocative.cli.flexible import (
    CarbonPolicy,
    Elsewhere,
    FinishBy,
    RunsFor,
    StartBy,
    Threshold,
    read_flexible,
)
from provocative.cli.parsing import given
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import verb
from provocative.cli.views import show_started
from provocative.cli.waiting import wait_until_running
from provocative.cli.workloads import read_workload
from provocative.models import Rental
from provocative.requests import IdlePolicy, RentalRequest

MaxPrice = options.MaxPrice
Option = typer.Option


def register(app: typer.Typer) -> None:
    verb(app)(rent)


def rent(
    session: Session,
    command: options.Command = None,
    *,
    gpu_type: options.GpuType = None,
    gpus: options.GpuCount = None,
    region: options.Region = None,
    image: options.Image = None,
    env: options.Env = None,
    port: options.Ports = None,
    ssh_key: options.SshKeys = None,
    volume: options.VolumeText = None,
    template: Annotated[
        str | None, Option("--template", "-t", metavar="ID", help="What is left out comes from it.")
    ] = None,
    label: options.Label = None,
    max_price: MaxPrice = None,
    spot: Annotated[bool, Option("--spot", help="Cheaper; ends 120 s after a notice.")] = False,
    reservation: Annotated[str | None, Option("--reservation", metavar="ID", help="Redeem it.")] = None,
    nodes: options.Nodes = None,
    spread: Annotated[
        str | None, Option("--spread", metavar="GROUP", help="Rentals of one group never share a host.")
    ] = None,
    no_queue: Annotated[
        bool, Option("--no-queue", help="Fail when there is no room now, rather than wait in line.")
    ] = False,
    priority: Annotated[int | None, Option("--priority", metavar="N", help="In line, 0 to 100.")] = None,
    deadline: options.Deadline = None,
    no_recovery: Annotated[
        bool, Option("--no-recovery", help="End, rather than start elsewhere, when the GPUs are taken away.")
    ] = False,
    max_duration: options.MaxDuration = None,
    idle_stop: options.IdleStop = None,
    idle_below: options.IdleBelow = None,
    idle_action: options.IdleAction = None,
    start_at: options.StartAt = None,
    stop_at: options.StopAt = None,
    finish_by: FinishBy = None,
    start_by: StartBy = None,
    runs_for: RunsFor = None,
    carbon_policy: CarbonPolicy = None,
    threshold: Threshold = None,
    elsewhere: Elsewhere = None,
    lock: Annotated[bool, Option("--lock", help="Refuse to stop, restart or end it until unlocked.")] = False,
    wait: Annotated[bool, Option("--wait", "-w", help="Return when it runs.")] = False,
    wait_at_most: options.WaitAtMost = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Rent GPUs for a workload: rent -g H100-SXM-80GB -n 2 --image pytorch/pytorch -- python train.py"""
    if spot and reservation is not None:
        raise typer.BadParameter("A reservation is not spot; leave one of them out.", param_hint="--spot")
    request: RentalRequest = given(
        **read_workload(image=image, command=command, env=env, ports=port, ssh_keys=ssh_key, volume=volume),
        template_id=template,
        gpu_type=gpu_type,
        gpu_count=gpus,
        region=region,
        label=label,
        max_price_micros_per_gpu_hour=max_price,
        billing_class=_choose_class(spot=spot, reserved=reservation is not None),
        reservation_id=reservation,
        node_count=nodes,
        spread_group=spread,
        on_no_capacity="fail" if no_queue else None,
        priority=priority,
        deadline_at=deadline,
        recovery="fail" if no_recovery else None,
        max_duration_seconds=max_duration,
        idle_policy=read_idle_policy(idle_stop, idle_below, idle_action),
        start_at=start_at,
        stop_at=stop_at,
        flexible=read_flexible(finish_by, start_by, runs_for, carbon_policy, threshold, region, elsewhere),
        locked=lock or None,
    )
    if gpu_type is None and template is None:
        raise typer.BadParameter("Which GPUs? 'provocative offers' shows them.", param_hint="--gpu-type")
    started = session.client.rentals.create(request, idempotency_key=idempotency_key)
    if wait:
        started = _wait(session, started, wait_at_most)
    session.show(started, lambda body: show_started(body, session.surroundings.now()))


def _choose_class(*, spot: bool, reserved: bool) -> str | None:
    if spot:
        return "spot"
    return "reserved" if reserved else None


def read_idle_policy(
    idle_seconds: int | None, max_utilization_percent: int | None, action: str | None
) -> IdlePolicy | None:
    """Raises typer.BadParameter: there is more of a policy than its time."""
    if idle_seconds is None:
        if max_utilization_percent is not None or action is not None:
            raise typer.BadParameter("For how long? Add --idle-stop 30m.", param_hint="--idle-stop")
        return None
    policy: IdlePolicy = given(
        idle_seconds=idle_seconds, max_utilization_percent=max_utilization_percent, action=action
    )
    return policy


def _wait(session: Session, started: Any, at_most_seconds: int | None) -> Any:
    """Return what was started as it is when it runs; of a cluster, all nodes."""
    rentals = started.get("items", [started])
    seen = [
        wait_until_running(session, cast("Rental", rental)["rental_id"], at_most_seconds)
        for rental in rentals
    ]
    for rental in seen:
        if rental["state"] != "running":
            raise Refused(
                f"{rental['rental_id']} is {rental['state']}: {rental['reason']}.",
                code="not_running",
                hint=f"provocative show {rental['rental_id']}",
            )
    return {**started, "items": seen} if "items" in started else seen[0]
