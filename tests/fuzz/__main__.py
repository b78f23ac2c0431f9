"""Fuzz the API: ``python -m tests.fuzz [--in-memory] [SEED]``. Ends with 1 on a failure.

On an embedded cloud of its own, or in this process over fakes, where as long a run draws more.
"""

import argparse
import logging
import sys
from dataclasses import replace

import pytest

from infra.local.cloud import run_cloud
from infra.local.paths import LOCAL
from infra.local.progress import Progress
from tests.fuzz.gateway import run_gateway
from tests.fuzz.in_process import InProcess
from tests.fuzz.people import sign_in
from tests.fuzz.report import render_report
from tests.fuzz.running import DEEP, FULL, Outcome, Profile, fuzz
from tests.fuzz.seeding import seed
from tests.integration.in_process import wire_to

FOLDER = LOCAL / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=FULL.seed)
    parser.add_argument("--in-memory", action="store_true", help="over fakes, without an embedded cloud")
    given = parser.parse_args()
    profile = replace(DEEP if given.in_memory else FULL, seed=given.seed)
    outcome = fuzz_in_memory(profile) if given.in_memory else fuzz_cloud(profile)
    text = render_report(profile, outcome)
    (FOLDER / f"{profile.name}.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if outcome.holds else 1


def fuzz_cloud(profile: Profile) -> Outcome:
    progress = Progress()
    with run_cloud("fuzz", progress) as cloud, wire_to(cloud):
        key = cloud.bootstrap()["operator_key"]
        assert key is not None
        return fuzz(profile, seed(cloud.api_url, key, sign_in), cloud.api_url, FOLDER, progress.say)


def fuzz_in_memory(profile: Profile) -> Outcome:
    logging.disable(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as monkeypatch, run_gateway() as url:
        platform = InProcess(monkeypatch)
        installation = seed(url, platform.operator_key, platform.sign_in, platform.today)
        return fuzz(profile, installation, url, FOLDER, Progress().say)


if __name__ == "__main__":
    sys.exit(main())
