"""How many GPUs an account may have in reservations that are not over, in DynamoDB."""

from typing import Any

from chalicelib.core.capacity import DEFAULT_MAX_GPUS, Quota
from chalicelib.core.errors import DomainError
from chalicelib.core.ports import Transaction
from chalicelib.reservations.ports import ReservedQuotaExceeded
from chalicelib.storage import keys
from chalicelib.storage.tables.reservations import ReservedQuotaItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoReservedQuotas:
    def get_quota(self, account_id: str) -> Quota:
        try:
            item = ReservedQuotaItem.get(keys.account(account_id), keys.QUOTA, consistent_read=True)
        except ReservedQuotaItem.DoesNotExist:
            return Quota(DEFAULT_MAX_GPUS, 0)
        return Quota(item.max_gpus, item.max_gpus - item.available_gpus)

    def put_quota(self, tx: Transaction, account_id: str, old: Quota, max_gpus: int) -> None:
        available = max_gpus - old.used_gpus
        item = ReservedQuotaItem(
            keys.account(account_id), keys.QUOTA, max_gpus=max_gpus, available_gpus=available
        )
        same = (ReservedQuotaItem.max_gpus == old.max_gpus) & (
            ReservedQuotaItem.available_gpus == old.max_gpus - old.used_gpus
        )
        dynamo(tx).put(item, ReservedQuotaItem.pk.does_not_exist() | same, unexpected("The quota"))

    def take_quota(self, tx: Transaction, account_id: str, gpus: int) -> None:
        def refuse(old: Any) -> DomainError:
            maximum = DEFAULT_MAX_GPUS if old is None else old.max_gpus
            left = DEFAULT_MAX_GPUS if old is None else max(0, old.available_gpus)
            return ReservedQuotaExceeded(
                f"The account may reserve {maximum} GPUs at once; {left} are left. Cancel a reservation or "
                "ask for a higher quota.",
                extra={"max": maximum, "available": left, "needed": gpus},
            )

        # An account without a record has the default: the first booking writes it.
        available: Any = ReservedQuotaItem.available_gpus
        condition = available >= gpus
        if gpus <= DEFAULT_MAX_GPUS:
            condition |= available.does_not_exist()
        actions: list[Any] = [
            available.set((available | DEFAULT_MAX_GPUS) - gpus),
            ReservedQuotaItem.max_gpus.set(ReservedQuotaItem.max_gpus | DEFAULT_MAX_GPUS),
        ]
        key = (keys.account(account_id), keys.QUOTA)
        dynamo(tx).update(ReservedQuotaItem, key, actions, condition, refuse)

    def give_back_quota(self, tx: Transaction, account_id: str, gpus: int) -> None:
        available: Any = ReservedQuotaItem.available_gpus
        key = (keys.account(account_id), keys.QUOTA)
        actions: list[Any] = [available.set(available + gpus)]
        dynamo(tx).update(
            ReservedQuotaItem, key, actions, ReservedQuotaItem.pk.exists(), unexpected("The quota")
        )
