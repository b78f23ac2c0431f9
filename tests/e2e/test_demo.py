"""The two things that a newcomer runs, as processes of their own: `make demo` and `make up`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.paths import LOCAL, ROOT
from tests.integration.waiting import wait_for

RECEIPT = LOCAL / "demo" / "receipt.json"
FIELDS = {
    "rental_id",
    "gpu_type",
    "gpu_count",
    "billed_seconds",
    "price_micros_per_gpu_hour",
    "charge_micros",
    "ledger_sum_micros",
    "wallet_before_micros",
    "wallet_after_micros",
    "energy_millijoules",
    "simulated_energy_millijoules",
    "emissions_mg_co2e",
    "intensity",
    "telemetry",
    "timings_ms",
}


def test_the_demonstration_holds_what_it_promises():
    RECEIPT.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "infra.local", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout
    assert done.stdout.count("held") >= 9
    receipt = json.loads(RECEIPT.read_text())
    assert set(receipt) == FIELDS
    assert (receipt["gpu_count"], receipt["ledger_sum_micros"]) == (2, 0)
    assert 28 <= receipt["billed_seconds"] <= 32
    assert receipt["charge_micros"] == (
        receipt["billed_seconds"] * 2 * receipt["price_micros_per_gpu_hour"] // 3600
    )
    assert receipt["wallet_before_micros"] - receipt["wallet_after_micros"] == receipt["charge_micros"]
    truth = receipt["simulated_energy_millijoules"]
    assert abs(receipt["energy_millijoules"] - truth) <= truth / 100
    # Two simulated GPUs under load for half a minute: between idle and the limit of 700 W each.
    assert 2 * 30 * 60_000 < truth < 2 * 40 * 700_000
    assert receipt["telemetry"]["lost"] == 0
    assert receipt["telemetry"]["stored"] == receipt["telemetry"]["sent"] >= 4
    assert set(receipt["intensity"]) == {"value", "unit", "method", "source", "version"}
    assert set(receipt["timings_ms"]) == {"accepted", "running", "terminated", "receipt"}


@contextmanager
def stay_up() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the platform; yields the process and what it said once it was up."""
    process = subprocess.Popen(
        # As a shell does it for what it runs in the background: Ctrl-C is ignored at first.
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-u", "-m", "infra.local", "up"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "provocative hosts" in line:
                break
        yield process, said
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def test_the_platform_stays_up_is_used_by_the_command_line_and_leaves_nothing_behind(tmp_path):
    with stay_up() as (process, said):
        url, renter = (re.search(rf"export PROVOCATIVE_API_{name}=(\S+)", said)[1] for name in ("URL", "KEY"))
        operator = re.search(r"operator key\s+(\S+)", said)[1]

        def provocative(*words, stdin="", code=0):
            done = subprocess.run(
                [sys.executable, "-m", "provocative", *words],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
                input=stdin,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout

        def read(*words):
            return json.loads(provocative(*words, "--json"))

        assert "renter of acc_" in provocative("login", "--url", url, stdin=renter)
        assert "operator of acc_" in provocative("login", "--url", url, "--profile", "ops", stdin=operator)
        (offer,) = read("offers")["items"]
        work = ("--", "sh", "-c", "echo hello; sleep 600")
        provocative("rent", "-g", offer["gpu_type"], "-n", "2", "-l", "mine", "--wait", *work)
        (rental,) = read("ps")["items"]
        rental_id = rental["rental_id"]
        assert (rental["state"], rental["label"]) == ("running", "mine")
        assert provocative("logs", rental_id) == "hello\n"
        assert [host["free_gpus"] for host in read("hosts", "--profile", "ops")["items"]].count(6) == 1
        provocative("hosts", code=4)
        provocative("stop", rental_id)
        wait_for(lambda: read("show", rental_id)["state"], lambda state: state == "stopped")
        provocative("terminate", rental_id, "--yes")
        provocative("ps")
        receipt = wait_for(lambda: read("cost", rental_id), lambda found: found["status"] == "final")
        assert receipt["charge"]["ledger_sum_micros"] == 0
        assert receipt["emissions"]["regions"][0]["energy_millijoules"] > 0
        spent = read("cost")
        assert spent["held_micros"] == 0
        assert spent["posted_micros"] == 100_000_000 - receipt["charge"]["charge_micros"]
        trail = read("audit", "--target", rental_id, "--profile", "ops")["items"]
        assert {"rental.created", "rental.stop_requested"} & {entry["action"] for entry in trail}
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
        port = int(re.search(r"AWS endpoint\s+http://127\.0\.0\.1:(\d+)", said)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(LOCAL / "run" / "up") not in listed
