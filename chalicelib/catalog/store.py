"""The catalogue in DynamoDB: one small partition, read whole by one query."""

from typing import Any

from chalicelib.catalog.model import Catalog, GpuType, Price
from chalicelib.core.errors import Conflict
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.catalog import CatalogItem
from chalicelib.storage.transaction import dynamo, unexpected


class PriceChanged(Conflict):
    code = "price_changed"


class DynamoCatalogStore:
    def read_catalog(self) -> Catalog:
        gpu_types: dict[str, GpuType] = {}
        prices: list[Price] = []
        for item in CatalogItem.query(keys.CATALOG, consistent_read=True):
            if item.sk.startswith(keys.PRICE_PREFIX):
                prices.append(Price(item.gpu_type, item.region, item.price_micros_per_gpu_hour, item.version))
            else:
                gpu_types[item.gpu_type] = GpuType(
                    item.gpu_type, item.architecture, item.memory_mib, item.power_limit_watts
                )
        return Catalog(gpu_types, tuple(prices))

    def put_gpu_type(self, tx: Transaction, gpu_type: GpuType) -> None:
        item = CatalogItem(
            keys.CATALOG,
            keys.gpu_type(gpu_type.name),
            gpu_type=gpu_type.name,
            architecture=gpu_type.architecture,
            memory_mib=gpu_type.memory_mib,
            power_limit_watts=gpu_type.power_limit_watts,
        )
        dynamo(tx).put(item, None, unexpected("The GPU type"))

    def put_price(self, tx: Transaction, price: Price) -> None:
        item = CatalogItem(
            keys.CATALOG,
            keys.price(price.gpu_type, price.region),
            gpu_type=price.gpu_type,
            region=price.region,
            price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
            version=price.version,
        )
        condition = CatalogItem.pk.does_not_exist() | (CatalogItem.version == price.version - 1)
        dynamo(tx).put(item, condition, unexpected("The price"))

    def require_price(self, tx: Transaction, price: Price) -> None:
        def changed(_old: Any) -> Conflict:
            return PriceChanged("The price has just changed; ask for the offers again.")

        dynamo(tx).check(
            CatalogItem,
            keys.CATALOG,
            keys.price(price.gpu_type, price.region),
            CatalogItem.version == price.version,
            changed,
        )
