"""What operations are told of their host, as a file: the same for every workload."""

from typing import Literal

import msgspec

from host_agent.workloads.share import Share

GpuInjection = Literal["nvidia", "cdi", "none"]
#: Debian package dropbear-bin.
SSH_SERVER = "/usr/sbin/dropbear"


class ContainerSettings(msgspec.Struct, frozen=True):
    engine_url: str
    volumes: str
    share_per_gpu: Share
    #: ``nvidia``: the NVIDIA Container Toolkit by device request. ``cdi``: devices named by CDI. ``none``:
    #: the GPUs are simulated and there is nothing to hand over.
    gpu_injection: GpuInjection = "nvidia"
    #: Off only where the engine cannot: root in the container is then root's number on the host.
    user_namespaces: bool = True
    #: Ports are published here; workloads are reached from elsewhere only if it is said so.
    ports_address: str = "127.0.0.1"
    #: What renters are told to connect to; empty: where the ports are published.
    public_address: str = ""
    blocked_networks: list[str] = []
    ssh_server: str = SSH_SERVER
    env: dict[str, str] = {}


class UnitSettings(msgspec.Struct, frozen=True):
    volumes: str
    share_per_gpu: Share
    env: dict[str, str] = {}
    #: Whether there is GPU memory to overwrite.
    scrub: bool = True
    blocked_networks: list[str] = []
