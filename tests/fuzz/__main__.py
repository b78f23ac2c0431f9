"""Fuzz the API on an embedded cloud of its own: ``python -m tests.fuzz [SEED]``. Ends with 1 on a failure."""

import sys
from dataclasses import replace

from infra.local.cloud import run_cloud
from infra.local.paths import LOCAL
from infra.local.progress import Progress
from tests.fuzz.people import sign_in
from tests.fuzz.report import render_report
from tests.fuzz.running import FULL, fuzz
from tests.fuzz.seeding import seed
from tests.integration.in_process import wire_to

FOLDER = LOCAL / "fuzz"


def main() -> int:
    profile = replace(FULL, seed=int(sys.argv[1])) if len(sys.argv) > 1 else FULL
    with run_cloud("fuzz", Progress()) as cloud, wire_to(cloud):
        key = cloud.bootstrap()["operator_key"]
        assert key is not None
        installation = seed(cloud.api_url, key, sign_in)
        outcome = fuzz(profile, installation, cloud.api_url, FOLDER)
    text = render_report(profile, outcome)
    (FOLDER / f"{profile.name}.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
