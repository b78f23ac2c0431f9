"""Members of a request that say what is run: of a rental, and of a template for rentals."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.runtime.bodies import RequestBody

MAX_GPUS_PER_RENTAL = 16
MAX_WORKLOAD_BYTES = 32 * 1024
MAX_VOLUME_GIB = 16_384
_MIB_PER_GIB = 1024

Argument = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
EnvironmentName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
CatalogName = Annotated[str, Field(min_length=1, max_length=64)]
GpuCount = Annotated[int, Field(ge=1, le=MAX_GPUS_PER_RENTAL)]

#: Repository with an optional registry, tag and digest. Source: OCI Distribution Specification 1.1, pulling.
IMAGE_REFERENCE = (
    r"^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)
ImageReference = Annotated[str, Field(max_length=512, pattern=IMAGE_REFERENCE)]
#: Key type, base64 and comment, without options, which could run commands. Source: sshd(8), AUTHORIZED_KEYS.
SSH_PUBLIC_KEY = (
    r"^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com) "
    r"[A-Za-z0-9+/]{32,4096}={0,2}(?: [^\x00-\x1f]{0,256})?$"
)
SshPublicKey = Annotated[str, Field(max_length=4608, pattern=SSH_PUBLIC_KEY)]


class PortBody(RequestBody):
    container_port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeBody(RequestBody):
    size_gib: Annotated[int, Field(ge=1, le=MAX_VOLUME_GIB)]
    #: Absolute, without the colon and comma that engines give a meaning of their own.
    mount_path: Annotated[str, Field(max_length=256, pattern=r"^(?:/[A-Za-z0-9_.-]+)+$")]


class WorkloadFields(RequestBody):
    """Everything that is run and how it is reached; each member may be left out."""

    #: Arguments of the program; empty for what the image starts by itself.
    command: Annotated[list[Argument], Field(max_length=64, default_factory=list)]
    #: A container image; without one the command is run bare, on hosts that do so.
    image: ImageReference | None = None
    ports: Annotated[list[PortBody], Field(max_length=16, default_factory=list)]
    #: Lines as in authorized_keys; any opens an SSH entry to the container on port 22.
    ssh_public_keys: Annotated[list[SshPublicKey], Field(max_length=16, default_factory=list)]
    #: A disk of its own that ends with the rental.
    volume: VolumeBody | None = None
    env: Annotated[dict[EnvironmentName, Argument], Field(max_length=64, default_factory=dict)]

    @model_validator(mode="after")
    def _check_workload(self) -> "WorkloadFields":
        if len({(port.container_port, port.protocol) for port in self.ports}) < len(self.ports):
            raise ValueError("a port is named twice")
        texts = [*self.command, *self.env, *self.env.values(), *self.ssh_public_keys]
        if sum(len(text.encode("utf-8", "replace")) for text in texts) > MAX_WORKLOAD_BYTES:
            raise ValueError(f"command, env and ssh_public_keys may have {MAX_WORKLOAD_BYTES} bytes together")
        return self

    def read_workload(self) -> Workload:
        volume = self.volume
        return Workload(
            command=tuple(self.command),
            env=self.env,
            image=self.image,
            ports=tuple(Port(port.container_port, port.protocol) for port in self.ports),
            ssh_public_keys=tuple(self.ssh_public_keys),
            volume=None if volume is None else Volume(volume.size_gib * _MIB_PER_GIB, volume.mount_path),
        )
