"""``make simulate``: many seeds on every core; a seed that fails is printed and can be replayed.

``python -m tests.simulation 2000 300`` runs seeds 0 to 1999; ``python -m tests.simulation 42:43 300`` one.
"""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from infra.local.progress import Progress
from tests.simulation.invariants import Checker, check_end
from tests.simulation.world import run

CHUNK = 20


def run_seeds(seeds: range, steps: int) -> list[tuple[int, str]]:
    """Return the seeds that failed, each with what was broken."""
    failed = []
    for seed in seeds:
        try:
            check_end(run(seed, steps, Checker().check))
        except Exception as error:  # every kind of failure is reported with its seed
            failed.append((seed, f"{type(error).__name__}: {error}"))
    return failed


def main(arguments: list[str]) -> int:
    progress = Progress()
    first, _, last = arguments[0].rpartition(":")
    seeds, steps = range(int(first or 0), int(last)), int(arguments[1])
    started = time.monotonic()
    failed: list[tuple[int, str]] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
        for done, found in enumerate(pool.map(run_seeds, chunks, [steps] * len(chunks)), start=1):
            failed += found
            if done % 10 == 0 or done == len(chunks):
                progress.say(f"  {min(done * CHUNK, len(seeds))} of {len(seeds)} seeds, {len(failed)} failed")
    for seed, reason in failed:
        progress.say(f"FAILED seed {seed}: {reason}")
        progress.say(f"        replay: python -m tests.simulation {seed}:{seed + 1} {steps}")
    progress.say(f"  {len(seeds)} seeds of {steps} steps in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
