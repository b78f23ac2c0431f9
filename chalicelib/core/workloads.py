"""What a renter has run on a host, and where it is reached."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Port:
    container_port: int
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Volume:
    size_mib: int
    mount_path: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What a host is to run. Without an image it is a bare command, on hosts that run such."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    image: str | None = None
    ports: tuple[Port, ...] = ()
    ssh_public_keys: tuple[str, ...] = ()
    volume: Volume | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a port of the workload is reached."""

    container_port: int
    protocol: Literal["tcp", "udp"]
    address: str
    host_port: int
