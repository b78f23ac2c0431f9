"""Energy by the day and reports in memory, with the conditions of the table."""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.core.paging import Page
from chalicelib.reporting.model import Due, Kind, Owner, Period, Report, SiteDay, StayDay
from tests.fakes.database import MemoryStore


class FakeReportStore(MemoryStore):
    """Rows: stay_days, site_days, due_reports ((due, owner, period)), reports ((owner, period, version))."""

    def get_stay_day(
        self, account_id: str, day: str, host_id: str, rental_id: str, segment: int
    ) -> StayDay | None:
        return self.db.table("stay_days").get((account_id, day, host_id, rental_id, segment))

    def list_stay_days(self, account_id: str, day: str) -> list[StayDay]:
        return [
            row for key, row in sorted(self.db.table("stay_days").items()) if key[:2] == (account_id, day)
        ]

    def put_stay_day(self, tx: Any, stay: StayDay) -> None:
        key = (stay.account_id, stay.day, stay.host_id, stay.rental_id, stay.segment)
        self._put(tx, "stay_days", key, stay)

    def get_site_day(self, region: str, day: str, host_id: str) -> SiteDay | None:
        return self.db.table("site_days").get((region, day, host_id))

    def list_site_days(self, region: str, day: str) -> list[SiteDay]:
        return [row for key, row in sorted(self.db.table("site_days").items()) if key[:2] == (region, day)]

    def put_site_day(self, tx: Any, site: SiteDay) -> None:
        self._put(tx, "site_days", (site.region, site.day, site.host_id), site)

    def _put(self, tx: Any, table: str, key: Any, row: Any) -> None:
        rows = self.db.table(table)

        def check() -> Unavailable | None:
            stored = rows[key].version if key in rows else 0
            return None if stored == row.version - 1 else Unavailable(table)

        tx.add(check, lambda: rows.__setitem__(key, row))

    def get_progress(self) -> tuple[str, str | None] | None:
        return self.db.table("progress").get("progress")

    def put_progress(self, day: str, host_id: str | None) -> None:
        self.db.table("progress")["progress"] = (day, host_id)

    def mark_due(self, tx: Any, due: Due) -> None:
        rows, key = self.db.table("due_reports"), (due.due_at_ms, due.owner.name, due.period.name)
        tx.add(lambda: None, lambda: rows.__setitem__(key, due))

    def list_due(self, now_ms: int) -> Iterator[Due]:
        for key, due in sorted(self.db.table("due_reports").items()):
            if key[0] <= now_ms:
                yield due

    def clear_due(self, due: Due) -> None:
        rows, key = self.db.table("due_reports"), (due.due_at_ms, due.owner.name, due.period.name)
        if rows.get(key) == due:
            del rows[key]

    def find_report(self, owner: Owner, period: Period, version: int | None = None) -> Report | None:
        rows = [
            row
            for (of, name, number), row in self.db.table("reports").items()
            if (of, name) == (owner.name, period.name) and version in (None, number)
        ]
        return max(rows, key=lambda row: row.version, default=None)

    def list_day_reports(self, owner: Owner, month: Period) -> list[Report]:
        days = {row.period.name: row for row in self._list(owner, "day") if row.period.month == month}
        return list(days.values())

    def list_reports(self, owner: Owner, kind: Kind, limit: int, start: str | None) -> Page[Report]:
        rows = {f"{row.period.name}#{row.version:06d}": row for row in self._list(owner, kind)}
        keys = sorted((key for key in rows if start is None or key < start), reverse=True)
        last = keys[limit - 1] if len(keys) > limit else None
        return Page([rows[key] for key in keys[:limit]], last)

    def _list(self, owner: Owner, kind: Kind) -> list[Report]:
        rows = sorted(self.db.table("reports").items())
        return [row for (of, *_), row in rows if of == owner.name and row.period.kind == kind]

    def add_report(self, tx: Any, report: Report) -> None:
        key = (report.owner.name, report.period.name, report.version)
        tx.put_new("reports", key, report, Unavailable("report"))


class FakePurchases:
    """``bought``: (account, month) -> mass by state."""

    def __init__(self) -> None:
        self.bought: dict[tuple[str, str], Mapping[str, int]] = {}

    def find_purchased(self, account_id: str, month: str) -> Mapping[str, int]:
        return self.bought.get((account_id, month), {})
