"""``make bench-billing``: what a charged rental-minute writes and costs, what a tick computes, how many fit;
what a busy account's statement takes. Adds its figures to bench.json.

Writes are counted and priced from the items that they touch; CPU is measured without the database; the minute
is simulated from counted calls.
"""

import heapq
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable

from chalicelib import wiring
from chalicelib.billing.charging import charge_rental
from chalicelib.metering.model import extend
from chalicelib.metering.service import Report, apply_report
from infra.local.cloud import run_cloud
from infra.local.progress import Progress, StepFailed
from tests.integration import fleet_setup
from tests.integration.in_process import wire_to
from tests.performance.bench import OUTPUT, time_database
from tests.performance.consumption import watch_consumption
from tests.performance.statement_bench import measure_statement

MINUTES = 60
TICK_MS = 60_000
#: On-demand list prices of DynamoDB, us-east-1, per million request units (aws.amazon.com/dynamodb/pricing).
USD_PER_MILLION_WRITES, USD_PER_MILLION_READS = 0.625, 0.125
#: SQS FIFO requests, list price per million (aws.amazon.com/sqs/pricing): ten messages in a call to send, ten
#: to receive, ten to delete.
USD_PER_MILLION_FIFO_REQUESTS = 0.50
#: What a call takes in the simulated minute: DynamoDB's documented single-digit milliseconds, rounded up.
CALL_MS = 10.0
SIMULATED_RENTALS = (1_000, 10_000)
RENTALS_PER_ACCOUNT = 20
#: Function instances that charge at once. Of the 1,000 that an account has at first.
CONCURRENCY = 50
BATCH = 10

Record = Callable[[str, float, str], None]


def main() -> int:
    progress, results = Progress(), {}

    def record(name: str, value: float, unit: str) -> None:
        results[name] = {"value": round(value, 3), "unit": unit}
        progress.say(f"  {name} = {results[name]['value']} {unit}")

    try:
        with run_cloud("bench-billing", progress) as cloud, wire_to(cloud):
            calls, cpu_ms = measure_minutes(record)
            with progress.step("the statement of 10,000 rental-days"):
                measure_statement(record)
        with progress.step("a minute of many rentals, simulated"):
            for count in SIMULATED_RENTALS:
                seconds = simulate_minute(count, calls * CALL_MS + cpu_ms)
                record(f"billing_minute_of_{count}_rentals_seconds", seconds, "s")
    except StepFailed as failed:
        progress.say(f"FAILED: {failed.reason}\n        {failed.hint}")
        return 1
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    OUTPUT.write_text(json.dumps(known | results, indent=2) + "\n")
    progress.say(f"  written to {OUTPUT.name}")
    return 0


def measure_minutes(record: Record) -> tuple[float, float]:
    """Charge a running rental minute by minute; return the calls and the CPU milliseconds of a tick."""
    operator = fleet_setup.become_operator()
    gpu_type = f"bench-{uuid.uuid4().hex[:6]}"
    fleet_setup.offer(operator, gpu_type)
    host = fleet_setup.add_host(operator, gpu_type, 8)
    renter = fleet_setup.add_renter(operator)
    rental_id = fleet_setup.rent(renter, gpu_type, 1, "bench").body
    rental = fleet_setup.read_rental(rental_id)
    running = Report(rental_id, rental.leases, "running", None, None, wiped=False)
    apply_report(wiring.meter_ports(), host.host_id, running, wiring.clock().now_ms())

    def pass_minute() -> None:
        store = wiring.meter_ports().store
        meter = store.get_meter(rental_id, 1)
        assert meter is not None
        store.replace_meter(None, meter, extend(meter, meter.alive_through_ms + TICK_MS))

    items: list[int] = []
    with watch_consumption() as consumed:
        for _ in range(MINUTES):
            with consumed.pause():
                pass_minute()
            before = sum(1 for each in consumed.calls if each == "TransactWriteItems")
            with count_items() as written:
                charge_rental(wiring.billing_ports(), rental_id)
            assert sum(1 for each in consumed.calls if each == "TransactWriteItems") == before + 1
            items.append(sum(written))
    usd = (
        consumed.write_units * USD_PER_MILLION_WRITES + consumed.read_units * USD_PER_MILLION_READS
    ) / MINUTES
    record("billing_items_written_per_rental_minute", statistics.mean(items), "items")
    record("billing_write_units_per_rental_minute", consumed.write_units / MINUTES, "units")
    record("billing_read_units_per_rental_minute", consumed.read_units / MINUTES, "units")
    # Sending, receiving and deleting are each a tenth of a request.
    record("billing_usd_per_million_rental_minutes", usd + 0.3 * USD_PER_MILLION_FIFO_REQUESTS, "USD")
    spent = []
    for _ in range(MINUTES):
        pass_minute()
        with time_database() as database:
            started = time.thread_time()
            charge_rental(wiring.billing_ports(), rental_id)
            spent.append((time.thread_time() - started - sum(database)) * 1000)
    record("tick_cpu_ms", statistics.median(spent), "ms")
    return len(consumed.calls) / MINUTES, statistics.median(spent)


class count_items:  # noqa: N801
    """Count the items that transactions write inside the ``with``."""

    def __enter__(self) -> list[int]:
        from chalicelib.storage.connection import bind

        self.counts: list[int] = []
        client = bind(wiring.settings().table_prefix, wiring.settings().aws_region).client
        self.events = client.meta.events
        self.events.register("provide-client-params.dynamodb.*", self.count)
        return self.counts

    def count(self, params: dict[str, object], **_: object) -> None:
        items = params.get("TransactItems")
        if isinstance(items, list):
            self.counts.append(sum("ConditionCheck" not in each for each in items))

    def __exit__(self, *_: object) -> None:
        self.events.unregister("provide-client-params.dynamodb.*", self.count)


def simulate_minute(rentals: int, tick_ms: float) -> float:
    """Return when the last of a minute's charges is done.

    A FIFO group is handled by one instance at a time, in batches of ten; ``CONCURRENCY`` instances take the
    accounts as they come. What a tick costs does not depend on the others: it reads and writes its own items.
    """
    accounts = [RENTALS_PER_ACCOUNT] * (rentals // RENTALS_PER_ACCOUNT)
    free = [0.0] * CONCURRENCY
    heapq.heapify(free)
    end = 0.0
    for waiting in accounts:
        at = heapq.heappop(free)
        batches = -(-waiting // BATCH)
        # Receiving and deleting a batch cost a call each.
        at += waiting * tick_ms + batches * 2 * CALL_MS
        heapq.heappush(free, at)
        end = max(end, at)
    return end / 1000


if __name__ == "__main__":
    sys.exit(main())
