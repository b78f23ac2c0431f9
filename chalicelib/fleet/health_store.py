"""What is known of hosts' health, and what follows for what is offered, in DynamoDB.

Access: host, GPU, heartbeat by key. A heartbeat that says nothing new is one write.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import DomainError
from chalicelib.core.leases import Lease
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import Host, HostGpu, LeaseState, Liveness
from chalicelib.fleet.service import CapacityTaken, StaleEpoch
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import GpuItem, HeartbeatItem, HostItem
from chalicelib.storage.transaction import dynamo, unexpected


def taken(_old: Any) -> DomainError:
    return CapacityTaken("The GPUs were taken a moment ago.")


def stale(_old: Any) -> DomainError:
    return StaleEpoch("The lease has moved on.")


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
        )

    def record_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        last: Any = HeartbeatItem.last_seen_at_ms
        return self._write_liveness(
            host_id, liveness, last.does_not_exist() | (last < liveness.last_seen_at_ms)
        )

    def extend_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        same: Condition = HeartbeatItem.announced == liveness.announced
        return self._write_liveness(
            host_id, liveness, (HeartbeatItem.last_seen_at_ms < liveness.last_seen_at_ms) & same
        )

    def unsettle_liveness(self, tx: Transaction, host_id: str, sent_at_ms: int) -> None:
        dynamo(tx).update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [HeartbeatItem.announced.set("")],
            HeartbeatItem.last_seen_at_ms < sent_at_ms,
            unexpected("The heartbeat"),
        )

    def _write_liveness(self, host_id: str, liveness: Liveness, condition: Condition) -> int | None:
        actions: list[Any] = [
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
            if error.cause_response_code == "ConditionalCheckFailedException":
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
            [path.remove(), HostItem.free_gpus.set(HostItem.free_gpus - 1)],
            taken,
        )

    def offer_again(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        path: Any = HostItem.free_leases[lease.gpu_uuid]
        self._move_offer(
            tx,
            host_id,
            lease,
            ("withheld", "free"),
            [path.set(lease.epoch), HostItem.free_gpus.set(HostItem.free_gpus + 1)],
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
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise

    def replace_health(
        self, tx: Transaction, old: Host, new: Host, gpus: Sequence[tuple[HostGpu, HostGpu]]
    ) -> None:
        actions: list[Any] = [
            HostItem.state.set(new.state),
            HostItem.pool.set(name_index_key(new)),
            HostItem.draining.set(new.draining),
            HostItem.health_version.set(old.health_version + 1),
            HostItem.notice.remove() if new.notice is None else HostItem.notice.set(asdict(new.notice)),
        ]
        freed = sum((after.lease_state == "free") - (before.lease_state == "free") for before, after in gpus)
        if freed:
            actions.append(HostItem.free_gpus.set(HostItem.free_gpus + freed))
        for before, after in gpus:
            path: Any = HostItem.free_leases[after.gpu.gpu_uuid]
            if before.lease_state != after.lease_state:
                actions.append(path.set(after.epoch) if after.lease_state == "free" else path.remove())
            self._replace_fault(tx, new.host_id, before, after)
        key = (keys.host(new.host_id), keys.HOST)
        dynamo(tx).update(HostItem, key, actions, is_same_health(old), unexpected("The host"))

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
