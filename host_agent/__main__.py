"""``provocative-agent run|status|doctor --config FILE``: the agent of one GPU host.

Exit codes: 0 stopped on request or all is well, 1 not running or a check failed, 75 another agent runs here,
77 the API refused this host, 78 the configuration is wrong (sysexits.h).
"""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.clock import SystemClock
from host_agent.config import Config, ConfigError, load_config
from host_agent.doctor import examine, render_finding
from host_agent.gpu import GpuUnavailable
from host_agent.identity import ApiRefused
from host_agent.service import become_host, build_service, describe, open_reader, run_service
from host_agent.status import STALE_MS, Status, is_running, lock_state, read_status, render_status

EX_NOT_RUNNING = 1
EX_SOFTWARE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 70, 75, 77, 78


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        if options.command == "run":
            return run_agent(config)
        show = show_status if options.command == "status" else show_findings
        return show(config, as_json=options.json)
    except ConfigError as error:
        return _fail(EX_CONFIG, str(error))
    except ApiRefused as error:
        return _fail(EX_NOPERM, f"the platform refused this host: {error}")
    except GpuUnavailable as error:
        return _fail(EX_CONFIG, f"no GPUs can be read: {error}")
    except (OSError, msgspec.DecodeError) as error:
        return _fail(EX_SOFTWARE, f"the state directory cannot be used: {error}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provocative-agent", description="Agent of one GPU host.")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "run": "run until SIGTERM; enrols on first start",
        "status": "show what the agent on this host does; exit 1 when none runs",
        "doctor": "check disk, GPUs, identity and network; exit 1 when something fails",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, help="TOML file; PROVOCATIVE_* variables win over it")
        if name != "run":
            command.add_argument("--json", action="store_true", help="for programs")
    return parser


def show_status(config: Config, *, as_json: bool) -> int:
    """Raises OSError: the state directory cannot be used."""
    status, running = read_status(config.state_path), is_running(config.state_path)
    if status is None:
        return _fail(EX_NOT_RUNNING, f"no agent has run on {config.state_dir} yet")
    now_ms = SystemClock().now_ms()
    fresh = now_ms - status.written_at_ms < STALE_MS
    if as_json:
        shown = {"running": running, "fresh": fresh, **msgspec.to_builtins(status)}
        _say(msgspec.json.encode(shown).decode())
    else:
        _say(render_status(status, now_ms, running=running))
    return 0 if running and fresh else EX_NOT_RUNNING


def show_findings(config: Config, *, as_json: bool) -> int:
    clock = SystemClock()
    logs.configure("ERROR")
    findings = []
    for finding in examine(config, lambda: open_reader(config, clock), clock):
        findings.append(finding)
        if not as_json:
            _say(render_finding(finding))
    if as_json:
        _say(msgspec.json.encode(findings).decode())
    return 0 if all(finding.ok for finding in findings) else EX_NOT_RUNNING


def run_agent(config: Config) -> int:
    """Raises ConfigError, ApiRefused, GpuUnavailable, OSError or msgspec.DecodeError."""
    logs.configure(config.log_level)
    config.state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if lock_state(config.state_path) is None:
        return _fail(EX_TEMPFAIL, f"another agent runs on {config.state_dir}")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    clock = SystemClock()
    reader = open_reader(config, clock)
    identity = become_host(config, reader, clock, stopped)
    if identity is not None:
        service = build_service(config, identity, reader, clock, stopped)
        with serve_metrics(config.metrics_port, lambda: describe(service, clock)):
            run_service(service, clock, stopped)
    reader.close()
    return 0


@contextlib.contextmanager
def serve_metrics(port: int, read: Callable[[], Status]) -> Iterator[None]:
    """Serve /metrics while the body runs; nothing is loaded for it when ``port`` is 0.

    Raises:
        ConfigError: the port is taken.
    """
    if port == 0:
        yield
        return
    from host_agent.metrics import build_server

    try:
        server = build_server(port, read)
    except OSError as error:
        raise ConfigError(f"metrics_port {port} cannot be used: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _fail(code: int, message: str) -> int:
    print(f"provocative-agent: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    raise SystemExit(main())
