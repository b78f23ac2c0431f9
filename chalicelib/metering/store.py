"""Meters, hourly energy and raw telemetry in DynamoDB.

Access: meter by rental and stay; energy by rental prefix; meters to be charged by the sparse ``by_open``
index; a telemetry record by (host, boot, seq), which is also what makes it unique.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from pynamodb.exceptions import DeleteError, PutError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.metering.meter_rows import read_meter
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
from chalicelib.storage import carbon_keys, keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.metering import (
    CaptureItem,
    DuplicatesItem,
    EnergyItem,
    MeterItem,
    SiteEnergyItem,
    TelemetryItem,
    TelemetryPartItem,
)
from chalicelib.storage.tables.reports import LateSiteItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Longer than the queue can hold a message (14 days), so that a duplicate always meets its original.
RECORD_RETENTION_SECONDS = 400 * 86_400
#: Read at a time by whoever looks back and mostly finds it at once.
LOOK_BACK_ROWS = 1_000


def _stored(_old: Any) -> DomainError:
    return AlreadyStored("It is stored already.")


class DynamoMeterStore:
    def get_meter(self, rental_id: str, segment: int) -> Meter | None:
        connection = MeterItem._get_connection()  # noqa: SLF001
        found = connection.get_item(keys.rental(rental_id), keys.meter(segment), consistent_read=True)
        return read_meter(found["Item"]) if "Item" in found else None

    def list_meters(self, rental_id: str) -> list[Meter]:
        rows = _query(MeterItem, keys.rental(rental_id), MeterItem.sk.startswith(keys.METER_PREFIX))
        return [read_meter(row) for row in rows]

    def list_energy(self, rental_id: str) -> list[HourlyEnergy]:
        return self._list_energy(rental_id, "")

    def list_hour_energy(self, rental_id: str, hour: str) -> list[HourlyEnergy]:
        return self._list_energy(rental_id, f"{hour}#")

    def list_day_energy(self, rental_id: str, day: str) -> list[HourlyEnergy]:
        return self._list_energy(rental_id, f"{day}T")

    def _list_energy(self, rental_id: str, begins: str) -> list[HourlyEnergy]:
        prefix = f"{keys.ENERGY_PREFIX}{begins}"
        rows = EnergyItem.query(
            keys.rental(rental_id), EnergyItem.sk.startswith(prefix), consistent_read=True
        )
        return [_read_energy(row) for row in rows]

    def count_duplicates(self, rental_id: str) -> int:
        try:
            item = DuplicatesItem.get(keys.rental(rental_id), keys.DUPLICATES, consistent_read=True)
        except DuplicatesItem.DoesNotExist:
            return 0
        return item.duplicates

    def list_open(self, shard: str) -> Iterator[tuple[str, str]]:
        for item in MeterItem.by_open.query(shard):
            yield item.account_id, item.rental_id

    def open_meter(self, tx: Transaction, meter: Meter) -> None:
        item = MeterItem(
            keys.rental(meter.rental_id),
            keys.meter(meter.segment),
            rental_id=meter.rental_id,
            segment=meter.segment,
            account_id=meter.account_id,
            host_id=meter.host_id,
            region=meter.region,
            leases=[[lease.gpu_uuid, lease.epoch] for lease in meter.leases],
            gpu_count=meter.gpu_count,
            price_micros_per_gpu_hour=meter.price_micros_per_gpu_hour,
            state=meter.state,
            started_at_ms=meter.started_at_ms,
            alive_through_ms=meter.alive_through_ms,
            unproven_ms=meter.unproven_ms,
            charge_seq=meter.charge_seq,
            charged_seconds=meter.charged_seconds,
            charged_micros=meter.charged_micros,
            end_reason=meter.end_reason,
            open_shard=choose_shard(meter.rental_id),
        )
        dynamo(tx).put(item, MeterItem.pk.does_not_exist(), _stored)

    def replace_meter(self, tx: Transaction | None, old: Meter, new: Meter) -> None:
        actions: list[Any] = [
            MeterItem.state.set(new.state),
            MeterItem.alive_through_ms.set(new.alive_through_ms),
            MeterItem.unproven_ms.set(new.unproven_ms),
        ]
        if new.end_reason is not None:
            actions.append(MeterItem.end_reason.set(new.end_reason))
        condition = (MeterItem.alive_through_ms == old.alive_through_ms) & (MeterItem.state == old.state)
        key = (keys.rental(new.rental_id), keys.meter(new.segment))
        if tx is not None:
            dynamo(tx).update(MeterItem, key, actions, condition, unexpected("The meter"))
            return
        _update_alone(MeterItem(*key), actions, condition)

    def record_charge(self, tx: Transaction, old: Meter, new: Meter) -> None:
        actions: list[Any] = [
            MeterItem.charge_seq.set(new.charge_seq),
            MeterItem.charged_seconds.set(new.charged_seconds),
            MeterItem.charged_micros.set(new.charged_micros),
        ]
        condition: Condition = MeterItem.charge_seq == old.charge_seq
        if new.state == "settled":
            actions += [MeterItem.state.set("settled"), MeterItem.open_shard.remove()]
            condition &= MeterItem.state == "closed"
        dynamo(tx).update(
            MeterItem,
            (keys.rental(new.rental_id), keys.meter(new.segment)),
            actions,
            condition,
            unexpected("The meter"),
        )

    def keep_activity(self, meter: Meter, after: Activity) -> bool:
        through: Any = MeterItem.observed_through_ms
        before = meter.activity
        unchanged = through.does_not_exist() if before is None else through == before.observed_through_ms
        idle: Any = MeterItem.idle_since_ms
        since = idle.remove() if after.idle_since_ms is None else idle.set(after.idle_since_ms)
        item = MeterItem(keys.rental(meter.rental_id), keys.meter(meter.segment))
        try:
            item.update([through.set(after.observed_through_ms), since], MeterItem.pk.exists() & unchanged)
        except UpdateError as error:
            if is_condition_failure(error):
                return False
            raise
        return True

    def add_record(self, tx: Transaction, record: TelemetryRecord) -> None:
        item = TelemetryItem(
            keys.telemetry_boot(record.host_id, record.boot_id),
            keys.sequence(record.seq),
            host_id=record.host_id,
            record=record.text,
            sha256=hashlib.sha256(record.text.encode()).hexdigest(),
            sent_at_ms=record.sent_at_ms,
            expires_at=record.sent_at_ms // 1000 + RECORD_RETENTION_SECONDS,
        )
        dynamo(tx).put(item, TelemetryItem.pk.does_not_exist(), _stored)

    def add_part(self, tx: Transaction, record: TelemetryRecord, number: int) -> None:
        boot, sequence = keys.telemetry_boot(record.host_id, record.boot_id), keys.sequence(record.seq)
        item = TelemetryPartItem(
            keys.telemetry_parts(record.host_id, record.boot_id),
            keys.telemetry_part(record.seq, number),
            expires_at=record.sent_at_ms // 1000 + RECORD_RETENTION_SECONDS,
        )
        dynamo(tx).check(TelemetryItem, boot, sequence, TelemetryItem.pk.does_not_exist(), _stored)
        dynamo(tx).put(item, TelemetryPartItem.pk.does_not_exist(), _stored)

    def add_energy(self, tx: Transaction, share: EnergyShare) -> None:
        # Plain additions are safe here alone: the record, or the mark of its part, in the same transaction
        # makes them once only.
        actions: list[Any] = [
            EnergyItem.gpu_uuid.set(share.gpu_uuid),
            EnergyItem.epoch.set(share.epoch),
            EnergyItem.hour.set(share.hour),
            EnergyItem.energy_millijoules.add(share.energy_millijoules),
            EnergyItem.estimated_millijoules.add(share.estimated_millijoules),
            EnergyItem.intervals.add(share.intervals),
        ]
        if share.intervals_expected is not None:
            actions.append(EnergyItem.intervals_expected.set(share.intervals_expected))
        if share.thermal_slowdown_ms is not None:
            actions.append(EnergyItem.thermal_slowdown_ms.add(share.thermal_slowdown_ms))
        if share.power_brake_ms is not None:
            actions.append(EnergyItem.power_brake_ms.add(share.power_brake_ms))
        if share.slowdown_source is not None:
            actions.append(EnergyItem.slowdown_source.set(share.slowdown_source))
        key = (keys.rental(share.rental_id), keys.energy(share.hour, share.gpu_uuid, share.epoch))
        dynamo(tx).update(EnergyItem, key, actions, None, unexpected("The energy"))

    def mark_slowed(self, tx: Transaction, meter: Meter, hours: frozenset[str], at_ms: int) -> None:
        actions: list[Any] = [MeterItem.slowed_hours.add(set(hours)), MeterItem.slowed_at_ms.set(at_ms)]
        key = (keys.rental(meter.rental_id), keys.meter(meter.segment))
        dynamo(tx).update(MeterItem, key, actions, MeterItem.pk.exists(), unexpected("The meter"))

    def forget_slowed(self, meter: Meter, hours: frozenset[str]) -> None:
        item = MeterItem(keys.rental(meter.rental_id), keys.meter(meter.segment))
        unchanged = MeterItem.slowed_at_ms == meter.slowed_at_ms
        _update_alone(item, [MeterItem.slowed_hours.delete(set(hours))], unchanged)

    def record_slowdown(self, tx: Transaction, meter: Meter, hour: HourlyEnergy, micros: int) -> None:
        for model, key, credited in (
            (MeterItem, keys.meter(meter.segment), meter.slowdown_micros),
            (EnergyItem, keys.energy(hour.hour, hour.gpu_uuid, hour.epoch), hour.slowdown_micros),
        ):
            unchanged: Condition = model.slowdown_micros == credited
            if not credited:
                unchanged = model.slowdown_micros.does_not_exist()
            actions = [model.slowdown_micros.set(credited + micros)]
            dynamo(tx).update(
                model, (keys.rental(meter.rental_id), key), actions, unchanged, unexpected("The credit")
            )

    def add_site_energy(self, tx: Transaction, host_id: str, hour: str, uses: Sequence[SiteUse]) -> None:
        # As `add_energy`: once only by the record.
        actions: list[Action] = [SiteEnergyItem.day_shard.set(carbon_keys.site_day(hour[:10], host_id))]
        for use in uses:
            user = carbon_keys.site_user(use.account_id, use.rental_id, use.segment)
            actions.append(Path(f"e{user}").add(use.energy_millijoules))
            actions.append(Path(f"c{user}").add(use.covered_ms))
            if use.estimated_millijoules:
                actions.append(Path(f"x{user}").add(use.estimated_millijoules))
        key = (carbon_keys.site(host_id), hour)
        dynamo(tx).update(SiteEnergyItem, key, actions, None, unexpected("The site's energy"))

    def list_site_uses(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, list[SiteUse]]:
        span = SiteEnergyItem.sk.between(first_hour, last_hour)
        hours = {}
        for row in _query(SiteEnergyItem, carbon_keys.site(host_id), span):
            figures = {name: int(value["N"]) for name, value in row.items() if "N" in value}
            hours[row["sk"]["S"]] = [
                SiteUse(
                    *carbon_keys.read_site_user(name[1:]),
                    energy_millijoules=energy,
                    estimated_millijoules=figures.get(f"x{name[1:]}", 0),
                    covered_ms=figures.get(f"c{name[1:]}", 0),
                )
                for name, energy in figures.items()
                if name.startswith("e")
            ]
        return hours

    def list_site_energy(self, host_id: str, first_hour: str, last_hour: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for uses in self.list_site_uses(host_id, first_hour, last_hour).values():
            for use in uses:
                sums[use.account_id] = sums.get(use.account_id, 0) + use.energy_millijoules
        return sums

    def list_sites(self, day: str, after: str | None = None) -> Iterator[str]:
        shards = carbon_keys.list_site_days(day)
        first = None if after is None else carbon_keys.site_day(day, after)
        for shard in shards if first is None else shards[shards.index(first) :]:
            further = SiteEnergyItem.pk > carbon_keys.site(after) if after and shard == first else None
            last = None
            for row in SiteEnergyItem.by_day.query(shard, further):
                if row.pk != last:
                    last = row.pk
                    yield carbon_keys.read_site(row.pk)

    def mark_late(self, tx: Transaction, late: LateSite) -> None:
        item = LateSiteItem(
            carbon_keys.LATE_SITES,
            carbon_keys.late_site(late.host_id, late.day),
            marked_at_ms=late.marked_at_ms,
        )
        dynamo(tx).put(item, None, unexpected("The mark"))

    def list_late(self) -> list[LateSite]:
        rows = LateSiteItem.query(carbon_keys.LATE_SITES, consistent_read=True)
        return [LateSite(*carbon_keys.read_late_site(row.sk), row.marked_at_ms) for row in rows]

    def clear_late(self, late: LateSite) -> None:
        item = LateSiteItem(carbon_keys.LATE_SITES, carbon_keys.late_site(late.host_id, late.day))
        try:
            item.delete(LateSiteItem.marked_at_ms == late.marked_at_ms)
        except DeleteError as error:
            if not is_condition_failure(error):
                raise

    def list_datapoints(self, host_id: str, unit_id: str, from_ms: int, until_ms: int) -> list[KeptDatapoint]:
        # BETWEEN includes its ends, and no row's key is an instant alone.
        low, high = (f"{max(0, at_ms):013d}" for at_ms in (from_ms, until_ms))
        rows = _query(CaptureItem, keys.capture_unit(host_id, unit_id), CaptureItem.sk.between(low, high))
        return [_read_datapoint(unit_id, row) for row in rows]

    def list_datapoints_before(self, host_id: str, unit_id: str, before_ms: int) -> Iterator[KeptDatapoint]:
        older = CaptureItem.sk < f"{max(0, before_ms):013d}"
        rows = _query(CaptureItem, keys.capture_unit(host_id, unit_id), older, newest_first=LOOK_BACK_ROWS)
        return (_read_datapoint(unit_id, row) for row in rows)

    def keep_datapoint(self, host_id: str, datapoint: CaptureDatapoint, received_at_ms: int) -> bool:
        key = (
            keys.capture_unit(host_id, datapoint.unit_id),
            keys.datapoint(datapoint.sampled_at_ms, datapoint.sensor_id, datapoint.quantity),
        )
        item = CaptureItem(
            *key,
            value=datapoint.value,
            standard_deviation=datapoint.standard_deviation,
            unit=datapoint.unit,
            received_at_ms=received_at_ms,
        )
        try:
            item.save(CaptureItem.pk.does_not_exist())
        except PutError as error:
            if not is_condition_failure(error):
                raise
            stored = CaptureItem.get(*key, consistent_read=True)
            told = (datapoint.value, datapoint.standard_deviation, datapoint.unit)
            return (stored.value, stored.standard_deviation, stored.unit) == told
        return True

    def add_duplicate(self, rental_id: str) -> None:
        # A statistic: a lost reply may count one twice, which costs nobody anything.
        DuplicatesItem(keys.rental(rental_id), keys.DUPLICATES).update([DuplicatesItem.duplicates.add(1)])


def _query(
    model: Any, pk: str, condition: Condition, newest_first: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield rows as they come: a unit's day has thousands, and a model for each costs more than the query.

    ``newest_first``: backwards, so many at a time.
    """
    connection = model._get_connection()  # noqa: SLF001
    start: Any = None
    while True:
        answer = connection.query(
            pk,
            range_key_condition=condition,
            exclusive_start_key=start,
            consistent_read=True,
            scan_index_forward=newest_first is None,
            limit=newest_first,
        )
        yield from answer["Items"]
        start = answer.get("LastEvaluatedKey")
        if not start:
            return


def _read_datapoint(unit_id: str, row: dict[str, Any]) -> KeptDatapoint:
    sampled_at_ms, sensor_id, quantity = keys.read_datapoint(row["sk"]["S"])
    found = CaptureDatapoint(
        unit_id,
        sensor_id,
        quantity,
        int(row["value"]["N"]),
        int(row["standard_deviation"]["N"]),
        row["unit"]["S"],
        sampled_at_ms,
    )
    return KeptDatapoint(found, int(row["received_at_ms"]["N"]))


def _update_alone(item: MeterItem, actions: Sequence[Any], condition: Condition) -> None:
    try:
        item.update(list(actions), condition)
    except UpdateError as error:
        if is_condition_failure(error):
            raise Unavailable("The meter changed at the same time; try again.") from error
        raise


def _read_energy(row: EnergyItem) -> HourlyEnergy:
    return HourlyEnergy(
        row.gpu_uuid,
        row.epoch,
        row.hour,
        row.energy_millijoules,
        row.estimated_millijoules,
        row.intervals,
        row.intervals_expected,
        row.thermal_slowdown_ms,
        row.power_brake_ms,
        row.slowdown_source,
        row.slowdown_micros or 0,
    )
