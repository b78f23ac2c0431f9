"""``make bench-scheduler``: what placing rentals costs at any size of the fleet, and how well it packs.

Adds its figures to bench.json. Calls are counted, capacity is computed from the items that were touched,
packing and failover are simulated from seeds; only the start of many rentals is timed.
"""

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from rich.console import Console
from rich.table import Table

from chalicelib import wiring
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import Liveness
from chalicelib.fleet.placement import Candidate, compute_rank
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat, Report, apply_report
from chalicelib.rentals.life import end_rental
from chalicelib.storage import keys
from chalicelib.storage.tables.fleet import GpuItem, HostItem
from infra.local.cloud import EmbeddedCloud, run_cloud
from infra.local.progress import Progress, StepFailed
from infra.local.seed import seed_installation
from tests.integration.fleet_setup import REGION, add_renter, become_operator, offer, read_rental, rent
from tests.integration.in_process import wire_to
from tests.performance.bench import OUTPUT
from tests.performance.consumption import Consumption, watch_consumption
from tests.performance.many_rentals import measure_many_rentals
from tests.performance.packing import GPUS_PER_HOST, compare
from tests.simulation.failover_times import find_percentile, measure_kills

FLEET_GPUS = (100, 10_000, 100_000)
#: 24 starts in the proportions of `packing`'s trace, 45 GPUs.
START_SIZES = (1,) * 17 + (2,) * 2 + (4,) * 4 + (8,)

#: The load under which the hottest key is looked for. A fleet of 16,000 GPUs at nine tenths with rentals of
#: 1.9 GPUs for half an hour on average has four starts and four ends a second.
LOADED_HOSTS = 2_000
BEAT_SECONDS = 10
STARTS_PER_SECOND = 5
RENTERS = 8
STARTS_REPLAYED = 40

PACKING_SEEDS, PACKING_HOSTS, PACKING_JOBS, PACKING_LOAD = range(8), 64, 12_000, 0.8

FAILOVER_SEED, FAILOVER_KILLS = 20_261_123, 1_000

Record = Callable[[str, float, str], None]


def main() -> int:
    progress, results = Progress(), {}

    def record(name: str, value: float, unit: str) -> None:
        results[name] = {"value": round(value, 3), "unit": unit}
        progress.say(f"  {name} = {results[name]['value']} {unit}")

    try:
        with progress.step("packing, simulated"):
            measure_packing(record)
        with progress.step("failover, simulated"):
            measure_failover(record)
        with run_cloud("bench-scheduler", progress) as cloud:
            seed_installation(cloud)
            for measure in ON_CLOUD:
                measure(cloud, record)
    except StepFailed as failed:
        progress.say(f"FAILED: {failed.reason}\n        {failed.hint}")
        return 1
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    OUTPUT.write_text(json.dumps(known | results, indent=2) + "\n")
    progress.say(f"  written to {OUTPUT.name}")
    return 0


def measure_costs(cloud: EmbeddedCloud, record: Record) -> None:
    """What placing costs; each part makes a pool of its own."""
    hold_still(cloud)
    with wire_to(cloud):
        operator = become_operator()
        for gpus in FLEET_GPUS:
            measure_allocation(operator, gpus, record)
        measure_hottest_key(operator, record)


def measure_start_of_many(cloud: EmbeddedCloud, record: Record) -> None:
    """The one figure that is timed: it depends on the machine."""
    record("rentals_200_running_seconds", measure_many_rentals(cloud), "s")


def hold_still(cloud: EmbeddedCloud) -> None:
    """Let no function run by itself: only what is measured touches the tables."""
    functions, events = cloud.aws.client("lambda"), cloud.aws.client("events")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    for rule in events.list_rules()["Rules"]:
        events.disable_rule(Name=rule["Name"])


def measure_packing(record: Record) -> None:
    """Print the policies side by side, and keep the figures."""
    outcomes = compare(PACKING_SEEDS, PACKING_HOSTS, PACKING_JOBS, PACKING_LOAD)
    table = Table(
        title=f"Packing: {PACKING_HOSTS} hosts of {GPUS_PER_HOST} GPUs, {PACKING_JOBS} rentals in each of "
        f"{len(PACKING_SEEDS)} synthetic traces, offered load {PACKING_LOAD:.0%}"
    )
    # Stranded: free GPUs that cannot serve 8 together. Split: rentals of 2 and 4 across link groups.
    titles = ("stranded", "mean wait", "p95", "p95 of 8", "used", "split")
    table.add_column("policy", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right")
    for policy, each in outcomes.items():
        waits = (each.wait_mean_seconds, each.wait_p95_seconds, each.wait_p95_of_8_seconds)
        shown = [f"{each.stranded:.1%}", *(f"{wait:,.0f} s" for wait in waits)]
        table.add_row(policy, *shown, f"{each.utilisation:.1%}", f"{each.split:.1%}")
        name = policy.replace(" ", "_")
        record(f"packing_stranded_percent_{name}", each.stranded * 100, "%")
        record(f"packing_wait_mean_seconds_{name}", each.wait_mean_seconds, "s")
        record(f"packing_split_percent_{name}", each.split * 100, "%")
    Console().print(table)


def measure_failover(record: Record) -> None:
    """From the kill of a host: until it is given up, and until the last of its rentals is leased GPUs."""
    kills = measure_kills(FAILOVER_SEED, FAILOVER_KILLS)
    detected = find_percentile([kill.detected_ms for kill in kills], 99)
    replaced = find_percentile([kill.replaced_ms for kill in kills], 99)
    record("kill_to_detect_p99_seconds", detected / 1000, "s")
    record("detect_to_replace_p99_seconds", replaced / 1000, "s")


def measure_allocation(operator: Principal, gpus: int, record: Record) -> None:
    """Fill a pool with ``gpus`` and place the same rentals as in every other."""
    gpu_type = f"alloc-{gpus}"
    hosts = fill(operator, gpu_type, gpus)
    renter = add_renter(operator)
    sizes = list(START_SIZES)
    random.Random(1).shuffle(sizes)  # a bench, not a secret
    with watch_consumption() as consumed, found_hosts_complete(hosts, consumed):
        with consumed.pause():
            # What a process reads once is not what a start costs.
            rent(renter, gpu_type, 1, "warm-up")
        for number, size in enumerate(sizes):
            rent(renter, gpu_type, size, f"start-{number}")
    record(f"alloc_dynamodb_calls_{gpus}", len(consumed.calls) / len(sizes), "calls")
    record(f"alloc_capacity_units_{gpus}", consumed.units / len(sizes), "units")


def measure_hottest_key(operator: Principal, record: Record) -> None:
    """Replay a round of heartbeats of all hosts, and starts and ends, in one pool: the worst case."""
    gpu_type = "alloc-hottest"
    hosts = fill(operator, gpu_type, LOADED_HOSTS * GPUS_PER_HOST)
    for host_id in hosts:
        beat(host_id)
    with watch_consumption() as beats:
        for host_id in hosts:
            beat(host_id)
    renters = [add_renter(operator) for _ in range(RENTERS)]
    sizes = random.Random(2).choices(START_SIZES, k=STARTS_REPLAYED)  # a bench
    with watch_consumption() as lives, found_hosts_complete(hosts, lives):
        with lives.pause():
            rent(renters[0], gpu_type, 1, "warm-up")
        for number, (size, renter) in enumerate(zip(sizes, itertools.cycle(renters), strict=False)):
            live(rent(renter, gpu_type, size, f"hot-{number}").body)
    per_second = {
        key: beats.write_units_by_key[key] / BEAT_SECONDS
        + lives.write_units_by_key[key] * STARTS_PER_SECOND / STARTS_REPLAYED
        for key in {*beats.write_units_by_key, *lives.write_units_by_key}
    }
    hottest = sorted(per_second, key=lambda key: -per_second[key])[:5]
    table = Table(
        title=f"Hottest keys: {LOADED_HOSTS} hosts, {STARTS_PER_SECOND} starts and ends a second, 1 pool"
    )
    table.add_column("table, index: partition")
    table.add_column("write units a second", justify="right")
    for key in hottest:
        table.add_row(key, f"{per_second[key]:.1f}")
    Console().print(table)
    record("hottest_key_wcu_2000_hosts", per_second[hottest[0]], "units/s")


def live(rental_id: str) -> None:
    """Let a rental start, be ended, and have its GPUs wiped."""
    meters, rental = wiring.meter_ports(), read_rental(rental_id)
    assert rental.host_id is not None
    running = Report(rental_id, rental.leases, "running", None, None, wiped=False)
    apply_report(meters, rental.host_id, running, wiring.clock().now_ms())
    ended = end_rental(
        wiring.rental_ports(), read_rental(rental_id), "renter_requested", wiring.clock().now_ms(), "bench"
    )
    wiped = Report(rental_id, ended.wipe_leases, "terminated", None, None, wiped=True)
    apply_report(meters, rental.host_id, wiped, wiring.clock().now_ms())


def beat(host_id: str) -> None:
    said = Beat(host_id, "boot", "0.1.0", GPUS_PER_HOST, 0, 0, wiring.clock().now_ms(), ())
    record_heartbeat(wiring.meter_ports(), said)


def fill(operator: Principal, gpu_type: str, gpus: int) -> list[str]:
    """Sell a new pool, put as many hosts into it as have ``gpus`` together, and return their ids."""
    offer(operator, gpu_type)
    wiring.cached_catalog().get(fresh=True)
    now_ms, hosts = wiring.clock().now_ms(), []
    with HostItem.batch_write() as batch:
        for number, first in enumerate(range(0, gpus, GPUS_PER_HOST)):
            hosts.append(f"hst_{gpu_type}_{number:05d}")
            batch.save(build_host(hosts[-1], gpu_type, min(GPUS_PER_HOST, gpus - first), now_ms))
    return hosts


def build_host(host_id: str, gpu_type: str, gpus: int, now_ms: int) -> HostItem:
    """An item of the size that enrolment makes."""
    return HostItem(
        keys.host(host_id),
        keys.HOST,
        host_id=host_id,
        gpu_type=gpu_type,
        region=REGION,
        state="active",
        gpu_count=gpus,
        free_gpus=gpus,
        free_rank=compute_rank(gpus, host_id),
        free_leases={name_gpu(host_id, number): 0 for number in range(gpus)},
        install_id="0" * 32,
        agent_version="0.1.0",
        created_at_ms=now_ms,
        commands_queue_url=f"https://sqs.us-east-1.amazonaws.com/000000000000/commands-{host_id}",
        api_key_id=f"key_{host_id}",
        pool=keys.pool(gpu_type, REGION),
    )


def name_gpu(host_id: str, number: int) -> str:
    """As long as a real UUID."""
    return f"GPU-{host_id[-26:]:0>26}-{number:09d}"


@contextmanager
def found_hosts_complete(hosts: Sequence[str], consumed: Consumption) -> Iterator[None]:
    """Give hosts their GPUs and a heartbeat, uncounted, when a search first shows them: a few of many."""
    store, complete, known = wiring.rental_ports().fleet, set[str](), set(hosts)
    find = store.find_candidates

    def find_and_complete(*arguments: object, **named: object) -> list[Candidate]:
        found: list[Candidate] = find(*arguments, **named)  # type: ignore[arg-type]
        for each in found:
            if each.host_id in known and each.host_id not in complete:
                complete.add(each.host_id)
                with consumed.pause():
                    complete_host(each)
        return found

    with mock.patch.object(store, "find_candidates", find_and_complete):
        yield


def complete_host(candidate: Candidate) -> None:
    liveness = Liveness(time.time_ns() // 1_000_000, "boot", "0.1.0", GPUS_PER_HOST, 0, 0)
    wiring.rental_ports().fleet.record_liveness(candidate.host_id, liveness)
    with GpuItem.batch_write() as batch:
        for lease in candidate.free_leases:
            batch.save(
                GpuItem(
                    keys.host(candidate.host_id),
                    keys.gpu(lease.gpu_uuid),
                    gpu_uuid=lease.gpu_uuid,
                    pci_bus_id="00000000:10:00.0",
                    model="NVIDIA H100 80GB HBM3",
                    memory_mib=81_559,
                    lease_state="free",
                    epoch=lease.epoch,
                )
            )


#: What is measured on the embedded cloud, in this order. The costs stop its functions: what needs them
#: running comes before.
ON_CLOUD: tuple[Callable[[EmbeddedCloud, Record], None], ...] = (
    measure_start_of_many,
    measure_costs,
)


if __name__ == "__main__":
    sys.exit(main())
