"""A Docker-compatible engine of this run: Podman's service on a socket, with one image from local files.

No registry is asked: the image is a root file system of busybox alone. `make engine` installs what is needed.
"""

import contextlib
import fcntl
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

IMAGE = "localhost/tenant:1"
_LOCK = Path("/run/lock/provocative-test-engine")
_NEEDED = ("podman", "runc", "busybox", "nft", "mkfs.ext4", "dropbear", "dbclient")
# A sandbox that forbids raising limits and runs cgroup v1 needs runc and limits that are stated. Books and
# locks are this engine's own: an engine that finds those of another, killed or still tidying up, takes its
# containers for stopped and leaves their networks behind.
_CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_config_dir = "{home}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{home}/books"
lock_type = "file"
exit_command_delay = 0
"""


def find_obstacle() -> str:
    if os.geteuid() != 0:
        return "containers need root: run the tests as root"
    missing = [
        each for each in _NEEDED if shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if missing:
        return f"no container engine here ({', '.join(missing)} missing): run `make engine`"
    if "containers:" not in Path("/etc/subuid").read_text():
        return "no users to map containers to in /etc/subuid: run `make engine`"
    return ""


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory):
    obstacle = find_obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with hold_machine():
        remove_leftovers()
        yield from serve_engine(tmp_path_factory.mktemp("engine"))


@contextlib.contextmanager
def hold_machine() -> Iterator[None]:
    """Wait until no other run uses this machine's bridges and packet filter: engines share them."""
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers() -> None:
    """Remove the tenants' networks of a run that was killed: the same addresses would lead into them."""
    links = json.loads(run("ip", "-j", "-d", "link"))
    bridges = {each["ifname"] for each in links if each["ifname"].startswith("pvc-")}
    for each in links:
        if each["ifname"] in bridges or each.get("master") in bridges:
            run("ip", "link", "delete", each["ifname"])
    subprocess.run(["nft", "delete", "table", "inet", "provocative"], capture_output=True, check=False)


def serve_engine(home: Path) -> Iterator[str]:
    (home / "containers.conf").write_text(_CONTAINERS_CONF.format(home=home))
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/storage"\nrunroot = "{home}/run"\n'
    )
    environment = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "HOME": str(home),
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "XDG_RUNTIME_DIR": str(home),
    }
    socket = home / "engine.sock"
    with (home / "log").open("wb") as log:
        service = subprocess.Popen(
            ["podman", "system", "service", "--time", "0", f"unix://{socket}"],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for_engine(socket, service, home / "log")
        subprocess.run(
            ["podman", "import", "-", IMAGE],
            env=environment,
            input=build_root(),
            capture_output=True,
            check=True,
        )
        with contextlib.closing(docker.DockerClient(base_url=f"unix://{socket}", timeout=60)) as client:
            if left := find_links_left_by(client):
                pytest.skip(
                    f"the engine here leaves {left} behind its networks: {(home / 'log').read_text()}"
                )
            yield f"unix://{socket}"
            for container in client.containers.list(all=True):
                container.remove(force=True, v=True)
    finally:
        service.terminate()
        service.wait(20)
        subprocess.run(["nft", "delete", "table", "inet", "provocative"], capture_output=True, check=False)
        subprocess.run(
            ["podman", "system", "reset", "--force"], env=environment, capture_output=True, check=False
        )


def find_links_left_by(client: docker.DockerClient) -> set[str]:
    """Run and remove a container of no one with a network of its own; return the links that remain of it."""
    before = list_links()
    network = client.networks.create("probe", driver="bridge")
    container = client.containers.run(IMAGE, ["sleep", "60"], network="probe", detach=True)
    container.remove(force=True, v=True)
    network.remove()
    return list_links() - before


def list_links() -> set[str]:
    return {each["ifname"] for each in json.loads(run("ip", "-j", "link"))}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait_for_engine(socket: Path, service: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not socket.is_socket():
        assert service.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def build_root() -> bytes:
    """Return a root file system with busybox and the files that a login needs."""
    target = io.BytesIO()
    busybox = Path(shutil.which("busybox")).read_bytes()
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in ("bin", "etc", "root", "tmp", "proc", "sys", "dev", "run"):
            add(archive, name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        add(archive, "bin/busybox", tarfile.REGTYPE, busybox, mode=0o755)
        for applet in applets:
            if applet != "busybox":
                add(archive, f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
        add(archive, "etc/passwd", tarfile.REGTYPE, b"root:x:0:0:root:/root:/bin/sh\n")
        add(archive, "etc/group", tarfile.REGTYPE, b"root:x:0:\n")
    return target.getvalue()


def add(archive, name: str, kind: bytes, content: bytes = b"", mode: int = 0o644, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, len(content), link
    archive.addfile(info, io.BytesIO(content))
