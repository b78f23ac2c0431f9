"""``provocative-agent drain``: no new work on this host; what runs goes on."""

import contextlib
import signal
import threading
from collections.abc import Callable

from host_agent.cli.output import EX_NOT_WELL, hint, say, say_json
from host_agent.config import Config
from host_agent.draining import begin_drain, count_left, end_drain, watch_drain
from host_agent.status import is_running


def change_drain(config: Config, *, undo: bool, wait: bool, as_json: bool) -> int:
    """Begin or end a drain; with ``wait``, return when no workload is left.

    Raises:
        OSError, msgspec.DecodeError: the state directory cannot be used.
    """
    if undo:
        end_drain(config.state_path)
        _show(count_left(config.state_path), draining=False, as_json=as_json)
        return 0
    begin_drain(config.state_path)
    if not is_running(config.state_path):
        hint("no agent runs here; it will drain when it is started")
    if not wait:
        _show(count_left(config.state_path), draining=True, as_json=as_json)
        return 0
    return wait_until_empty(config, wait_for_signals(), as_json=as_json)


def wait_until_empty(config: Config, wait: Callable[[float], bool], *, as_json: bool) -> int:
    """Print how many workloads are left until none is. Raises OSError or msgspec.DecodeError."""
    left = 0
    for left in watch_drain(config.state_path, wait):
        _show(left, draining=True, as_json=as_json)
    return EX_NOT_WELL if left else 0


def _show(left: int, *, draining: bool, as_json: bool) -> None:
    if as_json:
        say_json({"draining": draining, "workloads_left": left})
        return
    mode = "draining, no new workload is started" if draining else "not draining, new workloads are welcome"
    say(f"{mode}; {left or 'no'} workload{'' if left == 1 else 's'} left")


def wait_for_signals() -> Callable[[float], bool]:
    """Return a pause that SIGTERM and SIGINT end; it says whether they did."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):
            # Only the main thread may; elsewhere nobody asks us to stop.
            signal.signal(number, lambda *_: stopped.set())
    return stopped.wait
