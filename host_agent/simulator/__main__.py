"""``python -m host_agent.simulator --socket PATH``: the GPUs of one simulated host."""

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from host_agent.clock import SystemClock
from host_agent.simulator.device import build_device, serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="host_agent.simulator", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=8, choices=range(1, 17), metavar="1..16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--link-group-gpus", type=int, default=0, choices=range(17), metavar="0..16", help="0: all are joined"
    )
    options = parser.parse_args()
    options.socket.unlink(missing_ok=True)
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_run(options.socket, options.gpus, options.seed, options.link_group_gpus))
    return 0


async def _run(path: Path, gpus: int, seed: int, link_group_gpus: int) -> None:
    task = asyncio.ensure_future(serve(build_device(gpus, seed, SystemClock(), link_group_gpus), path))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


if __name__ == "__main__":
    raise SystemExit(main())
