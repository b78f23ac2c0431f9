"""The catalogue, the history of prices and templates in memory."""

from dataclasses import dataclass
from typing import Any

from chalicelib.catalog.model import (
    Agreement,
    Catalog,
    GpuType,
    Price,
    PriceChange,
    PriceKey,
    PriceSchedule,
    Template,
)
from chalicelib.catalog.service import KindChanged, PriceChanged, VersionMismatch
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.storage import keys
from tests.fakes.database import FakeClock, MemoryStore
from tests.fakes.pages import cut_page


@dataclass
class FakeCatalogStore(MemoryStore):
    """Rows: gpu_types (name), schedules (key), prices ((key, sort key)), agreements (account)."""

    clock: FakeClock

    def read_catalog(self) -> Catalog:
        rows = self.db.table
        return Catalog(
            dict(rows("gpu_types")),
            tuple(rows("schedules").values()),
            dict(rows("agreements")),
            volume_prices_micros=dict(rows("volume_prices")),
        )

    def put_gpu_type(self, tx: Any, gpu_type: GpuType) -> None:
        rows = self.db.table("gpu_types")

        def check() -> DomainError | None:
            old = rows.get(gpu_type.name, gpu_type)
            same = (old.mig_profile, old.parent_gpu_type) == (gpu_type.mig_profile, gpu_type.parent_gpu_type)
            return None if same else KindChanged("kind")

        tx.add(check, lambda: rows.__setitem__(gpu_type.name, gpu_type))

    def put_volume_price(self, tx: Any, region: str, price_micros_per_gib_hour: int) -> None:
        rows = self.db.table("volume_prices")
        tx.add(lambda: None, lambda: rows.__setitem__(region, price_micros_per_gib_hour))

    def require_whole_type(self, tx: Any, name: str) -> None:
        def check() -> DomainError | None:
            found = self.db.table("gpu_types").get(name)
            return None if found is not None and found.mig_profile is None else KindChanged("parent")

        tx.add(check, lambda: None)

    def put_schedule(self, tx: Any, schedule: PriceSchedule) -> None:
        rows = self.db.table("schedules")

        def check() -> DomainError | None:
            current = rows.get(schedule.key)
            version = 0 if current is None else current.version
            return None if version == schedule.version - 1 else Unavailable("price")

        tx.add(check, lambda: rows.__setitem__(schedule.key, schedule))

    def add_history(self, tx: Any, change: PriceChange) -> None:
        point = change.point
        row = (change.key, keys.price_point(point.from_ms, point.version))
        tx.put_new("prices", row, change, Unavailable("price"))

    def list_history(
        self, key: PriceKey, from_ms: int, to_ms: int, limit: int, start: str | None
    ) -> Page[PriceChange]:
        found = {
            sort_key: change
            for (owner, sort_key), change in self.db.table("prices").items()
            if owner == key and from_ms <= change.point.from_ms < to_ms
        }
        rest = sorted((sort_key for sort_key in found if start is None or sort_key < start), reverse=True)
        page = [found[sort_key] for sort_key in rest[:limit]]
        return Page(page, rest[limit - 1] if len(rest) > limit else None)

    def put_agreement(self, tx: Any, agreement: Agreement) -> None:
        rows = self.db.table("agreements")

        def check() -> DomainError | None:
            current = rows.get(agreement.account_id)
            version = 0 if current is None else current.version
            return None if version == agreement.version - 1 else VersionMismatch("agreement")

        tx.add(check, lambda: rows.__setitem__(agreement.account_id, agreement))

    def require_price(self, tx: Any, price: Price) -> None:
        if price.until_ms is not None and price.until_ms <= self.clock.now_ms():
            raise PriceChanged("price")
        key = PriceKey(price.gpu_type, price.region, price.billing_class)

        def check() -> DomainError | None:
            current = self.db.table("schedules").get(key)
            same = current is not None and current.version == price.version
            return None if same else PriceChanged("price")

        tx.add(check, lambda: None)


class FakeTemplateStore(MemoryStore):
    """Rows: templates (template_id); ``None`` for one that was removed."""

    def get_template(self, template_id: str) -> Template | None:
        return self.db.table("templates").get(template_id)

    def list_visible(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Template]:
        found = {
            keys.created(template.created_at_ms, template.template_id): template
            for template in self.db.table("templates").values()
            if template is not None and (template.public or template.account_id == account_id)
        }
        rest = cut_page(found, start, str, oldest_first=oldest_first)
        page = [found[key] for key in rest[:limit]]
        return Page(page, rest[limit - 1] if len(rest) > limit else None)

    def add_template(self, tx: Any, template: Template) -> None:
        tx.put_new("templates", template.template_id, template, Unavailable("template"))

    def replace_template(self, tx: Any, old: Template, new: Template) -> None:
        self._put(tx, old, new)

    def remove_template(self, tx: Any, template: Template, at_ms: int) -> None:
        self._put(tx, template, None)

    def _put(self, tx: Any, old: Template, new: Template | None) -> None:
        rows = self.db.table("templates")

        def check() -> DomainError | None:
            current = rows.get(old.template_id)
            same = current is not None and current.version == old.version
            return None if same else VersionMismatch("template")

        tx.add(check, lambda: rows.__setitem__(old.template_id, new))
