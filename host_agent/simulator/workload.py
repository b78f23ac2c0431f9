"""``python -m host_agent.simulator.workload``: keeps the GPUs it was given busy, as a training job would."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from host_agent.simulator.client import DeviceConnection

SOCKET_VARIABLE = "PROVOCATIVE_SIMULATOR_SOCKET"
_REPORT_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="host_agent.simulator.workload", description=__doc__)
    parser.add_argument("--utilization", type=float, default=0.9)
    parser.add_argument("--duration-seconds", type=float, default=None)
    options = parser.parse_args()
    gpu_uuids = [text for text in os.environ.get("NVIDIA_VISIBLE_DEVICES", "").split(",") if text]
    socket_path = os.environ.get(SOCKET_VARIABLE)
    if not gpu_uuids or not socket_path:
        print(f"NVIDIA_VISIBLE_DEVICES and {SOCKET_VARIABLE} must be set", file=sys.stderr)  # noqa: T201
        return 2
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    device = DeviceConnection(Path(socket_path))
    device.ask(op="load", gpu_uuids=gpu_uuids, utilization=options.utilization)
    started = time.monotonic()
    while True:
        elapsed = time.monotonic() - started
        print(f"busy on {len(gpu_uuids)} GPUs for {elapsed:.0f} s", flush=True)  # noqa: T201
        left = _REPORT_SECONDS
        if options.duration_seconds is not None:
            left = min(left, options.duration_seconds - elapsed)
        if left <= 0 or stopped.wait(left):
            break
    device.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
