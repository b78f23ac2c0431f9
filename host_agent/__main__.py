"""``provocative-agent run|status|doctor|enrol|drain|replay --config FILE``: the agent of one GPU host.

Exit codes: 0 stopped on request or all is well, 1 not running, a check failed or something is left to do,
66 there is nothing to replay, 69 the platform does not answer, 70 the state directory cannot be used,
75 another agent runs here, 77 the API refused this host, 78 the configuration is wrong (sysexits.h).
"""

import argparse
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.cli.output import (
    EX_CONFIG,
    EX_NOPERM,
    EX_NOT_WELL,
    EX_SOFTWARE,
    EX_TEMPFAIL,
    fail,
    say,
    say_json,
)
from host_agent.clock import SystemClock
from host_agent.config import Config, ConfigError, load_config
from host_agent.doctor import examine
from host_agent.findings import render_finding
from host_agent.gpu import GpuUnavailable
from host_agent.identity import ApiRefused
from host_agent.service import become_host, build_service, describe, open_reader, run_service
from host_agent.status import STALE_MS, Status, is_running, lock_state, read_status, render_status


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        return run_command(config, options)
    except ConfigError as error:
        return fail(EX_CONFIG, str(error))
    except ApiRefused as error:
        return fail(EX_NOPERM, f"the platform refused this host: {error}")
    except GpuUnavailable as error:
        return fail(EX_CONFIG, f"no GPUs can be read: {error}")
    except (OSError, msgspec.DecodeError) as error:
        return fail(EX_SOFTWARE, f"the state directory cannot be used: {error}")


def run_command(config: Config, options: argparse.Namespace) -> int:
    """Raises what the command raises. Loads only what it needs: the agent must stay small."""
    match options.command:
        case "run":
            return run_agent(config)
        case "status":
            return show_status(config, as_json=options.json)
        case "doctor":
            return show_findings(config, as_json=options.json)
        case "enrol":
            from host_agent.cli.enrol import enrol_machine

            return enrol_machine(config, as_json=options.json)
        case "drain":
            from host_agent.cli.drain import change_drain

            return change_drain(config, undo=options.undo, wait=options.wait, as_json=options.json)
        case _:
            from host_agent.cli.replay import replay_spool

            return replay_spool(config, options.path, send=options.send, as_json=options.json)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provocative-agent", description="Agent of one GPU host.")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "run": "run until SIGTERM; enrols on first start",
        "status": "show what the agent on this host does; exit 1 when none runs",
        "doctor": "check disk, GPUs, identity and network; exit 1 when something fails",
        "enrol": "make this machine a host without running the agent; safe to repeat",
        "drain": "start no new workload on this host; what runs goes on",
        "replay": "show what a copy of a spool holds, and send it again; what is stored is not stored twice",
    }
    added = {}
    for name, text in texts.items():
        added[name] = command = commands.add_parser(name, help=text, description=f"{text}.")
        command.add_argument("--config", type=Path, help="TOML file; PROVOCATIVE_* variables win over it")
        if name != "run":
            command.add_argument("--json", action="store_true", help="for programs")
    ways = added["drain"].add_mutually_exclusive_group()
    ways.add_argument("--undo", action="store_true", help="take new workloads again")
    ways.add_argument("--wait", action="store_true", help="return when no workload is left")
    added["replay"].add_argument("path", type=Path, help="a copy of a spool directory, or one .spool file")
    added["replay"].add_argument("--send", action="store_true", help="without it, nothing is sent")
    return parser


def show_status(config: Config, *, as_json: bool) -> int:
    """Raises OSError: the state directory cannot be used."""
    status, running = read_status(config.state_path), is_running(config.state_path)
    if status is None:
        return fail(EX_NOT_WELL, f"no agent has run on {config.state_dir} yet")
    now_ms = SystemClock().now_ms()
    fresh = now_ms - status.written_at_ms < STALE_MS
    if as_json:
        shown = {"running": running, "fresh": fresh, **msgspec.to_builtins(status)}
        say_json(shown)
    else:
        say(render_status(status, now_ms, running=running))
    return 0 if running and fresh else EX_NOT_WELL


def show_findings(config: Config, *, as_json: bool) -> int:
    clock = SystemClock()
    logs.configure("ERROR")
    findings = []
    for finding in examine(config, lambda: open_reader(config, clock), clock):
        findings.append(finding)
        if not as_json:
            say(render_finding(finding))
    if as_json:
        say_json(findings)
    return 0 if all(finding.ok for finding in findings) else EX_NOT_WELL


def run_agent(config: Config) -> int:
    """Raises ConfigError, ApiRefused, GpuUnavailable, OSError or msgspec.DecodeError."""
    logs.configure(config.log_level)
    config.state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if lock_state(config.state_path) is None:
        return fail(EX_TEMPFAIL, f"another agent runs on {config.state_dir}")
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


if __name__ == "__main__":
    raise SystemExit(main())
