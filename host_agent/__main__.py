"""``python -m host_agent run --config FILE``: the agent of one GPU host.

Exit codes: 0 stopped on request, 75 another agent runs here, 77 the API refused this host, 78 the
configuration is wrong (sysexits.h).
"""

import argparse
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.clock import SystemClock
from host_agent.config import Config, ConfigError, load_config
from host_agent.gpu import GpuUnavailable
from host_agent.identity import ApiRefused
from host_agent.service import become_host, build_service, open_reader, run_service

EX_SOFTWARE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 70, 75, 77, 78


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="provocative-agent", description="Agent of one GPU host.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run until SIGTERM; enrols on first start")
    run.add_argument("--config", type=Path, help="TOML file; PROVOCATIVE_* variables win over it")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        return run_agent(config)
    except ConfigError as error:
        return _fail(EX_CONFIG, str(error))
    except ApiRefused as error:
        return _fail(EX_NOPERM, f"the platform refused this host: {error}")
    except GpuUnavailable as error:
        return _fail(EX_CONFIG, f"no GPUs can be read: {error}")
    except (OSError, msgspec.DecodeError) as error:
        return _fail(EX_SOFTWARE, f"the state directory cannot be used: {error}")


def run_agent(config: Config) -> int:
    """Raises ConfigError, ApiRefused, GpuUnavailable, OSError or msgspec.DecodeError."""
    logs.configure(config.log_level)
    config.state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(config.state_path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _fail(EX_TEMPFAIL, f"another agent runs on {config.state_dir}")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    clock = SystemClock()
    reader = open_reader(config, clock)
    identity = become_host(config, reader, clock, stopped)
    if identity is not None:
        run_service(build_service(config, identity, reader, clock, stopped), clock, stopped)
    reader.close()
    return 0


def _fail(code: int, message: str) -> int:
    print(f"provocative-agent: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    raise SystemExit(main())
