"""What a host needs for its workloads beside the agent; used by ``provocative-agent doctor``."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from host_agent.config import Config
from host_agent.findings import Finding
from host_agent.workloads.settings import SSH_SERVER

#: Administrators' programs are not always on the path of a service or of sudo.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PROGRAMS = {
    "nft": "install nftables: without it no container is started",
    "mkfs.ext4": "install e2fsprogs: without it no volume can be made",
    SSH_SERVER: "install dropbear-bin: without it rentals that ask for SSH fail",
}


def examine_runtime(config: Config) -> Iterator[Finding]:
    """Yield what is there and what is missing for the runtime that is configured."""
    if config.runtime == "process":
        detail = "processes without isolation, for development"
        yield Finding("runtime", ok=True, detail=detail)
        return
    if config.runtime == "systemd":
        yield Finding(
            "runtime",
            ok=Path("/run/systemd/system").is_dir(),  # as sd_booted(3) asks
            detail="units of systemd",
            advice='systemd does not run this machine: use runtime = "container"',
        )
        return
    yield from _examine_engine(config)
    for program, advice in _PROGRAMS.items():
        found = shutil.which(program, path=_PATH)
        yield Finding(program, ok=found is not None, detail=found or "not found", advice=advice)


def _examine_engine(config: Config) -> Iterator[Finding]:
    url = config.containers.engine_url
    try:
        import docker
    except ImportError:
        advice = "install the agent with its extra: pip install 'provocative-host-agent[containers]'"
        yield Finding("container engine", ok=False, detail="the Docker SDK is missing", advice=advice)
        return
    advice = "start Docker or Podman's socket, or set containers.engine_url"
    if url.startswith("unix://") and not Path(url.removeprefix("unix://")).is_socket():
        yield Finding("container engine", ok=False, detail=f"{url}: there is no such socket", advice=advice)
        return
    try:
        with contextlib.closing(docker.APIClient(base_url=url, version="auto", timeout=10)) as api:
            version, information = api.version(), api.info()
    except docker.errors.DockerException as error:
        yield Finding("container engine", ok=False, detail=f"{url}: {error}", advice=advice)
        return
    names = [str(each.get("Name", "")) for each in version.get("Components") or []]
    detail = f"{', '.join(names)} {version.get('Version', '')} at {url}"
    yield Finding("container engine", ok=True, detail=detail)
    options = [str(each).split(",")[0] for each in information.get("SecurityOptions") or []]
    podman = any("podman" in name.lower() for name in names)
    mapped = podman or "name=userns" in options or "name=rootless" in options
    yield Finding(
        "user namespaces",
        ok=mapped or not config.containers.user_namespaces,
        detail="each container has its own users" if podman else "on" if mapped else "off",
        advice='set "userns-remap": "default" in daemon.json; until then no container is started',
    )
