"""Energy by the day and reports in DynamoDB: a partition for each account and site.

Access: the days of an owner by prefix; what is due in the order of time; reports newest first.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pynamodb.exceptions import DeleteError
from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.reporting.model import (
    Due,
    HourUse,
    Kind,
    Owner,
    Period,
    Report,
    SiteDay,
    StayDay,
    read_owner,
)
from chalicelib.storage import carbon_keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.reports import (
    DueItem,
    ProgressItem,
    ReportItem,
    SiteDayItem,
    StayDayItem,
)
from chalicelib.storage.transaction import dynamo, unexpected


def _changed(_old: Any) -> DomainError:
    return Unavailable("Somebody else has changed it; try again.")


class DynamoReportStore:
    """`ports.ReportStore`."""

    def get_stay_day(
        self, account_id: str, day: str, host_id: str, rental_id: str, segment: int
    ) -> StayDay | None:
        key = carbon_keys.stay_day(day, host_id, rental_id, segment)
        try:
            item = StayDayItem.get(_name_energy("account", account_id), key, consistent_read=True)
        except StayDayItem.DoesNotExist:
            return None
        return _read_stay(account_id, day, item)

    def list_stay_days(self, account_id: str, day: str) -> list[StayDay]:
        # Who reads waits hours for the last write, and makes the report again when another comes.
        items = StayDayItem.query(_name_energy("account", account_id), StayDayItem.sk.startswith(f"{day}#"))
        return [_read_stay(account_id, day, item) for item in items]

    def put_stay_day(self, tx: Transaction, stay: StayDay) -> None:
        item = StayDayItem(
            _name_energy("account", stay.account_id),
            carbon_keys.stay_day(stay.day, stay.host_id, stay.rental_id, stay.segment),
            rental_id=stay.rental_id,
            segment=stay.segment,
            host_id=stay.host_id,
            region=stay.region,
            gpu_type=stay.gpu_type,
            gpu_count=stay.gpu_count,
            label=stay.label or None,
            hours=_pack(stay.hours),
            version=stay.version,
        )
        dynamo(tx).put(item, _follows(StayDayItem, stay.version), _changed)

    def get_site_day(self, region: str, day: str, host_id: str) -> SiteDay | None:
        key = carbon_keys.host_day(day, host_id)
        try:
            item = SiteDayItem.get(_name_energy("site", region), key, consistent_read=True)
        except SiteDayItem.DoesNotExist:
            return None
        return _read_site(region, day, item)

    def list_site_days(self, region: str, day: str) -> list[SiteDay]:
        items = SiteDayItem.query(_name_energy("site", region), SiteDayItem.sk.startswith(f"{day}#"))
        return [_read_site(region, day, item) for item in items]

    def put_site_day(self, tx: Transaction, site: SiteDay) -> None:
        item = SiteDayItem(
            _name_energy("site", site.region),
            carbon_keys.host_day(site.day, site.host_id),
            host_id=site.host_id,
            gpu_type=site.gpu_type,
            gpu_count=site.gpu_count,
            rented=_pack(site.rented),
            platform=_pack(site.platform),
            version=site.version,
        )
        dynamo(tx).put(item, _follows(SiteDayItem, site.version), _changed)

    def get_progress(self) -> tuple[str, str | None] | None:
        try:
            item = ProgressItem.get(carbon_keys.PROGRESS, carbon_keys.PROGRESS, consistent_read=True)
        except ProgressItem.DoesNotExist:
            return None
        return item.day, item.host_id

    def put_progress(self, day: str, host_id: str | None) -> None:
        ProgressItem(carbon_keys.PROGRESS, carbon_keys.PROGRESS, day=day, host_id=host_id).save()

    def mark_due(self, tx: Transaction, due: Due) -> None:
        dynamo(tx).put(_name_due(due), None, unexpected("The mark"))

    def list_due(self, now_ms: int) -> Iterator[Due]:
        until = carbon_keys.due_report(now_ms + 1, "", "")
        for item in DueItem.query(carbon_keys.DUE_REPORTS, DueItem.sk < until, consistent_read=True):
            due_at_ms, owner, period = carbon_keys.read_due_report(item.sk)
            yield Due(due_at_ms, read_owner(owner), Period(period), item.marked_at_ms)

    def clear_due(self, due: Due) -> None:
        try:
            _name_due(due).delete(DueItem.marked_at_ms == due.marked_at_ms)
        except DeleteError as error:
            if not is_condition_failure(error):
                raise

    def find_report(self, owner: Owner, period: Period, version: int | None = None) -> Report | None:
        found = ReportItem.query(
            carbon_keys.reports(owner.name),
            ReportItem.sk.startswith(carbon_keys.report(period.kind, period.name, version)),
            scan_index_forward=False,
            consistent_read=True,
            limit=1,
        )
        return next((_read_report(owner, item) for item in found), None)

    def list_day_reports(self, owner: Owner, month: Period) -> list[Report]:
        prefix = carbon_keys.report("day", month.name, None).removesuffix("#")
        found = ReportItem.query(
            carbon_keys.reports(owner.name), ReportItem.sk.startswith(f"{prefix}-"), consistent_read=True
        )
        # A day's versions follow one another: the last stays.
        return list({item.period: _read_report(owner, item) for item in found}.values())

    def list_reports(self, owner: Owner, kind: Kind, limit: int, start: str | None) -> Page[Report]:
        prefix = f"{kind}#"
        key = ReportItem.sk
        found = ReportItem.query(
            carbon_keys.reports(owner.name),
            key.startswith(prefix) if start is None else key.between(prefix, start),
            scan_index_forward=False,
            # The one that a page begins with was the last of the page before.
            limit=limit + (start is not None),
        )
        items = [item for item in found if item.sk != start][:limit]
        last = found.last_evaluated_key
        return Page([_read_report(owner, item) for item in items], None if last is None else items[-1].sk)

    def add_report(self, tx: Transaction, report: Report) -> None:
        item = ReportItem(
            carbon_keys.reports(report.owner.name),
            carbon_keys.report(report.period.kind, report.period.name, report.version),
            period=report.period.name,
            version=report.version,
            created_at_ms=report.created_at_ms,
            digest=report.digest,
            energy_millijoules=report.energy_millijoules,
            operational_mg=report.operational_mg,
            estimated=report.estimated,
        )
        dynamo(tx).put(item, ReportItem.pk.does_not_exist(), _changed)


def _follows(model: Any, version: int) -> Condition:
    condition: Condition = model.pk.does_not_exist() if version == 1 else model.version == version - 1
    return condition


def _name_energy(kind: str, owner_id: str) -> str:
    return carbon_keys.report_energy(f"{kind}:{owner_id}")


def _name_due(due: Due) -> DueItem:
    key = carbon_keys.due_report(due.due_at_ms, due.owner.name, due.period.name)
    return DueItem(carbon_keys.DUE_REPORTS, key, marked_at_ms=due.marked_at_ms)


def _pack(hours: Iterable[HourUse]) -> list[list[int]]:
    return [
        [
            each.hour,
            each.energy_millijoules,
            each.estimated_millijoules,
            each.covered_ms,
            each.expected_ms,
        ]
        for each in hours
    ]


def _unpack(rows: Any) -> tuple[HourUse, ...]:
    return tuple(HourUse(*row) for row in rows)


def _read_stay(account_id: str, day: str, item: StayDayItem) -> StayDay:
    return StayDay(
        account_id,
        day,
        item.host_id,
        item.rental_id,
        item.segment,
        item.region,
        item.gpu_type,
        item.gpu_count,
        item.label or "",
        _unpack(item.hours),
        item.version,
    )


def _read_site(region: str, day: str, item: SiteDayItem) -> SiteDay:
    return SiteDay(
        region,
        day,
        item.host_id,
        item.gpu_type,
        item.gpu_count,
        _unpack(item.rented),
        _unpack(item.platform),
        item.version,
    )


def _read_report(owner: Owner, item: ReportItem) -> Report:
    return Report(
        owner,
        Period(item.period),
        item.version,
        item.created_at_ms,
        item.digest,
        item.energy_millijoules,
        item.operational_mg,
        item.estimated,
    )
