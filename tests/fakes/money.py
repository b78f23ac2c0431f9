"""Rentals, meters and the charge queue in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import ChargeRequest
from chalicelib.core.workloads import Workload
from chalicelib.metering.model import (
    Activity,
    CaptureDatapoint,
    EnergyShare,
    HourlyEnergy,
    KeptDatapoint,
    LateSite,
    Meter,
    SiteUse,
    choose_shard,
)
from chalicelib.metering.ports import AlreadyStored, TelemetryRecord
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.model import Rental, mark_settled
from chalicelib.rentals.store import choose_due_shard, choose_kept_shard
from chalicelib.rentals.timing import find_due
from tests.fakes.database import MemoryStore
from tests.fakes.pages import cut_page


class FakeRentalStore(MemoryStore):
    def get_rental(self, rental_id: str) -> Rental | None:
        return self.db.table("rentals").get(rental_id)

    def list_rentals(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Rental]:
        rows = [row for row in self.db.table("rentals").values() if row.account_id == account_id]
        rest = cut_page(rows, start, lambda row: row.rental_id, oldest_first=oldest_first)
        return Page(rest[:limit], rest[limit - 1].rental_id if len(rest) > limit else None)

    def get_workload(self, rental_id: str) -> Workload | None:
        return self.db.table("workloads").get(rental_id)

    def list_due(self, shard: str, now_ms: int, limit: int) -> list[Rental]:
        due = [(find_due(row), row) for row in self.db.table("rentals").values()]
        found = [(at_ms, row.rental_id, row) for at_ms, row in due if at_ms is not None and at_ms <= now_ms]
        return [row for *_, row in sorted(found) if choose_due_shard(row.rental_id) == shard][:limit]

    def list_kept(self, shard: str) -> Iterator[str]:
        rows = sorted(self.db.table("rentals").items())
        return iter([key for key, row in rows if row.kept and choose_kept_shard(key) == shard])

    def add_rental(self, tx: Any, rental: Rental, workload: Workload) -> None:
        tx.put_new("rentals", rental.rental_id, rental, Unavailable("rental"))
        tx.put_new("workloads", rental.rental_id, workload, Unavailable("rental"))

    def get_log(self, rental_id: str) -> LogExcerpt | None:
        return self.db.table("logs").get(rental_id)

    def keep_log(self, rental_id: str, excerpt: LogExcerpt) -> None:
        before = self.get_log(rental_id)
        if before is None or before.taken_at_ms < excerpt.taken_at_ms:
            self.db.table("logs")[rental_id] = excerpt

    def replace_rental(self, tx: Any, old: Rental, new: Rental) -> None:
        rows = self.db.table("rentals")

        def effect() -> None:
            kept = rows[old.rental_id]
            rows[old.rental_id] = replace(
                new,
                billed_seconds=kept.billed_seconds,
                charge_micros=kept.charge_micros,
                interruption=kept.interruption,
                warnings=kept.warnings,
                messages_version=kept.messages_version,
                version=old.version + 1,
            )
            self._settle(old.rental_id)

        tx.add(lambda: None if rows[old.rental_id].version == old.version else Unavailable("rental"), effect)

    def _settle(self, rental_id: str) -> None:
        rows = self.db.table("rentals")
        rows[rental_id] = mark_settled(rows[rental_id], self.db.table("settled").get(rental_id, 0))

    def replace_messages(self, tx: Any, old: Rental, new: Rental) -> None:
        rows = self.db.table("rentals")

        def check() -> DomainError | None:
            same = rows[old.rental_id].messages_version == old.messages_version
            return None if same else Unavailable("rental")

        def effect() -> None:
            rows[old.rental_id] = replace(
                rows[old.rental_id],
                interruption=new.interruption,
                warnings=new.warnings,
                messages_version=old.messages_version + 1,
            )

        tx.add(check, effect)

    def record_charge(
        self, tx: Any, rental_id: str, *, seconds: int, micros: int, settled_segment: int | None
    ) -> None:
        rows = self.db.table("rentals")

        def effect() -> None:
            row = rows[rental_id]
            rows[rental_id] = replace(
                row, billed_seconds=row.billed_seconds + seconds, charge_micros=row.charge_micros + micros
            )
            if settled_segment is not None:
                self.db.table("settled")[rental_id] = settled_segment
            self._settle(rental_id)

        tx.add(lambda: None if rental_id in rows else Unavailable("rental"), effect)


class FakeMeterStore(MemoryStore):
    def get_meter(self, rental_id: str, segment: int) -> Meter | None:
        return self.db.table("meters").get((rental_id, segment))

    def list_meters(self, rental_id: str) -> list[Meter]:
        rows = self.db.table("meters").values()
        return sorted((row for row in rows if row.rental_id == rental_id), key=lambda row: row.segment)

    def list_energy(self, rental_id: str) -> list[HourlyEnergy]:
        return [row for (rental, *_), row in self.db.table("energy").items() if rental == rental_id]

    def list_hour_energy(self, rental_id: str, hour: str) -> list[HourlyEnergy]:
        return [row for row in self.list_energy(rental_id) if row.hour == hour]

    def list_day_energy(self, rental_id: str, day: str) -> list[HourlyEnergy]:
        return [row for row in self.list_energy(rental_id) if row.hour.startswith(day)]

    def keep_activity(self, meter: Meter, after: Activity) -> bool:
        rows = self.db.table("meters")
        if rows[_key(meter)].activity != meter.activity:
            return False
        rows[_key(meter)] = replace(rows[_key(meter)], activity=after)
        return True

    def mark_slowed(self, tx: Any, meter: Meter, hours: frozenset[str], at_ms: int) -> None:
        rows = self.db.table("meters")

        def effect() -> None:
            row = rows[_key(meter)]
            rows[_key(meter)] = replace(row, slowed_hours=row.slowed_hours | hours, slowed_at_ms=at_ms)

        tx.add(lambda: None if _key(meter) in rows else Unavailable("meter"), effect)

    def forget_slowed(self, meter: Meter, hours: frozenset[str]) -> None:
        rows, tx = self.db.table("meters"), self.db.begin()

        def check() -> DomainError | None:
            return None if rows[_key(meter)].slowed_at_ms == meter.slowed_at_ms else Unavailable("meter")

        def effect() -> None:
            row = rows[_key(meter)]
            rows[_key(meter)] = replace(row, slowed_hours=row.slowed_hours - hours)

        tx.add(check, effect)
        tx.commit()

    def record_slowdown(self, tx: Any, meter: Meter, hour: HourlyEnergy, micros: int) -> None:
        meters, hours = self.db.table("meters"), self.db.table("energy")
        key = (meter.rental_id, hour.gpu_uuid, hour.epoch, hour.hour)

        def check() -> DomainError | None:
            stored = (meters[_key(meter)].slowdown_micros, hours[key].slowdown_micros)
            same = stored == (meter.slowdown_micros, hour.slowdown_micros)
            return None if same else Unavailable("credit")

        def effect() -> None:
            for rows, row_key in ((meters, _key(meter)), (hours, key)):
                row = rows[row_key]
                rows[row_key] = replace(row, slowdown_micros=row.slowdown_micros + micros)

        tx.add(check, effect, items=2)

    def count_duplicates(self, rental_id: str) -> int:
        return self.db.table("duplicates").get(rental_id, 0)

    def list_open(self, shard: str) -> Iterator[tuple[str, str]]:
        for row in list(self.db.table("meters").values()):
            if row.state != "settled" and choose_shard(row.rental_id) == shard:
                yield row.account_id, row.rental_id

    def open_meter(self, tx: Any, meter: Meter) -> None:
        tx.put_new("meters", _key(meter), meter, AlreadyStored("meter"))

    def replace_meter(self, tx: Any | None, old: Meter, new: Meter) -> None:
        rows, alone = self.db.table("meters"), tx is None
        tx = tx or self.db.begin()

        def check() -> DomainError | None:
            row = rows[_key(old)]
            same = (row.alive_through_ms, row.state) == (old.alive_through_ms, old.state)
            return None if same else Unavailable("meter")

        def effect() -> None:
            rows[_key(old)] = replace(
                rows[_key(old)],
                state=new.state,
                alive_through_ms=new.alive_through_ms,
                unproven_ms=new.unproven_ms,
                end_reason=new.end_reason,
            )

        tx.add(check, effect)
        if alone:
            tx.commit()

    def record_charge(self, tx: Any, old: Meter, new: Meter) -> None:
        rows = self.db.table("meters")

        def check() -> DomainError | None:
            row = rows[_key(old)]
            settles_early = new.state == "settled" and row.state != "closed"
            return Unavailable("meter") if row.charge_seq != old.charge_seq or settles_early else None

        def effect() -> None:
            row = rows[_key(old)]
            rows[_key(old)] = replace(
                row,
                state="settled" if new.state == "settled" else row.state,
                charge_seq=new.charge_seq,
                charged_seconds=new.charged_seconds,
                charged_micros=new.charged_micros,
            )

        tx.add(check, effect)

    def add_record(self, tx: Any, record: TelemetryRecord) -> None:
        key = (record.host_id, record.boot_id, record.seq)
        tx.put_new("telemetry", key, record, AlreadyStored("record"))

    def add_part(self, tx: Any, record: TelemetryRecord, number: int) -> None:
        key, records = (record.host_id, record.boot_id, record.seq), self.db.table("telemetry")
        tx.add(lambda: AlreadyStored("record") if key in records else None, lambda: None)
        tx.put_new("telemetry_parts", (*key, number), record.sent_at_ms, AlreadyStored("part"))

    def add_energy(self, tx: Any, share: EnergyShare) -> None:
        rows = self.db.table("energy")
        key = (share.rental_id, share.gpu_uuid, share.epoch, share.hour)

        def effect() -> None:
            row = rows.get(key, HourlyEnergy(share.gpu_uuid, share.epoch, share.hour, 0, 0, 0, None))
            thermal, brake = row.thermal_slowdown_ms, row.power_brake_ms
            if share.thermal_slowdown_ms is not None:
                thermal = (thermal or 0) + share.thermal_slowdown_ms
            if share.power_brake_ms is not None:
                brake = (brake or 0) + share.power_brake_ms
            rows[key] = replace(
                row,
                energy_millijoules=row.energy_millijoules + share.energy_millijoules,
                estimated_millijoules=row.estimated_millijoules + share.estimated_millijoules,
                intervals=row.intervals + share.intervals,
                intervals_expected=(
                    row.intervals_expected if share.intervals_expected is None else share.intervals_expected
                ),
                thermal_slowdown_ms=thermal,
                power_brake_ms=brake,
                slowdown_source=share.slowdown_source or row.slowdown_source,
            )

        tx.add(lambda: None, effect)

    def keep_datapoint(self, host_id: str, datapoint: CaptureDatapoint, received_at_ms: int) -> bool:
        key = (host_id, datapoint.unit_id, datapoint.sampled_at_ms, datapoint.sensor_id, datapoint.quantity)
        self.db.table("received").setdefault(key, received_at_ms)
        return bool(self.db.table("capture").setdefault(key, datapoint) == datapoint)

    def list_datapoints(self, host_id: str, unit_id: str, from_ms: int, until_ms: int) -> list[KeptDatapoint]:
        received = self.db.table("received")
        return [
            KeptDatapoint(point, received[key])
            for key, point in self.db.table("capture").items()
            if key[:2] == (host_id, unit_id) and from_ms <= point.sampled_at_ms < until_ms
        ]

    def list_datapoints_before(self, host_id: str, unit_id: str, before_ms: int) -> Iterator[KeptDatapoint]:
        found = self.list_datapoints(host_id, unit_id, 0, before_ms)
        yield from sorted(found, key=lambda kept: kept.datapoint.sampled_at_ms, reverse=True)

    def add_site_energy(self, tx: Any, host_id: str, hour: str, uses: Sequence[SiteUse]) -> None:
        rows = self.db.table("site_energy")

        def effect() -> None:
            for use in uses:
                key = (host_id, hour, use.account_id, use.rental_id, use.segment)
                figures = (use.energy_millijoules, use.estimated_millijoules, use.covered_ms)
                rows[key] = tuple(map(sum, zip(rows.get(key, (0, 0, 0)), figures, strict=True)))

        tx.add(lambda: None, effect)

    def list_site_uses(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, list[SiteUse]]:
        hours: dict[str, list[SiteUse]] = {}
        for (host, hour, *user), figures in sorted(self.db.table("site_energy").items()):
            if host == host_id and first_hour <= hour <= last_hour:
                hours.setdefault(hour, []).append(SiteUse(*user, *figures))
        return hours

    def list_site_energy(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for uses in self.list_site_uses(host_id, first_hour, last_hour).values():
            for use in uses:
                sums[use.account_id] = sums.get(use.account_id, 0) + use.energy_millijoules
        return sums

    def list_sites(self, day: str, after: str | None = None) -> Iterator[str]:
        hosts = {host for host, hour, *_ in self.db.table("site_energy") if hour[:10] == day}
        yield from sorted(host for host in hosts if after is None or host > after)

    def mark_late(self, tx: Any, late: LateSite) -> None:
        rows = self.db.table("late_sites")
        tx.add(lambda: None, lambda: rows.__setitem__((late.day, late.host_id), late))

    def list_late(self) -> list[LateSite]:
        return [late for _, late in sorted(self.db.table("late_sites").items())]

    def clear_late(self, late: LateSite) -> None:
        rows = self.db.table("late_sites")
        if rows.get((late.day, late.host_id)) == late:
            del rows[(late.day, late.host_id)]

    def add_duplicate(self, rental_id: str) -> None:
        rows = self.db.table("duplicates")
        rows[rental_id] = rows.get(rental_id, 0) + 1


def _key(meter: Meter) -> tuple[str, int]:
    return meter.rental_id, meter.segment


class FakeChargeQueue:
    """Requests wait here until the test takes them; one deduplication id is taken once."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self._seen: set[str] = set()

    def request_charges(self, requests: Iterable[ChargeRequest]) -> int:
        asked = list(requests)
        for each in asked:
            self.request_charge(each.account_id, each.rental_id, each.deduplication_id)
        return len(asked)

    def request_charge(self, _account_id: str, rental_id: str, deduplication_id: str) -> None:
        if deduplication_id not in self._seen:
            self._seen.add(deduplication_id)
            self.waiting.append(rental_id)
