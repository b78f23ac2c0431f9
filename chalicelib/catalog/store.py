"""The catalogue in DynamoDB: one small partition, read whole by one query; the history of prices beside it.

Access: catalogue by one query, agreements too; history of a pool and class by key, newest first.
"""

from dataclasses import asdict, dataclass
from typing import Any, cast

from pynamodb.expressions.condition import Condition

from chalicelib.catalog.model import (
    Agreement,
    Catalog,
    GpuType,
    Interconnect,
    Price,
    PriceChange,
    PriceKey,
    PriceOrigin,
    PricePoint,
    PriceSchedule,
    Term,
)
from chalicelib.catalog.service import KindChanged, PriceChanged, VersionMismatch
from chalicelib.catalog.spot import SpotBounds
from chalicelib.core.capacity import BillingClass
from chalicelib.core.errors import DomainError
from chalicelib.core.paging import Page
from chalicelib.core.ports import Clock, Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.catalog import CatalogItem, PriceHistoryItem
from chalicelib.storage.transaction import dynamo, unexpected


def _changed(_old: Any) -> DomainError:
    return PriceChanged("The price has just changed; ask for the offers again.")


def _other_kind(_old: Any) -> DomainError:
    return KindChanged("A GPU type keeps its mig_profile and parent_gpu_type; make a new type instead.")


def _not_whole(_old: Any) -> DomainError:
    return KindChanged("The parent is no whole GPU type.")


def _agreed_otherwise(_old: Any) -> DomainError:
    return VersionMismatch("The agreement was changed at the same time; read it again.")


@dataclass(frozen=True, slots=True)
class DynamoCatalogStore:
    clock: Clock

    def read_catalog(self) -> Catalog:
        gpu_types: dict[str, GpuType] = {}
        schedules: list[PriceSchedule] = []
        agreements: dict[str, Agreement] = {}
        volume_prices: dict[str, int] = {}
        for item in CatalogItem.query(keys.CATALOG, consistent_read=True):
            if item.sk.startswith(keys.PRICE_PREFIX):
                schedules.append(_read_schedule(item))
            elif item.sk.startswith(keys.AGREEMENT_PREFIX):
                agreement = _read_agreement(item)
                agreements[agreement.account_id] = agreement
            elif item.sk.startswith(keys.VOLUME_PRICE_PREFIX):
                assert item.region is not None
                volume_prices[item.region] = item.price_micros_per_gib_hour or 0
            else:
                gpu_types[item.gpu_type] = _read_gpu_type(item)
        return Catalog(gpu_types, tuple(schedules), agreements, volume_prices_micros=volume_prices)

    def put_gpu_type(self, tx: Transaction, gpu_type: GpuType) -> None:
        item = CatalogItem(
            keys.CATALOG,
            keys.gpu_type(gpu_type.name),
            gpu_type=gpu_type.name,
            architecture=gpu_type.architecture,
            memory_mib=gpu_type.memory_mib,
            power_limit_watts=gpu_type.power_limit_watts,
            interconnect=gpu_type.interconnect,
            mig_profile=gpu_type.mig_profile,
            parent_gpu_type=gpu_type.parent_gpu_type,
        )
        same = _is(CatalogItem.mig_profile, gpu_type.mig_profile) & _is(
            CatalogItem.parent_gpu_type, gpu_type.parent_gpu_type
        )
        dynamo(tx).put(item, CatalogItem.pk.does_not_exist() | same, _other_kind)

    def require_whole_type(self, tx: Transaction, name: str) -> None:
        whole = CatalogItem.pk.exists() & CatalogItem.mig_profile.does_not_exist()
        dynamo(tx).check(CatalogItem, keys.CATALOG, keys.gpu_type(name), whole, _not_whole)

    def put_volume_price(self, tx: Transaction, region: str, price_micros_per_gib_hour: int) -> None:
        item = CatalogItem(
            keys.CATALOG,
            keys.volume_price(region),
            gpu_type="",
            region=region,
            price_micros_per_gib_hour=price_micros_per_gib_hour,
        )
        dynamo(tx).put(item, None, unexpected("The price"))

    def put_schedule(self, tx: Transaction, schedule: PriceSchedule) -> None:
        item = CatalogItem(
            keys.CATALOG,
            _name(schedule.key),
            gpu_type=schedule.key.gpu_type,
            region=schedule.key.region,
            billing_class=schedule.key.billing_class,
            points=[[each.from_ms, each.price_micros_per_gpu_hour, each.version] for each in schedule.points],
            version=schedule.version,
            spot_floor_ppm=schedule.bounds.floor_ppm,
            spot_cap_ppm=schedule.bounds.cap_ppm,
            moved_step=schedule.moved_step,
        )
        first = schedule.version == 1
        condition = CatalogItem.pk.does_not_exist() if first else CatalogItem.version == schedule.version - 1
        dynamo(tx).put(item, condition, unexpected("The price"))

    def add_history(self, tx: Transaction, change: PriceChange) -> None:
        key, point = change.key, change.point
        item = PriceHistoryItem(
            keys.price_history(key.gpu_type, key.region, key.billing_class),
            keys.price_point(point.from_ms, point.version),
            from_ms=point.from_ms,
            price_micros_per_gpu_hour=point.price_micros_per_gpu_hour,
            version=point.version,
            set_at_ms=change.set_at_ms,
            origin=change.origin,
        )
        dynamo(tx).put(item, PriceHistoryItem.pk.does_not_exist(), unexpected("The price"))

    def list_history(
        self, key: PriceKey, from_ms: int, to_ms: int, limit: int, start: str | None
    ) -> Page[PriceChange]:
        # An instant alone sorts before every point that has it: below is excluded, from is included.
        low, high = (keys.price_point(min(ms, keys.LAST_MS)) for ms in (from_ms, to_ms))
        if start is not None:
            high = min(high, start)
        if low > high:
            return Page([])
        wanted = limit + 2
        found = PriceHistoryItem.query(
            keys.price_history(key.gpu_type, key.region, key.billing_class),
            PriceHistoryItem.sk.between(low, high),
            scan_index_forward=False,
            consistent_read=True,
            limit=wanted,
            page_size=wanted,
        )
        # BETWEEN includes its ends: the row that the cursor names was on the page before.
        rows = [item for item in found if item.sk != start]
        page = [_read_change(key, item) for item in rows[:limit]]
        return Page(page, rows[limit - 1].sk if len(rows) > limit else None)

    def put_agreement(self, tx: Transaction, agreement: Agreement) -> None:
        item = CatalogItem(
            keys.CATALOG,
            keys.agreement(agreement.account_id),
            gpu_type="",
            terms=[asdict(term) for term in agreement.terms],
            version=agreement.version,
        )
        first = agreement.version == 1
        same = CatalogItem.version == agreement.version - 1
        dynamo(tx).put(item, CatalogItem.pk.does_not_exist() if first else same, _agreed_otherwise)

    def require_price(self, tx: Transaction, price: Price) -> None:
        # A schedule only changes with its version, so the end that was read is the end that is stored.
        if price.until_ms is not None and price.until_ms <= self.clock.now_ms():
            raise _changed(None)
        key = PriceKey(price.gpu_type, price.region, price.billing_class)
        same = CatalogItem.version == price.version
        dynamo(tx).check(CatalogItem, keys.CATALOG, _name(key), same, _changed)


def _name(key: PriceKey) -> str:
    return keys.price(key.gpu_type, key.region, key.billing_class)


def _is(attribute: Any, value: str | None) -> Condition:
    found: Condition = attribute.does_not_exist() if value is None else attribute == value
    return found


def _read_gpu_type(item: CatalogItem) -> GpuType:
    return GpuType(
        item.gpu_type,
        item.architecture,
        item.memory_mib,
        item.power_limit_watts,
        cast("Interconnect", item.interconnect),
        item.mig_profile,
        item.parent_gpu_type,
    )


def _read_schedule(item: CatalogItem) -> PriceSchedule:
    return PriceSchedule(
        PriceKey(item.gpu_type, item.region, cast("BillingClass", item.billing_class)),
        tuple(PricePoint(*point) for point in item.points),
        item.version,
        SpotBounds(item.spot_floor_ppm, item.spot_cap_ppm),
        item.moved_step,
    )


def _read_agreement(item: CatalogItem) -> Agreement:
    account_id = item.sk.removeprefix(keys.AGREEMENT_PREFIX)
    assert item.version is not None
    return Agreement(account_id, tuple(Term(**each) for each in item.terms), item.version)


def _read_change(key: PriceKey, item: PriceHistoryItem) -> PriceChange:
    point = PricePoint(item.from_ms, item.price_micros_per_gpu_hour, item.version)
    return PriceChange(key, point, item.set_at_ms, cast("PriceOrigin", item.origin))
