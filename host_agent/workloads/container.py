"""Workloads as containers, through the Docker Engine API: Docker, or Podman's socket.

A container is named for its rental and labelled with the start that made it, so an operation that is repeated
finds what the one before did. Nothing is given to a container that it was not rented: its own GPUs, its own
bridge, its own volume, a share of processor and memory, and only the capabilities of a plain root.
"""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, EndpointConfig, LogConfig

from chalicelib.wire.v1 import PublishedPort
from host_agent.workloads import gpu_memory, ssh
from host_agent.workloads.engine import EngineUnavailable, StartRefused
from host_agent.workloads.network import guard_networks, name_bridge
from host_agent.workloads.notice import NOTICE, name_notice
from host_agent.workloads.operations import Running
from host_agent.workloads.runtime import Feature, Wiped, WorkloadOrder, find_refusal
from host_agent.workloads.settings import ContainerSettings, GpuInjection
from host_agent.workloads.supervisor import Ended, Started, read_start_ticks
from host_agent.workloads.volume import Volumes

SUPPORTED: frozenset[Feature] = frozenset({"image", "ports", "ssh_public_keys", "volume"})
LABEL = "cloud.provocative"
PREFIX = "provocative-"
NOTICE_PATH = Path("/run/provocative")
#: What software in a container may still do as root: own files, change user, use low ports. Docker's default
#: less raw sockets, device nodes, file capabilities and the audit log.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT",
)  # fmt: skip
#: States of a container whose program has not run yet: Docker's word and Podman's.
NEVER_STARTED = frozenset({"created", "configured", "initialized"})
#: Kept of what a container writes: two files of this size.
LOG_FILE_BYTES = 1 << 20
#: Users of one container: all that sixteen bits name, as programs expect.
USERS = 65_536
_TIMEOUT_SECONDS = 60
_EXECUTABLE_MISSING = ("executable file not found", "no such file or directory", "permission denied")


class ContainerEngine:
    """Implements `host_agent.workloads.engine.Engine`."""

    def __init__(self, api: Any, settings: ContainerSettings, *, podman: bool) -> None:
        self._api, self._settings, self._podman = api, settings, podman
        self._volumes = Volumes(Path(settings.volumes))

    @classmethod
    def connect(cls, settings: ContainerSettings) -> "ContainerEngine":
        """Raises EngineUnavailable: nothing answers at ``engine_url``."""
        with _translated():
            api = docker.APIClient(base_url=settings.engine_url, timeout=_TIMEOUT_SECONDS, version="auto")
            components = api.version().get("Components") or []
        podman = any("podman" in str(each.get("Name", "")).lower() for each in components)
        return cls(api, settings, podman=podman)

    def start(self, order: WorkloadOrder, directory: Path) -> Running:
        refusal = find_refusal(order.spec, supported=SUPPORTED)
        if refusal or not order.spec.image:
            raise StartRefused(refusal or "image_required", "cannot be run as a container")
        with _translated():
            self._require_user_namespaces()
            guard_networks(self._settings.blocked_networks)
            found = self._find(order)
            if found is not None and found["Config"]["Labels"].get(LABEL) != order.instance_id:
                self._remove(order)
                found = None
            if found is None:
                self._ensure_image(order.spec.image)
                self._ensure_network(order.rental_id)
                self._create(order, directory)
                found = self._find(order)
            if found is not None and found["State"]["Status"] in NEVER_STARTED:
                self._launch(order)
        running = self.inspect(order)
        if isinstance(running, Ended):
            # So short that it was never seen to run: that it ended is found by the next look.
            return Running(Started(0, 0, running.ended_at_ms))
        if order.spec.ssh_public_keys:
            with _translated():
                ssh.run_server(self._api, _name(order), Path(self._settings.ssh_server))
        return running

    def inspect(self, order: WorkloadOrder) -> Running | Ended:
        with _translated():
            found = self._find(order)
        if found is None:
            return Ended(time.time_ns() // 1_000_000, error="container_lost")
        state = found["State"]
        if state["Status"] in {"exited", "dead", "stopped"}:
            return Ended(_parse_instant(state["FinishedAt"]), exit_code=int(state["ExitCode"]))
        ticks = read_start_ticks(int(state["Pid"]))
        if ticks is None:
            raise EngineUnavailable(f"the container is {state['Status']} without a process")
        started = Started(int(state["Pid"]), ticks, _parse_instant(state["StartedAt"]))
        return Running(started, self._list_ports(found))

    def stop(self, order: WorkloadOrder, grace_seconds: float) -> Ended | None:
        with _translated():
            found = self._find(order)
            if found is None or found["State"]["Status"] in NEVER_STARTED:
                return None
            with contextlib.suppress(NotFound):
                # Answers 304 when it has ended already, which is no error.
                self._api.stop(_name(order), timeout=max(0, int(grace_seconds)))
        seen = self.inspect(order)
        if isinstance(seen, Running):
            raise EngineUnavailable("the container does not end")
        return seen

    def wipe(self, order: WorkloadOrder, *, keep_volume: bool, unreachable: bool) -> Wiped:
        with _translated():
            self._remove(order)
        volume = order.spec.volume
        if volume is not None and keep_volume:
            self._volumes.detach(volume.volume_id)
        elif volume is not None:
            self._volumes.destroy(volume.volume_id)
        simulated = self._settings.gpu_injection == "none"
        scrubbed = gpu_memory.wipe(order.gpu_uuids, simulated=simulated, unreachable=unreachable)
        return Wiped(scrubbed, volume_kept=volume is not None and keep_volume)

    def read_log(self, order: WorkloadOrder, max_bytes: int) -> bytes:
        # Lines, as that is what the interface counts; long ones are cut to the bytes that were asked for.
        with _translated():
            text: bytes = self._api.logs(_name(order), stdout=True, stderr=True, tail=max_bytes // 16)
        return text[-max_bytes:]

    def _create(self, order: WorkloadOrder, directory: Path) -> None:
        spec, settings = order.spec, self._settings
        share = settings.share_per_gpu.multiply(len(order.gpu_uuids))
        # Root owns it on the host; nobody but root and the workload comes this far down.
        binds = [f"{directory / NOTICE}:{NOTICE_PATH}:ro"]
        if spec.volume is not None:
            volume = spec.volume
            path = self._volumes.attach(volume.volume_id, volume.size_mib, self._find_mapped_root())
            # Podman maps every container to other users and has to hand the volume over.
            binds.append(f"{path}:{volume.mount_path}:rw{',U' if self._podman_maps else ''}")
        ports = {(each.container_port, each.protocol): None for each in spec.ports}
        if spec.ssh_public_keys:
            ports[(ssh.PORT, "tcp")] = None
        host_config = self._api.create_host_config(
            binds=binds,
            port_bindings={f"{port}/{kind}": (settings.ports_address, None) for port, kind in ports},
            network_mode=_name(order),
            mem_limit=share.memory_bytes,
            memswap_limit=share.memory_bytes,
            nano_cpus=share.cpu_millis * 1_000_000,
            pids_limit=share.processes,
            shm_size=share.memory_bytes // 2,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges"],
            privileged=False,
            restart_policy={"Name": "no"},
            log_config=LogConfig(type="json-file", config={"max-size": str(LOG_FILE_BYTES), "max-file": "2"}),
            **build_devices(settings.gpu_injection, order.gpu_uuids, podman=self._podman),
        )
        if self._podman_maps:
            host_config["UsernsMode"] = f"auto:size={USERS}"
        container = self._api.create_container(
            spec.image,
            command=list(spec.command) or None,
            environment=self._build_environment(order),
            name=_name(order),
            hostname=order.rental_id.replace("_", "-")[:63],
            labels={LABEL: order.instance_id, f"{LABEL}.rental": order.rental_id},
            ports=list(ports),
            host_config=host_config,
            networking_config=self._api.create_networking_config({_name(order): EndpointConfig("1.41")}),
        )
        if spec.ssh_public_keys:
            archive = ssh.build_archive(Path(settings.ssh_server), directory, spec.ssh_public_keys)
            self._api.put_archive(container["Id"], "/", archive)

    def _build_environment(self, order: WorkloadOrder) -> dict[str, str]:
        return {
            **self._settings.env,
            **order.spec.env,
            **name_notice(NOTICE_PATH),
            "NVIDIA_VISIBLE_DEVICES": ",".join(order.gpu_uuids),
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
            "RENTAL_ID": order.rental_id,
        }

    def _launch(self, order: WorkloadOrder) -> None:
        try:
            self._api.start(_name(order))
        except APIError as error:
            text = str(error.explanation or error).lower()
            missing = any(each in text for each in _EXECUTABLE_MISSING)
            raise StartRefused("command_not_found" if missing else "container_refused", text) from error

    def _ensure_image(self, image: str) -> None:
        try:
            self._api.inspect_image(image)
        except ImageNotFound:
            try:
                # Without a tag or digest it means one image, never all of the repository.
                named = ":" in image.rpartition("/")[2] or "@" in image
                self._api.pull(image if named else f"{image}:latest")
                self._api.inspect_image(image)
            except (ImageNotFound, APIError) as error:
                raise StartRefused("image_not_found", str(error)) from error

    def _ensure_network(self, rental_id: str) -> None:
        name = PREFIX + rental_id
        if not self._api.networks(names=[f"^{name}$"]):
            self._api.create_network(
                name,
                driver="bridge",
                options={"com.docker.network.bridge.name": name_bridge(rental_id)},
                labels={f"{LABEL}.rental": rental_id},
            )

    def _remove(self, order: WorkloadOrder) -> None:
        with contextlib.suppress(NotFound):
            self._api.remove_container(_name(order), force=True, v=True)
        with contextlib.suppress(NotFound):
            self._api.remove_network(_name(order))

    def _find(self, order: WorkloadOrder) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.inspect_container(_name(order))
        except NotFound:
            return None
        return found

    def _list_ports(self, found: dict[str, Any]) -> list[PublishedPort]:
        ports = []
        for name, bindings in (found["NetworkSettings"].get("Ports") or {}).items():
            port, _, protocol = name.partition("/")
            for binding in (bindings or [])[:1]:
                published = binding.get("HostIp") or self._settings.ports_address
                address = self._settings.public_address or published
                ports.append(PublishedPort(int(port), protocol, address, int(binding["HostPort"])))
        return sorted(ports, key=lambda each: each.container_port)

    @property
    def _podman_maps(self) -> bool:
        return self._podman and self._settings.user_namespaces

    def _require_user_namespaces(self) -> None:
        """Docker maps users for all containers or for none; it says so of itself."""
        if self._settings.user_namespaces and not self._podman and not self._is_remapped():
            raise StartRefused("user_namespaces_off", "the engine runs without userns-remap")

    def _is_remapped(self) -> bool:
        options = self._api.info().get("SecurityOptions") or []
        return any(each.split(",")[0] in {"name=userns", "name=rootless"} for each in options)

    def _find_mapped_root(self) -> int:
        """Return the host's number of root in a container. Docker names its directory for it: ``.../N.N``."""
        if self._podman or not self._settings.user_namespaces:
            return 0
        number = str(self._api.info().get("DockerRootDir", "")).rpartition("/")[2].partition(".")[0]
        return int(number) if number.isdigit() else 0


def build_devices(injection: GpuInjection, gpu_uuids: list[str], *, podman: bool) -> dict[str, Any]:
    """Return what makes the engine hand over these GPUs and no other, by UUID; never by number."""
    if injection == "nvidia":
        request = DeviceRequest(driver="nvidia", device_ids=gpu_uuids, capabilities=[["gpu"]])
        return {"device_requests": [request]}
    names = [f"nvidia.com/gpu={gpu_uuid}" for gpu_uuid in gpu_uuids]
    if injection == "cdi" and podman:
        return {"devices": names}
    return {"device_requests": [DeviceRequest(driver="cdi", device_ids=names)]} if injection == "cdi" else {}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the SDK raises into what operations expect."""
    try:
        yield
    except APIError as error:
        raise EngineUnavailable(f"{error.status_code}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise EngineUnavailable(str(error)) from error


def _name(order: WorkloadOrder) -> str:
    """Return the name of the rental's container, which is also its network's."""
    return PREFIX + order.rental_id


def _parse_instant(text: str) -> int:
    """Return milliseconds since the epoch of an RFC 3339 instant with up to nanoseconds."""
    whole, _, rest = text.partition(".")
    zone = rest.lstrip("0123456789") if rest else ""
    fraction = rest[: len(rest) - len(zone)][:3].ljust(3, "0") if rest else "000"
    if not rest and whole.endswith("Z"):
        whole, zone = whole[:-1], "Z"
    instant = datetime.fromisoformat(f"{whole}{'+00:00' if zone == 'Z' else zone}")
    return int(instant.timestamp()) * 1000 + int(fraction)
