"""The main job, driven through the public API: rent, watch, crash an agent, end, wait for the receipt."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chalicelib.wire import v1
from infra.local.cloud import EmbeddedCloud
from infra.local.hosts import SimulatedFleet
from infra.local.progress import StepFailed
from infra.local.seed import GPU_TYPE, REGION, Api, Seed, create_enrolment_token

GPU_COUNT = 2
RUN_SECONDS = 30.0
#: When the agent is killed, and how long it stays away.
KILL_AFTER_SECONDS = 12.0
AWAY_SECONDS = 5.0
#: A first call of a function is slow where two cores start forty of them.
_WAIT_SECONDS = 180.0
_POLL_SECONDS = 0.1
WORKLOAD = [sys.executable, "-m", "host_agent.simulator.workload", "--utilization", "0.9"]


@dataclass(slots=True)
class Timeline:
    """What happened when, in milliseconds since the rental was asked for. ``say`` shows it to people."""

    say: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)
    events: list[tuple[int, str]] = field(default_factory=list)

    def note(self, what: str) -> int:
        at_ms = int((time.monotonic() - self.started) * 1000)
        self.events.append((at_ms, what))
        self.say(f"  {at_ms / 1000:7.2f} s  {what}")
        return at_ms


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the journey gathered; ``intervals`` are the stored records, read back as an auditor would."""

    rental: dict[str, Any]
    receipt: dict[str, Any]
    wallet_before: dict[str, Any]
    wallet_after: dict[str, Any]
    timings_ms: dict[str, int]
    intervals: list[v1.EnergyInterval]
    simulated_energy_millijoules: float
    ledger_sum_micros: int
    #: Between "running" and the request to end, by the clock of whoever rented.
    observed_seconds: float


def join_hosts(seed: Seed, cloud: EmbeddedCloud, fleet: SimulatedFleet) -> None:
    """Start every host and wait for its first heartbeat.

    Raises:
        StepFailed: a host does not come up.
    """
    for host in fleet.hosts:
        host.start(cloud.api_url, create_enrolment_token(seed.operator))
    wait_for(
        lambda: seed.operator.call("GET", "/v1/hosts")["items"],
        lambda hosts: len(hosts) == len(fleet.hosts) and all(host["last_seen_at"] for host in hosts),
        f"{len(fleet.hosts)} hosts that are alive",
    )


def run_journey(seed: Seed, cloud: EmbeddedCloud, fleet: SimulatedFleet, timeline: Timeline) -> Evidence:
    """Raises StepFailed: something that was promised did not happen in time."""
    renter = seed.renter
    for offer in renter.call("GET", "/v1/offers")["items"]:
        timeline.note(
            f"offer: {offer['gpu_type']} in {offer['region']}, {offer['price_micros_per_gpu_hour']} "
            f"micro-{offer['currency']} per GPU-hour, {offer['availability']}"
        )
    wallet_before = renter.call("GET", "/v1/wallet")
    asked = time.monotonic()
    request = {"gpu_type": GPU_TYPE, "gpu_count": GPU_COUNT, "region": REGION, "command": WORKLOAD}
    rental = renter.call("POST", "/v1/rentals", request, Idempotency_Key="demo-rental")
    timings = {"accepted": _elapsed_ms(asked)}
    timeline.note(f"accepted: {rental['rental_id']} on {rental['host_id']}, {rental['state']}")
    repeated = renter.call("POST", "/v1/rentals", request, Idempotency_Key="demo-rental")
    if repeated != rental:
        raise StepFailed("the repeated request was answered differently", "this is a bug")
    timeline.note("the same request again: the same rental, nothing started twice")
    _watch(renter, rental["rental_id"], "running")
    timings["running"] = _elapsed_ms(asked)
    running = time.monotonic()
    timeline.note("running: the workload is healthy, the meter starts")
    _disturb(rental, fleet, timeline)
    timeline.note(f"the workload's log, asked for: {_fetch_log(renter, rental['rental_id'])!r}")
    ended = time.monotonic()
    renter.call("POST", f"/v1/rentals/{rental['rental_id']}/actions", {"action": "terminate"})
    timeline.note("terminate asked for: billing ends here")
    _watch(renter, rental["rental_id"], "terminated")
    timings["terminated"] = _elapsed_ms(ended)
    timeline.note("terminated: the GPUs are wiped and free again")
    receipt = wait_for(
        lambda: renter.call("GET", f"/v1/rentals/{rental['rental_id']}/receipt"),
        lambda found: bool(found["status"] == "final"),
        "a final receipt",
    )
    timings["receipt"] = _elapsed_ms(ended)
    timeline.note("final receipt: charge settled, telemetry complete")
    intervals = read_intervals(cloud, rental)
    return Evidence(
        rental=renter.call("GET", f"/v1/rentals/{rental['rental_id']}"),
        receipt=receipt,
        wallet_before=wallet_before,
        wallet_after=renter.call("GET", "/v1/wallet"),
        timings_ms=timings,
        intervals=intervals,
        simulated_energy_millijoules=read_truth(fleet, intervals),
        ledger_sum_micros=sum_ledger(cloud),
        observed_seconds=ended - running,
    )


def read_intervals(cloud: EmbeddedCloud, rental: dict[str, Any]) -> list[v1.EnergyInterval]:
    """Return the rental's intervals from the raw telemetry table."""
    table = f"{cloud.outputs['TablePrefix']}-telemetry"
    pages = cloud.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    intervals = []
    for item in (item for page in pages for item in page["Items"]):
        envelope = v1.Envelope(1, "telemetry", "host", "boot", 0, item["record"]["S"], "")
        intervals += [
            each for each in v1.decode_telemetry(envelope).intervals if each.rental_id == rental["rental_id"]
        ]
    return intervals


def read_truth(fleet: SimulatedFleet, intervals: list[v1.EnergyInterval]) -> float:
    """Return the devices' exact energy for the window of the stored intervals, in millijoules."""
    total = 0.0
    for gpu_uuid in {each.gpu_uuid for each in intervals}:
        own = [each for each in intervals if each.gpu_uuid == gpu_uuid]
        first, last = min(each.started_at_ms for each in own), max(each.ended_at_ms for each in own)
        total += fleet.find(gpu_uuid).read_truth(gpu_uuid, first, last)
    return total


def sum_ledger(cloud: EmbeddedCloud) -> int:
    """Return the sum over every leg in the ledger; 0 by double entry."""
    table = f"{cloud.outputs['TablePrefix']}-ledger"
    pages = cloud.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    items = (item for page in pages for item in page["Items"])
    return sum(int(item["amount_micros"]["N"]) for item in items if "amount_micros" in item)


def wait_for(read: Callable[[], Any], holds: Callable[[Any], bool], what: str) -> Any:
    """Poll until it holds. Raises StepFailed after three minutes, with what was seen last."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not holds(seen := read()):
        if time.monotonic() > deadline:
            raise StepFailed(f"waited {_WAIT_SECONDS:.0f} s for {what}", f"last seen: {seen}")
        time.sleep(_POLL_SECONDS)
    return seen


def _fetch_log(renter: Api, rental_id: str) -> str:
    """Return the last line that the workload wrote."""
    path = f"/v1/rentals/{rental_id}/logs"
    renter.call("POST", path)
    answer = wait_for(lambda: renter.request("GET", path), lambda found: bool(found.is_success), "a log")
    lines: list[str] = answer.json()["text"].splitlines()
    return lines[-1] if lines else ""


def _watch(renter: Api, rental_id: str, state: str) -> None:
    final = {"terminated", "failed"}
    found = wait_for(
        lambda: renter.call("GET", f"/v1/rentals/{rental_id}"),
        lambda rental: rental["state"] == state or rental["state"] in final,
        f"the state {state}",
    )
    if found["state"] != state:
        raise StepFailed(f"the rental is {found['state']} ({found['reason']})", "see the agents' logs")


def _disturb(rental: dict[str, Any], fleet: SimulatedFleet, timeline: Timeline) -> None:
    """Let the workload run, and kill the agent of its host on the way."""
    host = fleet.find(rental["gpus"][0]["gpu_uuid"])
    time.sleep(KILL_AFTER_SECONDS)
    host.kill_agent()
    timeline.note(f"kill -9: the agent of {rental['host_id']} is gone, the workload runs on")
    time.sleep(AWAY_SECONDS)
    host.start_agent()
    timeline.note("the agent is back: it finds its workload and its spool")
    time.sleep(RUN_SECONDS - KILL_AFTER_SECONDS - AWAY_SECONDS)


def _elapsed_ms(since: float) -> int:
    return int((time.monotonic() - since) * 1000)
