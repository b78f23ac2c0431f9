"""``make bench-carbon``: what a month's report reads and takes, what rolling a day up writes, and what the
control plane costs for each GPU. Adds its figures to bench.json.

Writes and reads are counted and priced from the items that they touch. 1,000 rentals on 100 hosts for 30 days
are written as rolled up; telemetry, heartbeats, charges and a day's roll-up go through the services.
"""

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chalicelib import wiring
from chalicelib.billing.charging import charge_rental
from chalicelib.carbon.grid import list_series
from chalicelib.carbon.intensity import IntensityPoint
from chalicelib.core.principal import Principal
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.model import HOUR_MS, Interval, extend
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import Beat, Report, store_telemetry
from chalicelib.rentals.model import Rental
from chalicelib.reporting.building import build
from chalicelib.reporting.model import DAY_MS, HourUse, Owner, Period, StayDay, name_day
from chalicelib.reporting.rolling import roll_up_host
from infra.local.cloud import run_cloud
from infra.local.progress import Progress, StepFailed
from tests.integration import fleet_setup
from tests.integration.in_process import wire_to
from tests.performance.bench import OUTPUT
from tests.performance.consumption import Consumption, watch_consumption

RENTALS, HOSTS, DAYS, GPUS = 1_000, 100, 30, 8
#: Of the rentals, those of the account whose report is held to the bars, and of most others; those of a
#: large one: the emulator answers no page of a larger one in the 3 s that a read may take.
OWN_RENTALS, LARGE_RENTALS = 10, 50
MONTH = Period("2026-09")
ROWS_IN_TRANSACTION = 50
#: List prices, us-east-1 (aws.amazon.com/dynamodb, /sqs, /lambda and /s3 pricing): units, requests and
#: GB-seconds on arm64 in USD per million.
USD_WRITES, USD_READS, USD_SQS, USD_FIFO, USD_INVOCATIONS = 0.625, 0.125, 0.40, 0.50, 0.20
USD_GB_SECONDS, USD_PUTS = 13.3334, 5.0
HOURS_IN_MONTH = 730
HEARTBEAT_SECONDS, TELEMETRY_SECONDS, CHARGE_SECONDS = 10, 60, 60
#: Of one message by its function, and what that has (.chalice/config.json); the machine of the bench is not
#: Lambda's, so it is an assumption and no measurement. Ten messages come in a call.
ASSUMED_MESSAGE_SECONDS, FUNCTION_GB, BATCH = 0.05, 1.0, 10

Record = Callable[[str, float, str], None]


@dataclass(frozen=True, slots=True)
class Host:
    """A host whose eight GPUs are rented one by one."""

    host_id: str
    renter: Principal
    rentals: tuple[Rental, ...]


def main() -> int:
    progress, results = Progress(), {}

    def record(name: str, value: float, unit: str) -> None:
        results[name] = {"value": round(value, 3), "unit": unit}
        progress.say(f"  {name} = {results[name]['value']} {unit}")

    try:
        with run_cloud("bench-carbon", progress) as cloud, wire_to(cloud):
            with progress.step("a host of eight rentals: heartbeats, telemetry, charges, a day rolled up"):
                measure_host(record, progress.say)
            with progress.step(
                f"{RENTALS:,} rentals of {DAYS} days on {HOSTS} hosts, and a report of each day"
            ):
                own, large = name_account(), name_account()
                write_intensity()
                write_month(own, range(OWN_RENTALS))
                build_days(own)
                seconds = measure_month(own)
                alone = count_month(own)
                write_month(large, range(OWN_RENTALS, OWN_RENTALS + LARGE_RENTALS))
                for first in range(OWN_RENTALS + LARGE_RENTALS, RENTALS, OWN_RENTALS):
                    write_month(name_account(), range(first, first + OWN_RENTALS))
            record("carbon_month_report_seconds", seconds, "s")
            record("carbon_month_report_rcu", count_month(own), "units")
            assert count_month(own) == alone, "a month's report costs more where others have rentals"
            with progress.step(f"the month of an account of {LARGE_RENTALS} rentals"):
                build_days(large)
                record(f"carbon_month_report_{LARGE_RENTALS}_rentals_seconds", measure_month(large), "s")
                record(f"carbon_month_report_{LARGE_RENTALS}_rentals_rcu", count_month(large), "units")
    except StepFailed as failed:
        progress.say(f"FAILED: {failed.reason}\n        {failed.hint}")
        return 1
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    OUTPUT.write_text(json.dumps(known | results, indent=2) + "\n")
    progress.say(f"  written to {OUTPUT.name}")
    return 0


def measure_host(record: Record, say: Callable[[str], None]) -> None:
    """Let a host work for a day and roll it up; print what each thing costs a GPU and month."""
    host = start_host()
    month_seconds, usd = HOURS_IN_MONTH * 3600, {}
    with watch_consumption() as consumed:
        for _ in range(6):
            send_heartbeat(host)
    usd["heartbeats"] = price(consumed, 6, month_seconds / HEARTBEAT_SECONDS)
    usd["heartbeats' queue and function"] = price_messages(month_seconds / HEARTBEAT_SECONDS)
    day = name_day(wiring.clock().now_ms())
    with watch_consumption() as consumed:
        for seq, start_ms in enumerate(range(Period(day).from_ms, Period(day).until_ms, HOUR_MS)):
            send_telemetry(host, seq, start_ms)
    usd["telemetry"] = price(consumed, 24, month_seconds / TELEMETRY_SECONDS)
    usd["telemetry's queue and function"] = price_messages(month_seconds / TELEMETRY_SECONDS)
    with watch_consumption() as consumed:
        for rental in host.rentals:
            with consumed.pause():
                pass_minute(rental)
            charge_rental(wiring.billing_ports(), rental.rental_id)
    charges = month_seconds / CHARGE_SECONDS * GPUS
    usd["charges"] = price(consumed, GPUS, charges)
    usd["charges' queue and function"] = price_messages(charges, fifo=True)
    with watch_consumption() as consumed:
        roll_up_host(wiring.report_ports(), host.host_id, day)
    # Each stay's record and its mark, the site's and its mark; and the index of the day, an item an hour.
    written = 2 * (GPUS + 1) + 24
    assert sum(each == "TransactWriteItems" for each in consumed.calls) == GPUS + 1
    record("carbon_rollup_writes_per_gpu_hour", written / (24 * GPUS), "writes")
    record("carbon_rollup_write_units_per_gpu_hour", consumed.write_units / (24 * GPUS), "units")
    record("carbon_rollup_read_units_per_gpu_hour", consumed.read_units / (24 * GPUS), "units")
    days = HOURS_IN_MONTH / 24
    usd["roll-ups"] = price(consumed, 1, days)
    with watch_consumption() as consumed:
        build(wiring.report_ports(), Owner("account", host.renter.account_id), Period(day))
    usd["a report a day for each host"] = price(consumed, 1, days) + days * 3 * USD_PUTS / 1e6
    for name, per_host in usd.items():
        say(f"    {name}: {per_host / GPUS:.4f} USD a GPU-month")
    say(
        f"    assumed: a host of {GPUS} GPUs, each rented by itself all month; a heartbeat every "
        f"{HEARTBEAT_SECONDS} s, telemetry and charges every {TELEMETRY_SECONDS} s; {BATCH} messages a call, "
        f"{ASSUMED_MESSAGE_SECONDS} s and {FUNCTION_GB} GB each; on-demand list prices, no free tier, no logs"
    )
    record("control_plane_usd_per_gpu_month", sum(usd.values()) / GPUS, "USD")


def price(consumed: Consumption, times: int, per_month: float) -> float:
    units = consumed.write_units * USD_WRITES + consumed.read_units * USD_READS
    return units / times * per_month / 1e6


def price_messages(per_month: float, *, fifo: bool = False) -> float:
    """Sent, received and deleted; a host sends its own alone, charges are sent ten in a call."""
    requests = 3 / BATCH if fifo else 1 + 2 / BATCH
    seconds = ASSUMED_MESSAGE_SECONDS * FUNCTION_GB * USD_GB_SECONDS
    each = requests * (USD_FIFO if fifo else USD_SQS) + USD_INVOCATIONS / BATCH + seconds
    return each * per_month / 1e6


def start_host() -> Host:
    operator = fleet_setup.become_operator()
    gpu_type = f"H100-SXM-{uuid.uuid4().hex[:6]}"
    fleet_setup.offer(operator, gpu_type)
    host = fleet_setup.add_host(operator, gpu_type, GPUS)
    renter = fleet_setup.add_renter(operator)
    ids = [fleet_setup.rent(renter, gpu_type, 1, f"bench-{index}").body for index in range(GPUS)]
    found = Host(host.host_id, renter, tuple(fleet_setup.read_rental(each) for each in ids))
    send_heartbeat(found)
    send_heartbeat(found)
    return found


def pass_minute(rental: Rental) -> None:
    store = wiring.meter_ports().store
    meter = store.get_meter(rental.rental_id, 1)
    assert meter is not None
    store.replace_meter(None, meter, extend(meter, meter.alive_through_ms + CHARGE_SECONDS * 1000))


def send_heartbeat(host: Host) -> None:
    now_ms = wiring.clock().now_ms()
    reports = tuple(
        Report(each.rental_id, each.leases, "running", None, None, wiped=False) for each in host.rentals
    )
    beat = Beat(host.host_id, "boot", "0.1.0", GPUS, 0, 0, draining=False, sent_at_ms=now_ms, reports=reports)
    record_heartbeat(wiring.meter_ports(), beat)


def send_telemetry(host: Host, seq: int, start_ms: int) -> None:
    """Tell a minute of every GPU."""
    intervals = [
        Interval(
            each.rental_id,
            each.leases[0].gpu_uuid,
            each.leases[0].epoch,
            seq,
            final=False,
            started_at_ms=start_ms,
            ended_at_ms=start_ms + TELEMETRY_SECONDS * 1000,
            energy_millijoules=36_000_000 + seq,
            estimated=False,
        )
        for each in host.rentals
    ]
    text = json.dumps({"as large as": "a record of eight GPUs"}).ljust(2_600)
    record = TelemetryRecord(host.host_id, "bench", seq, text, wiring.clock().now_ms())
    store_telemetry(wiring.meter_ports(), record, intervals)


def name_account() -> Owner:
    return Owner("account", f"acc_{uuid.uuid4().hex}")


def write_intensity() -> None:
    store, series = wiring.grid_ports().store, list_series(fleet_setup.REGION, "average")[0]
    for hour_ms in range(MONTH.from_ms, MONTH.until_ms, HOUR_MS):
        store.add_actual(
            IntensityPoint(
                series=series,
                kind="actual",
                valid_from_ms=hour_ms,
                valid_until_ms=hour_ms + HOUR_MS,
                mg_co2e_per_kwh=20_000 + hour_ms // HOUR_MS % 24 * 1000,
                method="measured",
                source=series.provider,
                dataset="v3",
                fetched_at_ms=hour_ms + 2 * HOUR_MS,
                estimated=False,
                revision=0,
            )
        )


def list_days() -> Iterator[str]:
    for at_ms in range(MONTH.from_ms, MONTH.until_ms, DAY_MS):
        yield name_day(at_ms)


def write_month(owner: Owner, numbers: range) -> None:
    """Write what roll-ups leave: a record a rental and day, with energy in each hour."""
    ports, stays = wiring.report_ports(), []
    for day in list_days():
        for number in numbers:
            hours = tuple(
                HourUse(hour, 1_800_000_000 + number * 1000 + hour, 0, HOUR_MS, HOUR_MS) for hour in range(24)
            )
            stays.append(
                StayDay(
                    owner.owner_id,
                    day,
                    f"hst_{number % HOSTS:032x}",
                    f"rnt_{number:032x}",
                    1,
                    fleet_setup.REGION,
                    "H100-SXM-80GB",
                    1,
                    ("train", "serve", "")[number % 3],
                    hours,
                )
            )
    for start in range(0, len(stays), ROWS_IN_TRANSACTION):
        tx = ports.transactions()
        for stay in stays[start : start + ROWS_IN_TRANSACTION]:
            ports.store.put_stay_day(tx, stay)
        tx.commit()


def build_days(owner: Owner) -> None:
    for day in list_days():
        assert build(wiring.report_ports(), owner, Period(day)) is not None


def measure_month(owner: Owner) -> float:
    """Make a month's report; return its seconds."""
    started = time.perf_counter()
    report = build(wiring.report_ports(), owner, MONTH)
    seconds = time.perf_counter() - started
    assert report is not None
    assert report.energy_millijoules > 0
    return seconds


def count_month(owner: Owner) -> float:
    """Make it again, which reads the same and finds that it says the same; return the read units."""
    with watch_consumption() as consumed:
        assert build(wiring.report_ports(), owner, MONTH) is None
    return consumed.read_units


if __name__ == "__main__":
    sys.exit(main())
