"""What is known of hosts' health, and what follows for what is offered, in DynamoDB.

Access: host, GPU, heartbeat (a table of its own) by key. A heartbeat that says nothing new is one write.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import DomainError
from chalicelib.core.leases import Lease
from chalicelib.core.ports import Transaction
from chalicelib.fleet.health import HostNotice
from chalicelib.fleet.incident import derive_incidents
from chalicelib.fleet.model import Cordon, Host, HostGpu, LeaseState, Liveness, Loss
from chalicelib.fleet.placement import RANK_STEP
from chalicelib.fleet.service import CapacityTaken, StaleEpoch
from chalicelib.fleet.watch_store import move_totals, put_incident
from chalicelib.fleet.windows import PlannedMaintenance
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.fleet import GpuItem, HeartbeatItem, HostItem
from chalicelib.storage.transaction import dynamo, unexpected


def taken(_old: Any) -> DomainError:
    return CapacityTaken("The GPUs were taken a moment ago.")


def stale(_old: Any) -> DomainError:
    return StaleEpoch("The lease has moved on.")


def _is_watched_as(before: Liveness | None) -> Condition:
    watched: Any = HeartbeatItem.watch_key
    known = before is not None and before.watch_key
    found: Condition = watched == before.watch_key if before and known else watched.does_not_exist()
    return found


def _is_settled_as(before: Liveness | None) -> Condition:
    said: Any = HeartbeatItem.announced
    announced = "" if before is None else before.announced
    found: Condition = said == announced
    return found if announced else found | said.does_not_exist()


def _list_health_actions(old: Host, new: Host) -> list[Any]:
    facts = (
        (HostItem.notice, new.notice),
        (HostItem.lost, new.lost),
        (HostItem.cordon, new.cordon),
        (HostItem.maintenance, new.maintenance),
    )
    offered: Any = HostItem.pool
    return [
        HostItem.state.set(new.state),
        offered.remove() if new.state == "retired" else offered.set(name_index_key(new)),
        HostItem.draining.set(new.draining),
        HostItem.health_version.set(old.health_version + 1),
        HostItem.faulty_gpus.set(new.faulty_gpus),
        HostItem.downtime.set(new.downtime_ms),
        HostItem.hardware_incidents.set(list(new.hardware_incidents_ms)),
        HostItem.past_maintenance.set([list(span) for span in new.past_maintenance_ms]),
        *(path.remove() if fact is None else path.set(asdict(fact)) for path, fact in facts),
    ]


def read_health(item: HostItem) -> dict[str, Any]:
    """Return the fields of `Host` that `replace_health` writes."""
    return {
        "notice": None if item.notice is None else HostNotice(**item.notice),
        "draining": bool(item.draining),
        "health_version": item.health_version or 0,
        "lost": None if item.lost is None else Loss(**item.lost),
        "cordon": None if item.cordon is None else Cordon(**item.cordon),
        "maintenance": None if item.maintenance is None else PlannedMaintenance(**item.maintenance),
        "faulty_gpus": item.faulty_gpus or 0,
        "downtime_ms": dict(item.downtime or {}),
        "hardware_incidents_ms": tuple(item.hardware_incidents or ()),
        "past_maintenance_ms": tuple((start, end) for start, end in item.past_maintenance or ()),
    }


def change_free(gpus: int) -> list[Any]:
    """The actions that add to a host's free GPUs: the number and its rank in the index, never one alone."""
    return [
        HostItem.free_gpus.set(HostItem.free_gpus + gpus),
        HostItem.free_rank.set(HostItem.free_rank + gpus * RANK_STEP),
    ]


def name_index_key(host: Host) -> str:
    """The key under which ``by_pool`` lists a host: what it may be offered for."""
    if host.state != "active":
        return keys.closed_pool(host.gpu_type, host.region)
    offered = keys.reservable_pool if host.reservable else keys.pool
    return offered(host.gpu_type, host.region)


def is_same_health(host: Host) -> Condition:
    # A host that never had a fault or a notice has no version yet.
    if host.health_version:
        return HostItem.health_version == host.health_version
    return HostItem.health_version.does_not_exist()


class DynamoHealthStore:
    def get_liveness(self, host_id: str) -> Liveness | None:
        try:
            item = HeartbeatItem.get(keys.host(host_id), keys.HEARTBEAT, consistent_read=True)
        except HeartbeatItem.DoesNotExist:
            return None
        return Liveness(
            item.last_seen_at_ms,
            item.boot_id,
            item.agent_version,
            item.gpus_ok,
            item.spool_records,
            item.records_lost,
            dict(item.conditions or {}),
            item.announced or "",
            item.clock_offset_ms or 0,
            item.watch_key or "",
            item.suspect_since_ms,
        )

    def record_liveness(self, host_id: str, liveness: Liveness, before: Liveness | None = None) -> int | None:
        last: Any = HeartbeatItem.last_seen_at_ms
        newest: Condition = last.does_not_exist() | (last < liveness.last_seen_at_ms)
        as_read = _is_watched_as(before) & _is_settled_as(before)
        watched = HeartbeatItem.watch_key
        watch = watched.set(liveness.watch_key) if liveness.watch_key else watched.remove()
        return self._write_liveness(host_id, liveness, newest & as_read, [watch])

    def extend_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        same: Condition = HeartbeatItem.announced == liveness.announced
        return self._write_liveness(
            host_id, liveness, (HeartbeatItem.last_seen_at_ms < liveness.last_seen_at_ms) & same, []
        )

    def end_silence(
        self, tx: Transaction, host_id: str, before: Liveness, sent_at_ms: int, watch_key: str
    ) -> None:
        watched = HeartbeatItem.watch_key
        dynamo(tx).update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [
                HeartbeatItem.last_seen_at_ms.set(sent_at_ms),
                HeartbeatItem.announced.set(""),
                HeartbeatItem.suspect_since_ms.remove(),
                watched.set(watch_key) if watch_key else watched.remove(),
            ],
            (HeartbeatItem.last_seen_at_ms == before.last_seen_at_ms) & _is_watched_as(before),
            unexpected("The heartbeat"),
        )

    def unsettle_liveness(self, tx: Transaction, host_id: str, sent_at_ms: int) -> None:
        dynamo(tx).update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [HeartbeatItem.announced.set("")],
            HeartbeatItem.last_seen_at_ms < sent_at_ms,
            unexpected("The heartbeat"),
        )

    def _write_liveness(
        self, host_id: str, liveness: Liveness, condition: Condition, further: list[Any]
    ) -> int | None:
        actions: list[Any] = [
            *further,
            HeartbeatItem.last_seen_at_ms.set(liveness.last_seen_at_ms),
            HeartbeatItem.boot_id.set(liveness.boot_id),
            HeartbeatItem.agent_version.set(liveness.agent_version),
            HeartbeatItem.gpus_ok.set(liveness.gpus_ok),
            HeartbeatItem.spool_records.set(liveness.spool_records),
            HeartbeatItem.records_lost.set(liveness.records_lost),
            HeartbeatItem.conditions.set(liveness.conditions),
            HeartbeatItem.announced.set(liveness.announced),
            HeartbeatItem.clock_offset_ms.set(liveness.clock_offset_ms),
        ]
        item = HeartbeatItem(keys.host(host_id), keys.HEARTBEAT)
        try:
            item.update(actions, condition)
        except UpdateError as error:
            if is_condition_failure(error):
                return None
            raise
        # The update has read the item back.
        return item.withheld_gpus or 0

    def withhold(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        path: Any = HostItem.free_leases[lease.gpu_uuid]
        self._move_offer(
            tx,
            host_id,
            lease,
            ("free", "withheld"),
            [path.remove(), *change_free(-1)],
            taken,
        )

    def offer_again(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        path: Any = HostItem.free_leases[lease.gpu_uuid]
        self._move_offer(
            tx,
            host_id,
            lease,
            ("withheld", "free"),
            [path.set(lease.epoch), *change_free(1)],
            stale,
        )

    def _move_offer(
        self,
        tx: Transaction,
        host_id: str,
        lease: Lease,
        states: tuple[LeaseState, LeaseState],
        of_host: list[Any],
        refused: Callable[[Any], DomainError],
    ) -> None:
        before, after = states
        writes, step = dynamo(tx), 1 if after == "withheld" else -1
        writes.update(
            GpuItem,
            (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
            [GpuItem.lease_state.set(after)],
            (GpuItem.lease_state == before) & (GpuItem.epoch == lease.epoch),
            refused,
        )
        writes.update(HostItem, (keys.host(host_id), keys.HOST), of_host, HostItem.pk.exists(), refused)
        writes.update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [HeartbeatItem.withheld_gpus.add(step)],
            HeartbeatItem.pk.exists(),
            refused,
        )

    def store_capabilities(
        self, host_id: str, gpu_uuid: str, capabilities: dict[str, Any], at_ms: int
    ) -> None:
        newer = GpuItem.capabilities_at_ms.does_not_exist() | (GpuItem.capabilities_at_ms < at_ms)
        actions: list[Any] = [GpuItem.capabilities.set(capabilities), GpuItem.capabilities_at_ms.set(at_ms)]
        try:
            GpuItem(keys.host(host_id), keys.gpu(gpu_uuid)).update(actions, GpuItem.pk.exists() & newer)
        except UpdateError as error:
            if not is_condition_failure(error):
                raise

    def replace_health(
        self, tx: Transaction, old: Host, new: Host, gpus: Sequence[tuple[HostGpu, HostGpu]]
    ) -> None:
        actions = _list_health_actions(old, new)
        freed = sum((after.lease_state == "free") - (before.lease_state == "free") for before, after in gpus)
        if freed:
            actions += change_free(freed)
        for before, after in gpus:
            path: Any = HostItem.free_leases[after.gpu.gpu_uuid]
            if before.lease_state != after.lease_state:
                actions.append(path.set(after.epoch) if after.lease_state == "free" else path.remove())
            self._replace_fault(tx, new.host_id, before, after)
        key = (keys.host(new.host_id), keys.HOST)
        dynamo(tx).update(HostItem, key, actions, is_same_health(old), unexpected("The host"))
        move_totals(tx, old, new)
        for incident in derive_incidents(old, new, gpus):
            put_incident(tx, incident)

    def retire_unleased(self, tx: Transaction, host: Host, gpus: Sequence[HostGpu]) -> None:
        # Epochs rise with each change of holder: the same free map at commit means that nobody had one.
        free = [gpu for gpu in gpus if gpu.lease_state == "free"]
        version: Any = HostItem.health_version
        condition: Condition = (
            version == host.health_version if host.health_version else version.does_not_exist()
        )
        condition &= (HostItem.free_gpus == len(free)) & (HostItem.state == host.state)
        for gpu in free:
            path: Any = HostItem.free_leases[gpu.gpu.gpu_uuid]
            condition &= path == gpu.epoch
        retired = replace(host, state="retired")
        actions = _list_health_actions(host, retired)
        key = (keys.host(host.host_id), keys.HOST)
        dynamo(tx).update(HostItem, key, actions, condition, unexpected("The host"))
        move_totals(tx, host, retired)

    def force_free(self, tx: Transaction, host_id: str, gpus: Sequence[HostGpu]) -> None:
        freed = [gpu for gpu in gpus if not gpu.faulty]
        for gpu in gpus:
            held: Condition = (GpuItem.lease_state == "wiping") & (GpuItem.epoch == gpu.epoch)
            held &= GpuItem.faulty.exists() if gpu.faulty else GpuItem.faulty.does_not_exist()
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(gpu.gpu.gpu_uuid)),
                [
                    GpuItem.lease_state.set("unhealthy" if gpu.faulty else "free"),
                    GpuItem.epoch.set(gpu.epoch + 1),
                    GpuItem.rental_id.remove(),
                ],
                held,
                stale,
            )
        actions = change_free(len(freed))
        for gpu in freed:
            path: Any = HostItem.free_leases[gpu.gpu.gpu_uuid]
            actions.append(path.set(gpu.epoch + 1))
        key = (keys.host(host_id), keys.HOST)
        dynamo(tx).update(HostItem, key, actions, HostItem.state != "retired", stale)

    def _replace_fault(self, tx: Transaction, host_id: str, before: HostGpu, after: HostGpu) -> None:
        assert after.fault is not None, "a fault is cleared, never forgotten"
        dynamo(tx).update(
            GpuItem,
            (keys.host(host_id), keys.gpu(after.gpu.gpu_uuid)),
            [
                GpuItem.lease_state.set(after.lease_state),
                GpuItem.fault.set(asdict(after.fault)),
                GpuItem.faulty.set(1) if after.faulty else GpuItem.faulty.remove(),
            ],
            (GpuItem.lease_state == before.lease_state) & (GpuItem.epoch == before.epoch),
            unexpected("The GPU"),
        )
