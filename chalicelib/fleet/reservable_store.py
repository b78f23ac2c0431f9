"""Which hosts are kept for reservations, in DynamoDB. Access: hosts of the sub-pool by ``by_pool``."""

from dataclasses import replace
from typing import Any

from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.fleet.health_store import is_same_health, name_index_key, taken
from chalicelib.fleet.model import Host, ReservableHost
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import HostItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoReservableStore:
    def list_reservable(self, gpu_type: str, region: str, limit: int) -> list[ReservableHost]:
        found = HostItem.by_pool.query(keys.reservable_pool(gpu_type, region), limit=limit, page_size=limit)
        return [
            ReservableHost(item.host_id, item.gpu_count, item.fabric_id, item.faulty_gpus or 0)
            for item in found
        ]

    def list_impaired(self, gpu_type: str, region: str) -> list[str]:
        faulty: Condition = HostItem.faulty_gpus > 0
        wanted = (
            (keys.reservable_pool(gpu_type, region), faulty),
            (keys.closed_pool(gpu_type, region), HostItem.reservable.exists()),
        )
        return [
            item.host_id
            for pool, condition in wanted
            for item in HostItem.by_pool.query(
                pool, filter_condition=condition, attributes_to_get=["host_id"]
            )
        ]

    def require_reservable(self, tx: Transaction, host: ReservableHost) -> None:
        reservable: Condition = (HostItem.state == "active") & (HostItem.gpu_count == host.gpu_count)
        reservable &= HostItem.reservable.exists()
        sound: Condition = HostItem.faulty_gpus == host.faulty_gpus
        reservable &= sound if host.faulty_gpus else sound | HostItem.faulty_gpus.does_not_exist()
        dynamo(tx).check(HostItem, keys.host(host.host_id), keys.HOST, reservable, taken)

    def set_reservable(self, tx: Transaction, host: Host, *, reservable: bool) -> None:
        def refuse(old: Any) -> DomainError:
            if reservable and old is not None and old.free_gpus != old.gpu_count:
                return Conflict("Something runs on the host, or a GPU is not fit.", code="host_in_use")
            return Unavailable("The host changed at the same time; try again.")

        moved = replace(host, reservable=reservable)
        actions: list[Any] = [
            HostItem.reservable.set(True) if reservable else HostItem.reservable.remove(),
            HostItem.pool.set(name_index_key(moved)),
            HostItem.health_version.set(host.health_version + 1),
        ]
        same = is_same_health(host)
        if reservable:
            same &= HostItem.free_gpus == HostItem.gpu_count
        dynamo(tx).update(HostItem, (keys.host(host.host_id), keys.HOST), actions, same, refuse)

    def keep_free(self, tx: Transaction, host_id: str, gpus: int, until_ms: int) -> None:
        actions: list[Any] = [HostItem.kept_gpus.set(gpus), HostItem.kept_until_ms.set(until_ms)]
        key = (keys.host(host_id), keys.HOST)
        dynamo(tx).update(HostItem, key, actions, HostItem.pk.exists(), unexpected("The host"))
