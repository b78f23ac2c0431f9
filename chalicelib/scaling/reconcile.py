"""Makes records and EC2 agree: what was ordered is found, what is to end ends, what nobody ordered goes.

Only an answer is believed. A list that failed, or is empty while records say that something runs, concludes
nothing; that an instance is gone is EC2's word on that very instance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.scaling.model import (
    ASK_AGAIN_FOR_MS,
    ENDED,
    ENDING,
    ENROL_WITHIN_MS,
    FORGOTTEN_AFTER_MS,
    ORPHAN_GRACE_MS,
    ORPHAN_PREFIX,
    SLOW_END_MS,
    Launch,
    LaunchOption,
    LaunchState,
    PoolSettings,
    move,
)
from chalicelib.scaling.ports import (
    Instance,
    InstanceError,
    Instances,
    LaunchOrder,
    OutcomeUnknown,
    ScalingPorts,
    Throttled,
    add_audit,
)

#: What ``RunInstances`` made may take a moment to be listed.
SETTLES_WITHIN_MS = 5 * 60_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """``alarms`` are sentences for a person. ``blind``: EC2's list cannot be believed.

    ``slow_ends`` instances were told to end a quarter of an hour ago, and have not.
    """

    blind: bool
    alarms: tuple[str, ...] = ()
    slow_ends: int = 0


def reconcile_pool(ports: ScalingPorts, instances: Instances, settings: PoolSettings) -> Reconciled:
    """Bring each record of a pool to what EC2 says, and end what is to end. Safe to repeat and to stop.

    Raises:
        Unavailable: a record changed at the same time; the next round goes on.
    """
    alarms: list[str] = []
    listed, blind = _read_list(ports, instances, settings, alarms)
    by_id = {instance.instance_id: instance for instance in listed}
    for launch in ports.store.list_open(settings.pool):
        try:
            _follow(ports, instances, launch, by_id, listed)
        except DomainError as error:
            # One record that cannot be followed keeps no other from its end.
            alarms.append(f"{launch.launch_id} is left for the next round: {error.detail}")
    if not blind:
        _settle_orphans(ports, settings, listed, alarms)
    ending = [launch for launch in ports.store.list_open(settings.pool) if launch.state in ENDING]
    slow_ends = sum(_is_slow(launch, ports.clock.now_ms()) for launch in ending)
    for launch in ending:
        _end(ports, instances, launch, alarms)
    return Reconciled(blind, tuple(alarms), slow_ends)


def _is_slow(launch: Launch, now_ms: int) -> bool:
    return now_ms - (launch.ending_since_ms or now_ms) >= SLOW_END_MS


def start(ports: ScalingPorts, instances: Instances, launch: Launch) -> Launch:
    """Ask EC2 for a launch's instance; repeated, it is the same one.

    A definite no ends the launch. No answer leaves it as it is, to be asked again under the same token.
    """
    token = ports.hosts.build_token(launch.launch_id)
    order = LaunchOrder(
        launch.launch_id,
        launch.host_id,
        launch.pool,
        launch.region,
        launch.option,
        ports.build_user_data(token, launch.region),
    )
    try:
        instance_id = instances.launch(order)
    except (Throttled, OutcomeUnknown) as error:
        waited_ms = ports.clock.now_ms() - launch.requested_at_ms
        if waited_ms >= ASK_AGAIN_FOR_MS:
            return _fail(ports, launch, error.code)
        return _note_attempt(ports, launch, error.code)
    except InstanceError as error:
        return _fail(ports, launch, error.code)
    found = replace(launch, instance_id=instance_id)
    return _move(ports, launch, move(found, "launching", ports.clock.now_ms()), "launch.instance_made")


def _read_list(
    ports: ScalingPorts, instances: Instances, settings: PoolSettings, alarms: list[str]
) -> tuple[list[Instance], bool]:
    try:
        listed = instances.list_instances(settings.region, settings.pool)
    except InstanceError as error:
        alarms.append(f"EC2 did not list the instances of {settings.pool}: {error.code}")
        return [], True
    settled_ms = ports.clock.now_ms() - SETTLES_WITHIN_MS
    expected = [
        launch.launch_id
        for launch in ports.store.list_open(settings.pool)
        if launch.state in {"launching", "running"} and launch.changed_at_ms <= settled_ms
    ]
    if expected and not listed:
        alarms.append(f"EC2 lists no instance of {settings.pool}, and {len(expected)} should run")
        return [], True
    return listed, False


def _follow(
    ports: ScalingPorts,
    instances: Instances,
    launch: Launch,
    by_id: Mapping[str, Instance],
    listed: Sequence[Instance],
) -> None:
    """Take one record a step further, by what EC2 and the fleet say of it."""
    now_ms = ports.clock.now_ms()
    if launch.state == "requested":
        made = [each for each in listed if each.launch_id == launch.launch_id]
        if made:
            found = replace(launch, instance_id=made[0].instance_id)
            _move(ports, launch, move(found, "launching", now_ms), "launch.instance_found")
        else:
            start(ports, instances, launch)
        return
    assert launch.instance_id is not None
    instance = by_id.get(launch.instance_id)
    if instance is None:
        try:
            instance = instances.find_instance(launch.region, launch.instance_id)
        except InstanceError:
            return
    if instance is None and _is_forgotten(ports, launch, now_ms):
        _finish(ports, launch, "gone_from_ec2")
    elif instance is not None and instance.ended:
        _finish(ports, launch, None)
    elif instance is not None:
        _follow_living(ports, launch, instance, now_ms)


def _follow_living(ports: ScalingPorts, launch: Launch, instance: Instance, now_ms: int) -> None:
    if launch.missing_since_ms is not None:
        launch = _write(ports, launch, replace(launch, missing_since_ms=None))
    standing = ports.hosts.find_standing(launch.host_id)
    if launch.state == "launching" and standing == "enrolled":
        _move(ports, launch, move(launch, "running", now_ms), "launch.host_enrolled")
    elif launch.state == "running" and standing == "retired":
        # An operator took the host out: nothing can be leased on it any more.
        _move(ports, launch, move(launch, "draining", now_ms), "launch.host_retired")
    elif launch.state == "launching" and now_ms - launch.requested_at_ms >= ENROL_WITHIN_MS:
        close_host(ports, launch, "never_enrolled")
    elif launch.state == "draining" and instance.ending:
        _move(ports, launch, move(launch, "terminating", now_ms), "launch.ends")


def close_host(ports: ScalingPorts, launch: Launch, error: str | None) -> Launch:
    """Take the launch's host out, and write that its instance is to end: one transaction.

    Raises:
        HostInUse: the host has work, or has just enrolled.
        Unavailable: something changed at the same time.
    """
    closed = move(launch, "draining", ports.clock.now_ms(), error)
    tx = ports.transactions()
    ports.store.replace_launch(tx, launch, closed)
    ports.hosts.close(tx, launch.launch_id, launch.host_id)
    add_audit(ports, tx, "launch.closed", launch.launch_id, {"host_id": launch.host_id, "error": error})
    tx.commit()
    return replace(closed, version=launch.version + 1)


def _is_forgotten(ports: ScalingPorts, launch: Launch, now_ms: int) -> bool:
    """EC2 does not know the instance: true once it has said so for as long as it remembers the ended."""
    if launch.missing_since_ms is None:
        _write(ports, launch, replace(launch, missing_since_ms=now_ms))
        return False
    return now_ms - launch.missing_since_ms >= FORGOTTEN_AFTER_MS


def _finish(ports: ScalingPorts, launch: Launch, error: str | None) -> None:
    """EC2 says that the instance is gone: so is its host."""
    if launch.state == "launching" and error is None:
        error = "ended_before_enrolling"
    if not launch.is_orphan:
        # First, and safe to repeat: a crash between the two leaves the record open.
        ports.hosts.retire(launch.host_id)
        if ports.hosts.find_standing(launch.host_id) == "unknown":
            _finish_unenrolled(ports, launch, error)
            return
    _move(ports, launch, move(launch, "terminated", ports.clock.now_ms(), error), "launch.terminated")


def _finish_unenrolled(ports: ScalingPorts, launch: Launch, error: str | None) -> None:
    ended = move(launch, "terminated", ports.clock.now_ms(), error)
    tx = ports.transactions()
    ports.store.replace_launch(tx, launch, ended)
    ports.hosts.close(tx, launch.launch_id, launch.host_id)
    add_audit(ports, tx, "launch.terminated", launch.launch_id, _describe(ended))
    tx.commit()


def _end(ports: ScalingPorts, instances: Instances, launch: Launch, alarms: list[str]) -> None:
    """Order the end again, each round, until EC2 confirms it: it is never given up."""
    assert launch.instance_id is not None
    now_ms = ports.clock.now_ms()
    if _is_slow(launch, now_ms):
        alarms.append(f"{launch.instance_id} of {launch.launch_id} has not ended ({launch.last_error})")
    error = None
    try:
        instances.terminate(launch.region, launch.instance_id)
    except InstanceError as failed:
        error = failed.code
    try:
        if error is None and launch.state == "draining":
            _move(ports, launch, move(launch, "terminating", now_ms), "launch.ends")
        else:
            _write(ports, launch, replace(launch, attempts=launch.attempts + 1))
    except Unavailable:
        alarms.append(f"{launch.launch_id} changed at the same time")


def _settle_orphans(
    ports: ScalingPorts, settings: PoolSettings, listed: Sequence[Instance], alarms: list[str]
) -> None:
    """Give every living instance a record: the launch's own, or one by which it ends."""
    for instance in listed:
        if instance.ending or _is_recorded(ports, settings.pool, instance):
            continue
        try:
            _settle_orphan(ports, settings, instance, alarms)
        except DomainError as error:
            alarms.append(f"{instance.instance_id} has no record, and stays for now: {error.detail}")


def _is_recorded(ports: ScalingPorts, pool: str, instance: Instance) -> bool:
    if instance.launch_id is not None:
        launch = ports.store.get_launch(pool, instance.launch_id)
        if launch is not None and launch.state not in ENDED:
            # One without an instance finds it by its tag in the next round.
            return launch.instance_id in {None, instance.instance_id}
    orphan = ports.store.get_launch(pool, f"{ORPHAN_PREFIX}{instance.instance_id}")
    return orphan is not None and orphan.state not in ENDED


def _settle_orphan(
    ports: ScalingPorts, settings: PoolSettings, instance: Instance, alarms: list[str]
) -> None:
    now_ms = ports.clock.now_ms()
    launch_id, host_id = instance.launch_id, instance.host_id
    known = None if launch_id is None else ports.store.get_launch(settings.pool, launch_id)
    enrolled = host_id is not None and ports.hosts.find_standing(host_id) == "enrolled"
    record = _record_orphan(settings, instance, now_ms)
    tx = ports.transactions()
    if known is None and enrolled and launch_id is not None and host_id is not None:
        # The record was lost, the host is there and works: it is ours again.
        adopted = replace(record, launch_id=launch_id, host_id=host_id, state="running", ending_since_ms=None)
        ports.store.add_launch(tx, adopted)
        add_audit(ports, tx, "launch.adopted", launch_id, {"instance_id": instance.instance_id})
        tx.commit()
        return
    if now_ms - instance.launched_at_ms < ORPHAN_GRACE_MS:
        return
    if host_id is not None and launch_id is not None:
        # Refuses when the host has work: then a person has to look which machine it is.
        ports.hosts.close(tx, launch_id, host_id)
    ports.store.add_launch(tx, record)
    details = {"launch_id": launch_id, "host_id": host_id, "instance_type": instance.instance_type}
    add_audit(ports, tx, "instance.orphan_ended", instance.instance_id, details)
    tx.commit()
    alarms.append(f"{instance.instance_id} belongs to no open launch: it is ended")


def _record_orphan(settings: PoolSettings, instance: Instance, now_ms: int) -> Launch:
    fitting = [each for each in settings.options if each.instance_type == instance.instance_type]
    option = LaunchOption(
        name="unknown",
        instance_type=instance.instance_type,
        gpus_per_host=fitting[0].gpus_per_host if fitting else 0,
        availability_zone=instance.availability_zone,
        purchase="on_demand",
        launch_template_id="unknown",
        list_price_micros_per_hour=fitting[0].list_price_micros_per_hour if fitting else 0,
    )
    state: LaunchState = "draining"
    return Launch(
        launch_id=f"{ORPHAN_PREFIX}{instance.instance_id}",
        pool=settings.pool,
        region=settings.region,
        host_id=instance.host_id or "",
        option=option,
        state=state,
        requested_at_ms=instance.launched_at_ms,
        changed_at_ms=now_ms,
        instance_id=instance.instance_id,
        ending_since_ms=now_ms,
    )


def _fail(ports: ScalingPorts, launch: Launch, code: str) -> Launch:
    """Nothing was launched: the token is worth nothing any more, so a late machine can never enrol."""
    failed = move(launch, "failed", ports.clock.now_ms(), code)
    tx = ports.transactions()
    ports.store.replace_launch(tx, launch, failed)
    ports.hosts.close(tx, launch.launch_id, launch.host_id)
    add_audit(ports, tx, "launch.failed", launch.launch_id, _describe(failed))
    tx.commit()
    return replace(failed, version=launch.version + 1)


def _note_attempt(ports: ScalingPorts, launch: Launch, code: str) -> Launch:
    return _write(ports, launch, replace(launch, attempts=launch.attempts + 1, last_error=code))


def _write(ports: ScalingPorts, old: Launch, new: Launch) -> Launch:
    """Write what is no act: a count, an observation."""
    tx = ports.transactions()
    ports.store.replace_launch(tx, old, new)
    tx.commit()
    return replace(new, version=old.version + 1)


def _move(ports: ScalingPorts, old: Launch, new: Launch, action: str) -> Launch:
    tx = ports.transactions()
    ports.store.replace_launch(tx, old, new)
    add_audit(ports, tx, action, new.launch_id, _describe(new))
    tx.commit()
    return replace(new, version=old.version + 1)


def _describe(launch: Launch) -> dict[str, object]:
    return {
        "host_id": launch.host_id,
        "instance_id": launch.instance_id,
        "option": launch.option.name,
        "error": launch.last_error,
    }
