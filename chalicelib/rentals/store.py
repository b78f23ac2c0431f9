"""Rentals in DynamoDB.

Access: get by id; an account's by ``by_account``, newest first; what is due by ``by_due``.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from pynamodb.exceptions import PutError

from chalicelib.core.capacity import BillingClass
from chalicelib.core.leases import Lease
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.workloads import Endpoint, Port, Volume, Workload
from chalicelib.rentals.flexibility import Flexibility, Replan, StartChoice, StartPlan, UsedForecast
from chalicelib.rentals.messages import GpuWarning, Interruption, LogExcerpt
from chalicelib.rentals.model import (
    BillingState,
    DesiredState,
    Health,
    Placement,
    PlannedEnd,
    Recovery,
    Rental,
    Waiting,
    mark_settled,
)
from chalicelib.rentals.policies import IdlePolicy, Policies
from chalicelib.rentals.retention import DataHold, Keeping
from chalicelib.rentals.rules import Reason, State
from chalicelib.rentals.timing import find_due
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.rentals import LogItem, RentalItem, WorkloadItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Index keys under which rentals that are due are listed.
DUE_SHARDS = 8
KEPT_SHARDS = 8
#: A program may write anything: what was asked for is not kept for long.
LOG_LIFETIME_MS = 30 * 86_400_000


class DynamoRentalStore:
    def get_rental(self, rental_id: str) -> Rental | None:
        try:
            return _read(RentalItem.get(keys.rental(rental_id), keys.RENTAL, consistent_read=True))
        except RentalItem.DoesNotExist:
            return None

    def get_workload(self, rental_id: str) -> Workload | None:
        try:
            item = WorkloadItem.get(keys.rental(rental_id), keys.WORKLOAD, consistent_read=True)
        except WorkloadItem.DoesNotExist:
            return None
        return _read_workload(item.workload)

    def list_rentals(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Rental]:
        condition = None
        if start is not None:
            key = RentalItem.created_key
            condition = key > start if oldest_first else key < start
        result = RentalItem.by_account.query(
            account_id, range_key_condition=condition, scan_index_forward=oldest_first, limit=limit
        )
        items = [_read(item) for item in result]
        more = result.last_evaluated_key is not None
        next_key = keys.created(items[-1].created_at_ms, items[-1].rental_id) if more else None
        return Page(items, next_key)

    def list_due(self, shard: str, now_ms: int, limit: int) -> list[Rental]:
        return [
            _read(item)
            for item in RentalItem.by_due.query(shard, RentalItem.due_at_ms <= now_ms, limit=limit)
        ]

    def list_kept(self, shard: str) -> Iterator[str]:
        for item in RentalItem.by_kept.query(shard):
            yield item.rental_id

    def add_rental(self, tx: Transaction, rental: Rental, workload: Workload) -> None:
        item = RentalItem(
            keys.rental(rental.rental_id),
            keys.RENTAL,
            rental_id=rental.rental_id,
            account_id=rental.account_id,
            created_key=keys.created(rental.created_at_ms, rental.rental_id),
            gpu_type=rental.gpu_type,
            gpu_count=rental.gpu_count,
            wanted_region=rental.wanted_region,
            currency=rental.currency,
            created_at_ms=rental.created_at_ms,
            billing_class=rental.billing_class,
            cluster_id=rental.cluster_id,
            reservation_id=rental.reservation_id,
            has_volume=rental.has_volume,
            volume_mib=rental.volume_mib or None,
            billed_seconds=0,
            charge_micros=0,
            settled_segment=0,
            version=rental.version,
            **{name: value for name, value in _write_life(rental).items() if value is not None},
        )
        dynamo(tx).put(item, RentalItem.pk.does_not_exist(), unexpected("The rental"))
        spec = WorkloadItem(keys.rental(rental.rental_id), keys.WORKLOAD, workload=asdict(workload))
        dynamo(tx).put(spec, WorkloadItem.pk.does_not_exist(), unexpected("The rental"))

    def replace_rental(self, tx: Transaction, old: Rental, new: Rental) -> None:
        before = _write_life(old)
        actions: list[Any] = [RentalItem.version.set(old.version + 1)]
        for name, value in _write_life(new).items():
            if value == before[name]:
                continue
            attribute: Any = getattr(RentalItem, name)
            actions.append(attribute.remove() if value is None else attribute.set(value))
        dynamo(tx).update(
            RentalItem,
            (keys.rental(new.rental_id), keys.RENTAL),
            actions,
            RentalItem.version == old.version,
            unexpected("The rental"),
        )

    def replace_messages(self, tx: Transaction, old: Rental, new: Rental) -> None:
        interruption, warnings = new.interruption, new.warnings
        actions: list[Any] = [
            RentalItem.messages_version.set(old.messages_version + 1),
            RentalItem.warnings.set([asdict(warning) for warning in warnings]),
            RentalItem.interruption.remove()
            if interruption is None
            else RentalItem.interruption.set(asdict(interruption)),
        ]
        same = (
            RentalItem.messages_version == old.messages_version
            if old.messages_version
            else RentalItem.messages_version.does_not_exist()
        )
        key = (keys.rental(new.rental_id), keys.RENTAL)
        dynamo(tx).update(RentalItem, key, actions, same, unexpected("The rental"))

    def get_log(self, rental_id: str) -> LogExcerpt | None:
        try:
            item = LogItem.get(keys.rental(rental_id), keys.LOG, consistent_read=True)
        except LogItem.DoesNotExist:
            return None
        return LogExcerpt(item.taken_at_ms, item.text, item.truncated)

    def keep_log(self, rental_id: str, excerpt: LogExcerpt) -> None:
        item = LogItem(
            keys.rental(rental_id),
            keys.LOG,
            taken_at_ms=excerpt.taken_at_ms,
            text=excerpt.text,
            truncated=excerpt.truncated,
            expires_at=(excerpt.taken_at_ms + LOG_LIFETIME_MS) // 1000,
        )
        taken: Any = LogItem.taken_at_ms
        _save(item, taken.does_not_exist() | (taken < excerpt.taken_at_ms))

    def record_charge(
        self, tx: Transaction, rental_id: str, *, seconds: int, micros: int, settled_segment: int | None
    ) -> None:
        actions: list[Any] = [
            RentalItem.billed_seconds.add(seconds),
            RentalItem.charge_micros.add(micros),
        ]
        if settled_segment is not None:
            actions.append(RentalItem.settled_segment.set(settled_segment))
        dynamo(tx).update(
            RentalItem,
            (keys.rental(rental_id), keys.RENTAL),
            actions,
            RentalItem.pk.exists(),
            unexpected("The rental"),
        )


def choose_due_shard(rental_id: str) -> str:
    """Return the index key of a rental that is due, by a digest of its id."""
    return f"DUE#{hashlib.sha256(rental_id.encode()).digest()[0] % DUE_SHARDS}"


def choose_kept_shard(rental_id: str) -> str:
    """Return the index key of a rental whose volume is charged, by a digest of its id."""
    return f"KEPT#{hashlib.sha256(rental_id.encode()).digest()[1] % KEPT_SHARDS}"


def _save(item: Any, condition: Any) -> bool:
    try:
        item.save(condition)
    except PutError as error:
        if not is_condition_failure(error):
            raise
        return False
    return True


def _write_life(rental: Rental) -> dict[str, Any]:
    """Return what changes in a rental's life, by attribute; ``None``: the attribute is absent."""
    due_at_ms = find_due(rental)
    idle = rental.policies.idle
    return {
        "label": rental.label,
        "state": rental.state,
        "desired_state": rental.desired_state,
        "health": rental.health,
        # ``settled`` is read from the last settled stay.
        "billing_state": "closed" if rental.billing_state == "settled" else rental.billing_state,
        "reason": rental.reason,
        "placement": None if rental.placement is None else _write_placement(rental.placement),
        "past": [_write_placement(each) for each in rental.past] or None,
        "price_micros_per_gpu_hour": rental.price_micros_per_gpu_hour,
        "max_price_micros_per_gpu_hour": rental.max_price_micros_per_gpu_hour,
        "waiting": None if rental.waiting is None else asdict(rental.waiting),
        "priority": rental.priority,
        "deadline_at_ms": rental.deadline_at_ms,
        "recovery": rental.recovery,
        "locked": rental.locked,
        "spread_group": rental.spread_group,
        "volume_host_id": rental.volume_host_id,
        "volume_lost_at_ms": rental.volume_lost_at_ms,
        "volume_price_micros_per_gib_hour": rental.volume_price_micros_per_gib_hour or None,
        "kept": [asdict(each) for each in rental.kept] or None,
        "kept_shard": choose_kept_shard(rental.rental_id) if rental.kept else None,
        "data_hold": None if rental.data_hold is None else asdict(rental.data_hold),
        "policies": {
            "max_duration_seconds": rental.policies.max_duration_seconds,
            "idle": None if idle is None else asdict(idle),
            "start_at_ms": rental.policies.start_at_ms,
            "stop_at_ms": rental.policies.stop_at_ms,
        },
        "start_plan": None if rental.start_plan is None else asdict(rental.start_plan),
        "planned_end": None if rental.planned_end is None else asdict(rental.planned_end),
        "ends_at_ms": rental.ends_at_ms,
        "reserved_until_ms": rental.reserved_until_ms,
        "running_at_ms": rental.running_at_ms,
        "stop_requested_at_ms": rental.stop_requested_at_ms,
        "terminated_at_ms": rental.terminated_at_ms,
        "endpoints": [asdict(each) for each in rental.endpoints] or None,
        "due_at_ms": due_at_ms,
        "due_shard": None if due_at_ms is None else choose_due_shard(rental.rental_id),
    }


def _write_placement(placement: Placement) -> list[Any]:
    leases = [[lease.gpu_uuid, lease.epoch] for lease in placement.leases]
    return [placement.segment, placement.host_id, placement.region, leases, placement.lost]


def _read_placement(stored: list[Any]) -> Placement:
    segment, host_id, region, leases, lost = stored
    return Placement(segment, host_id, region, tuple(Lease(uuid, epoch) for uuid, epoch in leases), lost)


def _read_waiting(stored: Mapping[str, Any]) -> Waiting:
    return Waiting(
        tuple(stored["rental_ids"]),
        tuple(stored["pools"]),
        stored["ticket_key"],
        stored["since_ms"],
        stored["why"],
    )


def _read_policies(stored: Mapping[str, Any]) -> Policies:
    idle = stored["idle"]
    return Policies(
        stored["max_duration_seconds"],
        None if idle is None else IdlePolicy(**idle),
        stored["start_at_ms"],
        stored["stop_at_ms"],
    )


def read_start_plan(stored: Mapping[str, Any]) -> StartPlan:
    """Return what `dataclasses.asdict` and JSON made of a plan."""
    asked, choice, used = stored["flexibility"], stored["choice"], stored["choice"]["forecast"]
    return StartPlan(
        Flexibility(**{**asked, "regions": tuple(asked["regions"])}),
        StartChoice(
            choice["start_at_ms"],
            tuple(choice["regions"]),
            choice["why"],
            None if used is None else UsedForecast(**used),
        ),
        stored["planned_at_ms"],
        tuple(Replan(**each) for each in stored["replans"]),
        stored["widened"],
    )


def _read_workload(stored: Mapping[str, Any]) -> Workload:
    volume = stored["volume"]
    return Workload(
        command=tuple(stored["command"]),
        env=stored["env"],
        image=stored["image"],
        ports=tuple(Port(**port) for port in stored["ports"]),
        ssh_public_keys=tuple(stored["ssh_public_keys"]),
        volume=None if volume is None else Volume(**volume),
    )


def _read(item: RentalItem) -> Rental:
    rental = Rental(
        rental_id=item.rental_id,
        account_id=item.account_id,
        gpu_type=item.gpu_type,
        gpu_count=item.gpu_count,
        wanted_region=item.wanted_region,
        currency=item.currency,
        created_at_ms=item.created_at_ms,
        billing_class=cast("BillingClass", item.billing_class),
        label=item.label,
        state=cast("State", item.state),
        desired_state=cast("DesiredState", item.desired_state),
        health=cast("Health", item.health),
        billing_state=cast("BillingState", item.billing_state),
        reason=cast("Reason | None", item.reason),
        placement=None if item.placement is None else _read_placement(item.placement),
        past=tuple(_read_placement(each) for each in item.past or []),
        price_micros_per_gpu_hour=item.price_micros_per_gpu_hour,
        max_price_micros_per_gpu_hour=item.max_price_micros_per_gpu_hour,
        waiting=None if item.waiting is None else _read_waiting(item.waiting),
        priority=item.priority,
        deadline_at_ms=item.deadline_at_ms,
        recovery=cast("Recovery", item.recovery),
        locked=item.locked,
        spread_group=item.spread_group,
        cluster_id=item.cluster_id,
        reservation_id=item.reservation_id,
        has_volume=item.has_volume,
        volume_host_id=item.volume_host_id,
        volume_lost_at_ms=item.volume_lost_at_ms,
        volume_mib=item.volume_mib or 0,
        volume_price_micros_per_gib_hour=item.volume_price_micros_per_gib_hour or 0,
        kept=tuple(Keeping(**each) for each in item.kept or []),
        data_hold=None if item.data_hold is None else DataHold(**item.data_hold),
        policies=_read_policies(item.policies),
        start_plan=None if item.start_plan is None else read_start_plan(item.start_plan),
        planned_end=None if item.planned_end is None else PlannedEnd(**item.planned_end),
        ends_at_ms=item.ends_at_ms,
        reserved_until_ms=item.reserved_until_ms,
        running_at_ms=item.running_at_ms,
        stop_requested_at_ms=item.stop_requested_at_ms,
        terminated_at_ms=item.terminated_at_ms,
        billed_seconds=item.billed_seconds,
        charge_micros=item.charge_micros,
        endpoints=tuple(Endpoint(**each) for each in item.endpoints or []),
        interruption=None if item.interruption is None else Interruption(**item.interruption),
        warnings=tuple(GpuWarning(**warning) for warning in item.warnings or []),
        messages_version=item.messages_version or 0,
        version=item.version,
    )
    return mark_settled(rental, item.settled_segment)
