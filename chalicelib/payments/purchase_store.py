"""Settings and purchases of removals in DynamoDB: an account has them in one partition."""

import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import cast

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.payments.ports import OpenKind
from chalicelib.payments.purchases import Delivery, Purchase, PurchaseState, RemovalSettings
from chalicelib.storage import payment_keys as keys
from chalicelib.storage.tables.payments import PurchaseItem, RemovalSettingsItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Partitions of each list in the index.
SHARDS = 4


class DynamoPurchaseStore:
    def get_settings(self, account_id: str) -> RemovalSettings | None:
        try:
            item = RemovalSettingsItem.get(keys.removals(account_id), keys.SETTINGS, consistent_read=True)
        except RemovalSettingsItem.DoesNotExist:
            return None
        return RemovalSettings(
            account_id,
            bool(item.enabled),
            item.max_micros_per_month,
            item.beneficiary_name,
            item.next_month or "",
            item.version,
        )

    def put_settings(self, tx: Transaction, old: RemovalSettings | None, new: RemovalSettings) -> None:
        item = RemovalSettingsItem(
            keys.removals(new.account_id),
            keys.SETTINGS,
            order_shard=_choose_shard("buyers", new.account_id) if new.enabled else None,
            enabled=int(new.enabled),
            max_micros_per_month=new.max_micros_per_month,
            beneficiary_name=new.beneficiary_name,
            next_month=new.next_month or None,
            version=1 if old is None else old.version + 1,
        )
        absent, same = RemovalSettingsItem.pk.does_not_exist(), RemovalSettingsItem.version
        condition = absent if old is None else same == old.version
        dynamo(tx).put(item, condition, unexpected("The settings"))

    def list_enabled(self) -> Iterator[str]:
        for shard in _list_shards("buyers"):
            for item in RemovalSettingsItem.by_order.query(shard):
                yield keys.read_removals(item.pk)

    def get_purchase(self, account_id: str, month: str) -> Purchase | None:
        try:
            item = PurchaseItem.get(keys.removals(account_id), keys.purchase(month), consistent_read=True)
        except PurchaseItem.DoesNotExist:
            return None
        return _read(item)

    def list_purchases(self, account_id: str, limit: int, start: str | None) -> Page[Purchase]:
        # Nothing else of an account sorts before its purchases.
        condition = (
            PurchaseItem.sk.startswith(keys.PURCHASE_PREFIX)
            if start is None
            else PurchaseItem.sk < keys.purchase(start)
        )
        result = PurchaseItem.query(
            keys.removals(account_id), condition, scan_index_forward=False, limit=limit, consistent_read=True
        )
        items = [_read(item) for item in result]
        more = result.last_evaluated_key is not None and bool(items)
        return Page(items, items[-1].month if more else None)

    def list_open(self, kind: OpenKind) -> Iterator[tuple[str, str]]:
        for shard in _list_shards(kind):
            for item in PurchaseItem.by_order.query(shard):
                yield keys.read_removals(item.pk), keys.read_purchase(item.sk)

    def add_purchase(self, tx: Transaction, purchase: Purchase) -> None:
        dynamo(tx).put(_write(purchase, 0), PurchaseItem.pk.does_not_exist(), unexpected("The purchase"))

    def replace_purchase(self, tx: Transaction, old: Purchase, new: Purchase) -> None:
        item = _write(new, old.version + 1)
        dynamo(tx).put(item, PurchaseItem.version == old.version, unexpected("The purchase"))


def _choose_shard(kind: str, account_id: str) -> str:
    return f"{kind}#{zlib.crc32(account_id.encode()) % SHARDS}"


def _list_shards(kind: str) -> Iterator[str]:
    return (f"{kind}#{number}" for number in range(SHARDS))


def _write(purchase: Purchase, version: int) -> PurchaseItem:
    facts = asdict(purchase) | {"version": version, "limited": int(purchase.limited)}
    account_id, month = facts.pop("account_id"), facts.pop("month")
    kind: OpenKind = "begun" if purchase.order_id is None else "ordered"
    return PurchaseItem(
        keys.removals(account_id),
        keys.purchase(month),
        order_shard=None if purchase.is_final else _choose_shard(kind, account_id),
        **facts,
    )


def _read(item: PurchaseItem) -> Purchase:
    return Purchase(
        account_id=keys.read_removals(item.pk),
        month=keys.read_purchase(item.sk),
        currency=item.currency,
        residual_mg=item.residual_mg,
        planned_at_ms=item.planned_at_ms,
        state=cast("PurchaseState", item.state),
        reason=item.reason,
        quantity_mg=item.quantity_mg,
        price_micros=item.price_micros,
        limited=bool(item.limited),
        product_id=item.product_id,
        product_name=item.product_name,
        beneficiary_name=item.beneficiary_name,
        charged_at_ms=item.charged_at_ms,
        attempt=item.attempt,
        order_id=item.order_id,
        delivery_year=item.delivery_year,
        certificate_url=item.certificate_url,
        deliveries=tuple(Delivery(**each) for each in item.deliveries),
        version=item.version,
    )
