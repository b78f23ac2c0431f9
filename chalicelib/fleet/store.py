"""Hosts, leases, liveness and the command outbox in DynamoDB.

Access: host, GPU, heartbeat by key; hosts of a pool by ``by_pool`` (pool, free_rank). Items that parallel
starts share (the host) are changed by arithmetic under conditions; a lease by its epoch.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.core.ports import Transaction
from chalicelib.fleet.candidate_store import DynamoCandidateStore
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.health_store import (
    DynamoHealthStore,
    change_free,
    name_index_key,
    read_health,
    stale,
    taken,
)
from chalicelib.fleet.model import (
    Enrolment,
    Gpu,
    Host,
    HostCommand,
    HostGpu,
    HostState,
    LeaseState,
)
from chalicelib.fleet.placement import compute_rank, pack_groups
from chalicelib.fleet.reservable_store import DynamoReservableStore
from chalicelib.fleet.watch_store import move_totals
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import (
    CommandItem,
    EnrolmentItem,
    FabricHostItem,
    GpuItem,
    HeartbeatItem,
    HostItem,
)
from chalicelib.storage.transaction import OnFailure, dynamo, unexpected

#: The outbox keeps a delivered command this long, for people who look into an incident.
COMMAND_RETENTION_SECONDS = 14 * 86_400


class DynamoFleetStore(DynamoHealthStore, DynamoCandidateStore, DynamoReservableStore):
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

    def list_gpus(self, host_id: str) -> list[HostGpu]:
        rows = GpuItem.query(keys.host(host_id), GpuItem.sk.startswith(keys.GPU_PREFIX), consistent_read=True)
        return [
            HostGpu(
                Gpu(
                    row.gpu_uuid,
                    row.pci_bus_id,
                    row.model,
                    row.memory_mib,
                    row.parent_uuid,
                    row.slices,
                    row.link_group,
                ),
                cast("LeaseState", row.lease_state),
                row.epoch,
                row.rental_id,
                row.capabilities,
                None if row.fault is None else GpuFault(**row.fault),
            )
            for row in rows
        ]

    def list_hosts(self, gpu_type: str, region: str) -> list[Host]:
        pools = (keys.pool, keys.reservable_pool, keys.closed_pool)
        return [_read_host(item) for pool in pools for item in HostItem.by_pool.query(pool(gpu_type, region))]

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
            free_rank=compute_rank(host.free_gpus, host.host_id),
            free_leases={gpu.gpu_uuid: 0 for gpu in gpus},
            install_id=host.install_id,
            agent_version=host.agent_version,
            created_at_ms=host.created_at_ms,
            commands_queue_url=host.commands_queue_url,
            api_key_id=host.api_key_id,
            pool=name_index_key(host),
            fabric_id=host.fabric_id,
            link_groups=pack_groups([(gpu.gpu_uuid, gpu.link_group or gpu.parent_uuid) for gpu in gpus])
            or None,
        )
        dynamo(tx).put(item, HostItem.pk.does_not_exist(), unexpected("The host"))
        if host.fabric_id is not None:
            joined = FabricHostItem(
                keys.fabric(host.fabric_id), keys.host(host.host_id), host_id=host.host_id
            )
            dynamo(tx).put(joined, FabricHostItem.pk.does_not_exist(), unexpected("The host"))
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
                link_group=gpu.link_group,
                lease_state="free",
                epoch=0,
            )
            dynamo(tx).put(row, GpuItem.pk.does_not_exist(), unexpected("The GPU"))
        move_totals(tx, None, host)

    def replace_host_key(self, tx: Transaction, host: Host, key_id: str) -> None:
        dynamo(tx).update(
            HostItem,
            (keys.host(host.host_id), keys.HOST),
            [HostItem.api_key_id.set(key_id)],
            HostItem.api_key_id == host.api_key_id,
            unexpected("The host's key"),
        )

    def take_leases(
        self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        free: Condition = (HostItem.state == "active") & (HostItem.free_gpus >= len(leases))
        actions = change_free(-len(leases))
        for lease in leases:
            path: Any = HostItem.free_leases[lease.gpu_uuid]
            free &= path == lease.epoch
            actions.append(path.remove())
        writes = dynamo(tx)
        writes.update(HostItem, (keys.host(host_id), keys.HOST), actions, free, taken)
        alive = HeartbeatItem.last_seen_at_ms >= alive_since_ms
        writes.check(HeartbeatItem, keys.host(host_id), keys.HEARTBEAT, alive, taken)
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
                taken,
            )

    def begin_wipe(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        for lease in leases:
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [GpuItem.lease_state.set("wiping"), GpuItem.epoch.set(lease.epoch + 1)],
                _holds("leased", rental_id, lease),
                stale,
            )

    def renew_leases(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        for lease in leases:
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [GpuItem.lease_state.set("leased"), GpuItem.epoch.set(lease.epoch + 1)],
                _holds("wiping", rental_id, lease) & GpuItem.faulty.does_not_exist(),
                stale,
            )

    def free_leases(
        self,
        tx: Transaction,
        host_id: str,
        rental_id: str,
        leases: Sequence[Lease],
        faulty: frozenset[str] = frozenset(),
    ) -> None:
        freed = [lease for lease in leases if lease.gpu_uuid not in faulty]
        for lease in leases:
            held = _holds("wiping", rental_id, lease)
            well = lease in freed
            held &= GpuItem.faulty.does_not_exist() if well else GpuItem.faulty.exists()
            dynamo(tx).update(
                GpuItem,
                (keys.host(host_id), keys.gpu(lease.gpu_uuid)),
                [GpuItem.lease_state.set("free" if well else "unhealthy"), GpuItem.rental_id.remove()],
                held,
                _explain(rental_id, lease),
            )
        if not freed:
            return
        actions = change_free(len(freed))
        for lease in freed:
            path: Any = HostItem.free_leases[lease.gpu_uuid]
            actions.append(path.set(lease.epoch))
        dynamo(tx).update(HostItem, (keys.host(host_id), keys.HOST), actions, HostItem.pk.exists(), stale)

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


def _holds(state: LeaseState, rental_id: str, lease: Lease) -> Condition:
    held: Condition = (
        (GpuItem.lease_state == state) & (GpuItem.rental_id == rental_id) & (GpuItem.epoch == lease.epoch)
    )
    return held


def _explain(rental_id: str, lease: Lease) -> OnFailure:
    def fail(old: Any) -> DomainError:
        if old is not None and (old.lease_state, old.rental_id, old.epoch) == (
            "wiping",
            rental_id,
            lease.epoch,
        ):
            return Unavailable("The GPU's health changed at the same time; try again.")
        return stale(old)

    return fail


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
        **read_health(item),
        reservable=bool(item.reservable),
        fabric_id=item.fabric_id,
    )
