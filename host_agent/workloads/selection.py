"""Opens the runtime that the configuration names."""

from collections.abc import Callable, Mapping

from host_agent.clock import Clock
from host_agent.config import Config
from host_agent.workloads.notice import NoticeBoard
from host_agent.workloads.operations import OperatedRuntime, launch_operation
from host_agent.workloads.process import ProcessRuntime
from host_agent.workloads.runtime import WorkloadRuntime
from host_agent.workloads.settings import ContainerSettings, UnitSettings
from host_agent.workloads.share import divide_host, measure_host


def open_runtime(
    config: Config, gpus: int, simulator_env: Mapping[str, str], clock: Clock, draw: Callable[[], float]
) -> WorkloadRuntime:
    """Raises OSError: the state directory cannot be written."""
    root, env, notices = (
        config.state_path / "workloads",
        {**config.workload_env, **simulator_env},
        NoticeBoard(),
    )
    if config.runtime == "process":
        return ProcessRuntime(root, env, clock, notices)
    share = divide_host(*measure_host(), gpus)
    volumes = str(config.state_path / "volumes")
    containers = config.containers
    simulated = config.gpu_reader == "simulator"
    if config.runtime == "systemd":
        settings: ContainerSettings | UnitSettings = UnitSettings(
            volumes, share, env, scrub=not simulated, blocked_networks=containers.blocked_networks
        )
    else:
        settings = ContainerSettings(
            engine_url=containers.engine_url,
            volumes=volumes,
            share_per_gpu=share,
            gpu_injection="none" if simulated else containers.gpu_injection,
            user_namespaces=containers.user_namespaces,
            ports_address=containers.ports_address,
            public_address=containers.public_address,
            blocked_networks=containers.blocked_networks,
            env=env,
        )
    return OperatedRuntime(root, settings, clock, notices, launch=launch_operation(config.runtime), draw=draw)
