"""Settings of one agent, from a TOML file and the environment (which wins)."""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from host_agent.capture.settings import CaptureUnitSettings

ENVIRONMENT_PREFIX = "PROVOCATIVE_"
#: Empty too: no floor.
_VERSION = re.compile(r"^(\d+(\.\d+)*)?$")
_VARIABLE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


class ConfigError(Exception):
    """The settings cannot be used; the message is one line for people."""


class Containers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[containers]``: how the engine is reached and what it may do."""

    engine_url: str = "unix:///var/run/docker.sock"
    #: How GPUs are handed over: by the NVIDIA Container Toolkit's device requests, or by CDI names.
    gpu_injection: Literal["nvidia", "cdi", "none"] = "nvidia"
    #: Refuse to start anything whose root would be root's number on the host.
    user_namespaces: bool = True
    #: Renters' ports are published on this address of the host.
    ports_address: str = "127.0.0.1"
    #: What renters are told to connect to; empty: ``ports_address``.
    public_address: str = ""
    #: Networks that no workload may reach, besides the metadata service, the host and other workloads.
    blocked_networks: list[str] = []


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api_url: str
    state_dir: str
    #: Needed until the host is enrolled, ignored afterwards.
    enrolment_token: str = ""
    #: The network that joins this host to others (InfiniBand or EFA fabric, placement group); empty: none.
    #: Told when the host enrols: clusters are placed within one.
    fabric_id: str = ""
    gpu_reader: Literal["nvml", "simulator"] = "nvml"
    simulator_socket: str = ""
    #: Override what the cloud says; seconds.
    heartbeat_interval_seconds: float | None = None
    telemetry_interval_seconds: float | None = None
    #: How often every GPU is read; records are made of it every telemetry interval.
    sampling_seconds: float = 1.0
    #: Port of Prometheus metrics on loopback; 0: none.
    metrics_port: int = 0
    #: How long SQS may hold a poll open; at most 20.
    command_wait_seconds: int = 20
    #: The oldest NVIDIA driver and container toolkit with which a GPU is offered; empty: any. Sources: CUDA
    #: Toolkit release notes (the driver that programs of CUDA 12 need); CVE-2025-23266, mended in 1.17.8.
    driver_floor: str = "525.60.13"
    toolkit_floor: str = "1.17.8"
    #: Run on each free GPU before it is offered, named by CUDA_VISIBLE_DEVICES; exit 0: it computes.
    preflight_command: str = ""
    #: Of the host's queues: handed out by the platform every hour, or of the EC2 instance's own role.
    credentials: Literal["platform", "instance_profile"] = "platform"
    #: EC2's instance metadata service; empty: never asked.
    metadata_url: str = "http://169.254.169.254"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: Only ``container`` takes images, ports and SSH keys; ``process`` isolates nothing.
    runtime: Literal["container", "systemd", "process"] = "container"
    containers: Containers = Containers()
    capture_units: list[CaptureUnitSettings] = []
    #: Given to every workload, below what the rental asks for. Never secrets.
    workload_env: dict[str, str] = {}

    @property
    def state_path(self) -> Path:
        return Path(self.state_dir)


_TABLES = {"workload_env", "containers", "capture_units"}
#: What a variable can hold; tables are the file's alone.
_SCALARS = tuple(name for name in Config.__struct_fields__ if name not in _TABLES)


def load_config(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Raises ConfigError with one line that names the setting."""
    values: dict[str, Any] = {}
    if file is not None:
        values = _read_file(file)
    for name in _SCALARS:
        value = environment.get(f"{ENVIRONMENT_PREFIX}{name.upper()}")
        if value is not None:
            values[name] = value
    try:
        config = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"bad configuration: {error}") from error
    _validate(config)
    return config


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _validate(config: Config) -> None:
    parts = urlsplit(config.api_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"api_url must be an http(s) URL, not {config.api_url!r}")
    if not config.state_path.is_absolute():
        raise ConfigError(f"state_dir must be an absolute path, not {config.state_dir!r}")
    _validate_metadata(config)
    if config.gpu_reader == "simulator" and not config.simulator_socket:
        raise ConfigError('simulator_socket is needed with gpu_reader = "simulator"')
    _validate_numbers(config)
    _validate_containers(config.containers)
    _validate_capture(config)
    _validate_versions(config)
    for name in config.workload_env:
        if not _VARIABLE_NAME.match(name):
            raise ConfigError(f"workload_env has a bad variable name {name!r}")


def _validate_numbers(config: Config) -> None:
    for name in ("heartbeat_interval_seconds", "telemetry_interval_seconds", "sampling_seconds"):
        value = getattr(config, name)
        if value is not None and not 0 < value <= 3600:  # noqa: PLR2004 - an hour, said in the message
            raise ConfigError(f"{name} must be above 0 and at most 3600, not {value}")
    if not 0 <= config.metrics_port <= 65535:  # noqa: PLR2004 - TCP's ports
        raise ConfigError(f"metrics_port must be 0 to 65535, not {config.metrics_port}")
    if not 0 <= config.command_wait_seconds <= 20:  # noqa: PLR2004 - SQS WaitTimeSeconds
        raise ConfigError(f"command_wait_seconds must be 0 to 20, not {config.command_wait_seconds}")


def _validate_capture(config: Config) -> None:
    if not config.capture_units:
        return
    from host_agent.capture.opening import find_fault

    fault = find_fault(config.capture_units)
    if fault:
        raise ConfigError(f"capture_units: {fault}")


def _validate_containers(containers: Containers) -> None:
    if urlsplit(containers.engine_url).scheme not in {"unix", "tcp", "ssh"}:
        raise ConfigError(
            f"containers.engine_url must be a unix, tcp or ssh URL, not {containers.engine_url!r}"
        )
    for network in (containers.ports_address, *containers.blocked_networks):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"containers has a bad network: {error}") from error


def _validate_versions(config: Config) -> None:
    for name in ("driver_floor", "toolkit_floor"):
        if not _VERSION.match(getattr(config, name)):
            raise ConfigError(f"{name} must be numbers with dots, not {getattr(config, name)!r}")


def _validate_metadata(config: Config) -> None:
    if not config.metadata_url:
        if config.credentials == "instance_profile":
            raise ConfigError('metadata_url is needed with credentials = "instance_profile"')
        return
    parts = urlsplit(config.metadata_url)
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"metadata_url must be an http URL or empty, not {config.metadata_url!r}")
