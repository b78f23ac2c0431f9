"""``python -m infra.local up|demo``: the platform on the embedded cloud."""

import argparse
import signal
import sys
import threading

from infra.local.cloud import EmbeddedCloud, run_cloud
from infra.local.hosts import SimulatedFleet, run_fleet
from infra.local.journey import Timeline, join_hosts, run_journey
from infra.local.paths import LOCAL
from infra.local.progress import Progress, StepFailed
from infra.local.receipt import build_receipt, check_receipt, print_receipt, write_receipt
from infra.local.seed import GPU_TYPE, Seed, seed_installation

HOSTS, GPUS_PER_HOST = 2, 8
#: Shorter than in production (60 s), so that a short demonstration has more than one record.
DEMO_TELEMETRY_SECONDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.local", description=__doc__)
    parser.add_argument("command", choices=("up", "demo"))
    command = parser.parse_args().command
    progress = Progress()
    # Ctrl-C and `kill` both unwind, so that everything that was started is ended; also where whoever started
    # us in the background has told us to ignore the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return demonstrate(progress) if command == "demo" else stay_up(progress)
    except StepFailed as failed:
        progress.say(f"\nFAILED: {failed.reason}\n        {failed.hint}")
        return 1
    except KeyboardInterrupt:
        progress.say("\nstopped")
        return 130


def demonstrate(progress: Progress) -> int:
    """Run the journey; 0 when everything that it promises held."""
    progress.say("Provocative Cloud: a GPU rented, metered, billed and accounted for")
    directory = LOCAL / "run" / "demo" / "hosts"
    with (
        run_cloud("demo", progress, telemetry_interval_seconds=DEMO_TELEMETRY_SECONDS) as cloud,
        run_fleet(directory, hosts=HOSTS, gpus=GPUS_PER_HOST) as fleet,
    ):
        with progress.step("bootstrapping: operator, prices, a renter with credit"):
            seed = seed_installation(cloud)
        with progress.step(f"{HOSTS} simulated hosts with {GPUS_PER_HOST} GPUs each join"):
            join_hosts(seed, cloud, fleet)
        evidence = run_journey(seed, cloud, fleet, Timeline(progress.say))
    receipt = build_receipt(evidence)
    path = LOCAL / "demo" / "receipt.json"
    write_receipt(receipt, path)
    checks = check_receipt(receipt, evidence)
    print_receipt(receipt, evidence, checks)
    sys.stdout.write(f"  written to {path.relative_to(LOCAL.parent)}\n")
    return 0 if all(check.held for check in checks) else 1


def stay_up(progress: Progress) -> int:
    """Run the platform until Ctrl-C."""
    directory = LOCAL / "run" / "up" / "hosts"
    with (
        run_cloud("up", progress) as cloud,
        run_fleet(directory, hosts=HOSTS, gpus=GPUS_PER_HOST) as fleet,
    ):
        with progress.step("bootstrapping: operator, prices, a renter with credit"):
            seed = seed_installation(cloud)
        with progress.step(f"{HOSTS} simulated hosts with {GPUS_PER_HOST} GPUs each join"):
            join_hosts(seed, cloud, fleet)
        _explain(cloud, fleet, seed, progress)
        threading.Event().wait()
    return 0


def _explain(cloud: EmbeddedCloud, fleet: SimulatedFleet, seed: Seed, progress: Progress) -> None:
    root = LOCAL.parent
    progress.say(
        f"""
The platform runs until Ctrl-C.

  API           {cloud.api_url}
  AWS endpoint  {cloud.server.endpoint_url}
  operator key  {seed.operator_key}
  renter key    {seed.renter_key}
  logs          {cloud.server.log.relative_to(root)}, {fleet.hosts[0].agent_log.relative_to(root)}, ...

Try next, in another shell:

  export PROVOCATIVE_API_URL={cloud.api_url}
  export PROVOCATIVE_API_KEY={seed.renter_key}
  alias provocative='{sys.executable} -m provocative'
  provocative offers
  provocative rent -g {GPU_TYPE} -n 2 --wait -- sh -c 'echo hello; sleep 600'
  provocative ps
  provocative logs RENTAL_ID
  provocative terminate RENTAL_ID
  provocative cost RENTAL_ID
  curl -s $PROVOCATIVE_API_URL/v1/rentals -H "Authorization: Bearer $PROVOCATIVE_API_KEY"
  PROVOCATIVE_API_KEY={seed.operator_key} provocative hosts
"""
    )


if __name__ == "__main__":
    sys.exit(main())
