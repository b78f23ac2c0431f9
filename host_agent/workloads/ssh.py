"""An SSH entry into a container whose image has no SSH server.

The host's own dropbear, with the libraries it needs and their loader, is copied into the container before it
starts and run there by the engine: it works in any Linux image, whatever its C library, and a login is inside
the container's own limits. Only keys are accepted, only for root of the container.
"""

import io
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

PORT = 22
KEY_GENERATOR = "dropbearkey"
HOME = "run/provocative-ssh"
HOST_KEY = "ssh_host_key"
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


def build_archive(server: Path, directory: Path, public_keys: list[str]) -> bytes:
    """Return a tar of the server, the host key and the authorized keys, to be unpacked at ``/``.

    Args:
        server: dropbear on the host.
        directory: of the rental; its host key is made once and stays the same for a repeated start.
        public_keys: lines of an ``authorized_keys`` file.

    Raises:
        OSError: there is no dropbear on this host.
    """
    host_key = directory / HOST_KEY
    if not host_key.exists():
        _run(KEY_GENERATOR, "-t", "ed25519", "-f", str(host_key))
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        _add_directory(archive, HOME)
        _add(archive, f"{HOME}/dropbear", server.read_bytes(), 0o755)
        for library in _list_libraries(server):
            _add(archive, f"{HOME}/{library.name}", library.read_bytes(), 0o755)
        _add(archive, f"{HOME}/{HOST_KEY}", host_key.read_bytes(), 0o600)
        _add_directory(archive, "root")
        _add_directory(archive, "root/.ssh")
        _add(archive, "root/.ssh/authorized_keys", "".join(f"{key}\n" for key in public_keys).encode(), 0o600)
    return target.getvalue()


def run_server(api: Any, container: str, server: Path) -> None:
    """Start the server in a running container. A second one finds its port taken and ends."""
    loader = next(each for each in _list_libraries(server) if each.name.startswith("ld-"))
    program = [f"/{HOME}/{loader.name}", "--library-path", f"/{HOME}", f"/{HOME}/dropbear"]
    options = ["-F", "-E", "-s", "-m", "-r", f"/{HOME}/{HOST_KEY}", "-p", str(PORT), "-P", f"/{HOME}/pid"]
    made = api.exec_create(container, [*program, *options], user="0")
    api.exec_start(made["Id"], detach=True)


def _list_libraries(server: Path) -> list[Path]:
    """Return what the server loads, the loader itself included. Raises OSError: it is not installed."""
    return [Path(each) for each in _LIBRARY.findall(_run("ldd", str(server)))]


def _add_directory(archive: tarfile.TarFile, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o700
    archive.addfile(info)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode()
