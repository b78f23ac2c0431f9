"""``make bench``: ratios within one run, counted calls, CPU without the database. Writes bench.json."""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from chalicelib import wiring
from infra.local.cloud import run_cloud
from infra.local.progress import Progress, StepFailed
from infra.local.seed import GPU_TYPE, REGION, Seed, seed_installation
from tests.integration.fleet_setup import add_host, become_operator
from tests.integration.in_process import close_clients, forget, wire_to
from tests.performance.counting import count_calls
from tests.performance.imports import ENTRY_POINT, FIRST_START, measure_cpu_seconds, measure_import_ratio
from tests.performance.requests import build_event, call

OUTPUT = Path(__file__).resolve().parents[2] / "bench.json"
ROUNDS = 60
WARM_UP = 10
BODY = {"gpu_type": GPU_TYPE, "gpu_count": 1, "region": REGION, "command": ["true"]}

Results = dict[str, dict[str, Any]]


def main() -> int:
    progress = Progress()
    results: Results = {}

    def record(name: str, value: float, unit: str) -> None:
        results[name] = {"value": round(value, 3), "unit": unit}
        progress.say(f"  {name} = {results[name]['value']} {unit}")

    try:
        with progress.step("imports, in fresh interpreters"):
            ratio = measure_import_ratio()
            ready = measure_import_ratio(statement=FIRST_START)
            entry = statistics.median(measure_cpu_seconds(ENTRY_POINT) for _ in range(5))
        record("api_import_ratio", ratio, "ratio")
        record("api_ready_ratio", ready, "ratio")
        record("api_import_cpu_ms", entry * 1000, "ms")
        with run_cloud("bench", progress) as cloud:
            seed = seed_installation(cloud)
            with wire_to(cloud):
                measure_requests(seed, record)
    except StepFailed as failed:
        progress.say(f"FAILED: {failed.reason}\n        {failed.hint}")
        return 1
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    OUTPUT.write_text(json.dumps(known | results, indent=2) + "\n")
    progress.say(f"  written to {OUTPUT.name}")
    return 0


def measure_requests(seed: Seed, record: Callable[[str, float, str], None]) -> None:
    operator = become_operator()
    for _ in range((2 * ROUNDS + 2 * WARM_UP) // 8 + 2):
        add_host(operator, GPU_TYPE, 8)
    # Becoming an operator replaced the key that the seed had; the renter's still works.
    numbers = itertools.count()

    def post() -> str:
        event = build_event(
            "POST", "/v1/rentals", "/v1/rentals", seed.renter_key, BODY, Idempotency_Key=f"b{next(numbers)}"
        )
        status, body = call(event)
        assert status == 201, body
        return str(body["rental_id"])

    def get(rental_id: str) -> None:
        status, _ = call(
            build_event("GET", f"/v1/rentals/{rental_id}", "/v1/rentals/{rental_id}", seed.renter_key)
        )
        assert status == 200

    close_clients()
    forget()
    with count_calls() as cold:
        rental_id = post()
    record("rental_post_dynamodb_calls_first_request", len(cold), "calls")
    posts, gets = [], []
    for _ in range(WARM_UP):
        with count_calls() as calls:
            rental_id = post()
        posts.append(len(calls))
        with count_calls() as calls:
            get(rental_id)
        gets.append(len(calls))
    record("rental_post_dynamodb_calls", max(posts), "calls")
    record("rental_get_dynamodb_calls", max(gets), "calls")
    record("rental_post_cpu_ms", measure_cpu_ms(post), "ms")
    record("rental_get_cpu_ms", measure_cpu_ms(lambda: get(rental_id)), "ms")


def measure_cpu_ms(request: Callable[[], object]) -> float:
    """Return the median CPU of one request less what its calls to the database cost in this thread."""
    spent: list[float] = []
    for _ in range(ROUNDS):
        with time_database() as database:
            started = time.thread_time()
            request()
            spent.append(time.thread_time() - started - sum(database))
    return statistics.median(spent) * 1000


@contextmanager
def time_database() -> Iterator[list[float]]:
    """Yield the CPU seconds of each call inside botocore (serialising, signing, sending, parsing)."""
    from chalicelib.storage.connection import bind

    client = bind(wiring.settings().table_prefix, wiring.settings().aws_region).client
    spent: list[float] = []
    make_call = client._make_api_call

    def timed(operation: str, arguments: dict[str, Any]) -> Any:
        started = time.thread_time()
        try:
            return make_call(operation, arguments)
        finally:
            spent.append(time.thread_time() - started)

    with mock.patch.object(client, "_make_api_call", timed):
        yield spent


if __name__ == "__main__":
    sys.exit(main())
