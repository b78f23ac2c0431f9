"""Two hundred rentals at once, over HTTP, on simulated hosts with the real agent: accepted to running."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from infra.local.cloud import EmbeddedCloud
from infra.local.hosts import run_fleet
from infra.local.journey import join_hosts
from infra.local.paths import LOCAL
from infra.local.progress import StepFailed
from infra.local.seed import GPU_TYPE, REGION, Api, seed_installation

RENTALS, HOSTS, GPUS = 200, 13, 16
#: Clients that ask at the same time.
CLIENTS = 8
LIMIT_SECONDS = 180
POLL_SECONDS = 0.25
COMMAND = ["sleep", "600"]


def measure_many_rentals(cloud: EmbeddedCloud) -> float:
    """Return the seconds from the first accepted request until the last rental runs.

    Raises:
        StepFailed: a request was refused, or something does not run in time.
    """
    seed = seed_installation(cloud)
    seed.operator.call("PUT", f"/v1/accounts/{seed.renter_account_id}/quotas", {"max_gpus": RENTALS})
    with run_fleet(LOCAL / "run" / "many" / "hosts", hosts=HOSTS, gpus=GPUS) as fleet:
        join_hosts(seed, cloud, fleet)
        clients = [Api(cloud.api_url, seed.renter_key) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            accepted = list(pool.map(lambda n: ask(clients[n % CLIENTS]), range(RENTALS)))
        return wait_until_all_run(seed.renter) - min(accepted)


def ask(renter: Api) -> float:
    """Start a rental of one GPU; return when it was accepted. Contention is answered as any client would."""
    body = {"gpu_type": GPU_TYPE, "gpu_count": 1, "region": REGION, "command": COMMAND}
    key = secrets.token_hex(8)
    for attempt in range(10):
        answer = renter.request("POST", "/v1/rentals", body, Idempotency_Key=key)
        if answer.is_success:
            return time.monotonic()
        if answer.status_code < 500:
            break
        time.sleep(0.05 * attempt)
    raise StepFailed(f"a rental was refused: {answer.status_code} {answer.text[:300]}", "see the logs")


def wait_until_all_run(renter: Api) -> float:
    deadline = time.monotonic() + LIMIT_SECONDS
    while (running := count_running(renter)) < RENTALS:
        if time.monotonic() > deadline:
            raise StepFailed(f"{running} of {RENTALS} rentals run", "see the agents' logs")
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def count_running(renter: Api) -> int:
    count, cursor = 0, ""
    while True:
        page = renter.call("GET", f"/v1/rentals?limit=100{cursor}")
        count += sum(rental["state"] == "running" for rental in page["items"])
        if not page.get("next_cursor"):
            return count
        cursor = f"&cursor={page['next_cursor']}"
