"""Hosts, leases, liveness and the command outbox in DynamoDB.

Access: host, GPU, heartbeat by key; hosts of a pool by ``by_pool`` (pool, free_gpus). Items that parallel
starts share (the host) are changed by arithmetic under conditions; a lease by its epoch.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import Conflict, DomainError
from chalicelib.core.leases import Lease
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import (
    Candidate,
    Enrolment,
    Gpu,
    Host,
    HostCommand,
    HostGpu,
    HostState,
    LeaseState,
    Liveness,
)
from chalicelib.fleet.service import CapacityTaken, StaleEpoch
from chalicelib.storage import keys
from chalicelib.storage.tables import CommandItem, EnrolmentItem, GpuItem, HeartbeatItem, HostItem
from chalicelib.storage.transaction import dynamo, unexpected

#: The outbox keeps a delivered command this long, for people who look into an incident.
COMMAND_RETENTION_SECONDS = 14 * 86_400
_CAPACITY_HOSTS = 100


def _taken(_old: Any) -> DomainError:
    return CapacityTaken("The GPUs were taken a moment ago.")


def _stale(_old: Any) -> DomainError:
    return StaleEpoch("The lease has moved on.")


class DynamoFleetStore:
    def get_enrolment(self, enrolment_id: str) -> Enrolment | None:
        try:
            item = EnrolmentItem.get(keys.enrolment(enrolment_id), keys.ENROLMENT, consistent_read=True)
        except EnrolmentItem.DoesNotExist:
            return None
        return Enrolment(
            enrolment_id=enrolment_id,
            host_id=item.host_id,
            digest=item.digest,
            gpu_type=item.gpu_type,
            region=item.region,
            created_at_ms=item.created_at_ms,
            expires_at_ms=item.expires_at_ms,
            install_id=item.install_id,
        )

    def get_host(self, host_id: str) -> Host | None:
        try:
            return _read_host(HostItem.get(keys.host(host_id), keys.HOST, consistent_read=True))
        except HostItem.DoesNotExist:
            return None

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
            bool(item.draining),
        )

    def list_gpus(self, host_id: str) -> list[HostGpu]:
        rows = GpuItem.query(keys.host(host_id), GpuItem.sk.startswith(keys.GPU_PREFIX), consistent_read=True)
        return [
            HostGpu(
                Gpu(row.gpu_uuid, row.pci_bus_id, row.model, row.memory_mib, row.parent_uuid, row.slices),
                cast("LeaseState", row.lease_state),
                row.epoch,
                row.rental_id,
                row.capabilities,
            )
            for row in rows
        ]

    def list_hosts(self, gpu_type: str, region: str) -> list[Host]:
        pools = (keys.pool(gpu_type, region), keys.draining_pool(gpu_type, region))
        return [_read_host(item) for pool in pools for item in HostItem.by_pool.query(pool)]

    def find_candidates(self, gpu_type: str, region: str, gpu_count: int, limit: int) -> list[Candidate]:
        found = HostItem.by_pool.query(
            keys.pool(gpu_type, region), HostItem.free_gpus >= gpu_count, limit=limit, page_size=limit
        )
        return [Candidate(item.host_id, item.region, _read_free_leases(item)) for item in found]

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        found = HostItem.by_pool.query(
            keys.pool(gpu_type, region),
            HostItem.free_gpus >= 1,
            scan_index_forward=False,
            limit=_CAPACITY_HOSTS,
            attributes_to_get=["free_gpus"],
        )
        return [item.free_gpus for item in found]

    def add_enrolment(self, tx: Transaction, enrolment: Enrolment) -> None:
        item = EnrolmentItem(
            keys.enrolment(enrolment.enrolment_id),
            keys.ENROLMENT,
            digest=enrolment.digest,
            gpu_type=enrolment.gpu_type,
            region=enrolment.region,
            created_at_ms=enrolment.created_at_ms,
            expires_at_ms=enrolment.expires_at_ms,
            host_id=enrolment.host_id,
        )
        dynamo(tx).put(item, EnrolmentItem.pk.does_not_exist(), unexpected("The enrolment"))

    def use_enrolment(self, tx: Transaction, enrolment: Enrolment, install_id: str) -> None:
        def used(_old: Any) -> DomainError:
            return Conflict(
                "This token was used by another machine; create a new one.", code="enrolment_used"
            )

        dynamo(tx).update(
            EnrolmentItem,
            (keys.enrolment(enrolment.enrolment_id), keys.ENROLMENT),
            [EnrolmentItem.install_id.set(install_id)],
            EnrolmentItem.install_id.does_not_exist() | (EnrolmentItem.install_id == install_id),
            used,
        )

    def add_host(self, tx: Transaction, host: Host, gpus: Sequence[Gpu]) -> None:
        item = HostItem(
            keys.host(host.host_id),
            keys.HOST,
            host_id=host.host_id,
            gpu_type=host.gpu_type,
            region=host.region,
            state=host.state,
            gpu_count=host.gpu_count,
            free_gpus=host.free_gpus,
            free_leases={gpu.gpu_uuid: 0 for gpu in gpus},
            install_id=host.install_id,
            agent_version=host.agent_version,
            created_at_ms=host.created_at_ms,
            commands_queue_url=host.commands_queue_url,
            api_key_id=host.api_key_id,
            pool=keys.pool(host.gpu_type, host.region),
        )
        dynamo(tx).put(item, HostItem.pk.does_not_exist(), unexpected("The host"))
        for gpu in gpus:
            row = GpuItem(
                keys.host(host.host_id),
                keys.gpu(gpu.gpu_uuid),
                gpu_uuid=gpu.gpu_uuid,
                pci_bus_id=gpu.pci_bus_id,
                model=gpu.model,
                memory_mib=gpu.memory_mib,
                parent_uuid=gpu.parent_uuid,
                slices=gpu.slices,
                lease_state="free",
                epoch=0,
            )
            dynamo(tx).put(row, GpuItem.pk.does_not_exist(), unexpected("The GPU"))

    def replace_host_key(self, tx: Transaction, host: Host, key_id: str) -> None:
        dynamo(tx).update(
            HostItem,
            (keys.host(host.host_id), keys.HOST),
            [HostItem.api_key_id.set(key_id)],
            HostItem.api_key_id == host.api_key_id,
            unexpected("The host's key"),
        )

    def record_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        flag: Any = HeartbeatItem.draining
        same = flag.exists() if liveness.draining else flag.does_not_exist()
        item = HeartbeatItem(keys.host(host_id), keys.HEARTBEAT)
        try:
            item.update(_list_changes(liveness), _is_newer(liveness) & same)
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
            _taken,
        )

    def offer_again(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        path: Any = HostItem.free_leases[lease.gpu_uuid]
        self._move_offer(
            tx,
            host_id,
            lease,
            ("withheld", "free"),
            [path.set(lease.epoch), HostItem.free_gpus.set(HostItem.free_gpus + 1)],
            _stale,
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

    def change_draining(self, tx: Transaction, host: Host, liveness: Liveness) -> None:
        pool = keys.draining_pool if liveness.draining else keys.pool
        flag: Any = HeartbeatItem.draining
        actions = [*_list_changes(liveness), flag.set(True) if liveness.draining else flag.remove()]
        writes = dynamo(tx)
        writes.update(
            HeartbeatItem,
            (keys.host(host.host_id), keys.HEARTBEAT),
            actions,
            _is_newer(liveness),
            unexpected("The heartbeat"),
        )
        writes.update(
            HostItem,
            (keys.host(host.host_id), keys.HOST),
            [HostItem.pool.set(pool(host.gpu_type, host.region))],
            HostItem.state == "active",
            unexpected("The host"),
        )

    def take_leases(
        self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        free: Condition = (HostItem.state == "active") & (HostItem.free_gpus >= len(leases))
        actions: list[Any] = [HostItem.free_gpus.set(HostItem.free_gpus - len(leases))]
        for lease in leases:
            path: Any = HostItem.free_leases[lease.gpu_uuid]
            free &= path == lease.epoch
            actions.append(path.remove())
        writes = dynamo(tx)
        writes.update(HostItem, (keys.host(host_id), keys.HOST), actions, free, _taken)
        alive = (HeartbeatItem.last_seen_at_ms >= alive_since_ms) & HeartbeatItem.draining.does_not_exist()
        writes.check(HeartbeatItem, keys.host(host_id), keys.HEARTBEAT, alive, _taken)
        for lease in leases:
            writes.update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [
                    GpuItem.lease_state.set("leased"),
                    GpuItem.epoch.set(lease.epoch + 1),
                    GpuItem.rental_id.set(rental_id),
                ],
                (GpuItem.lease_state == "free") & (GpuItem.epoch == lease.epoch),
                _taken,
            )

    def begin_wipe(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        for lease in leases:
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [GpuItem.lease_state.set("wiping"), GpuItem.epoch.set(lease.epoch + 1)],
                _holds("leased", rental_id, lease),
                _stale,
            )

    def free_leases(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        actions: list[Any] = [HostItem.free_gpus.set(HostItem.free_gpus + len(leases))]
        for lease in leases:
            path: Any = HostItem.free_leases[lease.gpu_uuid]
            actions.append(path.set(lease.epoch))
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [GpuItem.lease_state.set("free"), GpuItem.rental_id.remove()],
                _holds("wiping", rental_id, lease),
                _stale,
            )
        dynamo(tx).update(HostItem, (keys.host(host_id), keys.HOST), actions, HostItem.pk.exists(), _stale)

    def add_command(self, tx: Transaction, command: HostCommand) -> None:
        item = CommandItem(
            keys.host(command.host_id),
            keys.command(command.command_id),
            command_id=command.command_id,
            host_id=command.host_id,
            command=json.dumps(asdict(command), separators=(",", ":")),
            expires_at=command.issued_at_ms // 1000 + COMMAND_RETENTION_SECONDS,
        )
        dynamo(tx).put(item, CommandItem.pk.does_not_exist(), unexpected("The command"))


def _list_changes(liveness: Liveness) -> list[Any]:
    return [
        HeartbeatItem.last_seen_at_ms.set(liveness.last_seen_at_ms),
        HeartbeatItem.boot_id.set(liveness.boot_id),
        HeartbeatItem.agent_version.set(liveness.agent_version),
        HeartbeatItem.gpus_ok.set(liveness.gpus_ok),
        HeartbeatItem.spool_records.set(liveness.spool_records),
        HeartbeatItem.records_lost.set(liveness.records_lost),
        HeartbeatItem.conditions.set(liveness.conditions),
    ]


def _is_newer(liveness: Liveness) -> Condition:
    last: Any = HeartbeatItem.last_seen_at_ms
    newer: Condition = last.does_not_exist() | (last < liveness.last_seen_at_ms)
    return newer


def _holds(state: LeaseState, rental_id: str, lease: Lease) -> Condition:
    held: Condition = (
        (GpuItem.lease_state == state) & (GpuItem.rental_id == rental_id) & (GpuItem.epoch == lease.epoch)
    )
    return held


def _read_free_leases(item: HostItem) -> tuple[Lease, ...]:
    free: Any = item.free_leases
    return tuple(Lease(gpu_uuid, int(epoch)) for gpu_uuid, epoch in free.as_dict().items())


def _read_host(item: HostItem) -> Host:
    return Host(
        host_id=item.host_id,
        gpu_type=item.gpu_type,
        region=item.region,
        state=cast("HostState", item.state),
        gpu_count=item.gpu_count,
        free_gpus=item.free_gpus,
        install_id=item.install_id,
        agent_version=item.agent_version,
        created_at_ms=item.created_at_ms,
        commands_queue_url=item.commands_queue_url,
        api_key_id=item.api_key_id,
    )
