"""Options that say what is run, into members of a request: of a rental, and of a template."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from provocative.cli.parsing import parse_gib
from provocative.requests import Port, Volume, Workload

_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")
_MAX_PORT = 65_535
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")


def read_workload(
    *,
    image: str | None = None,
    command: Sequence[str] | None = None,
    env: Sequence[str] | None = None,
    ports: Sequence[str] | None = None,
    ssh_keys: Sequence[Path] | None = None,
    volume: str | None = None,
) -> Workload:
    """Return only what was given: the rest is the template's, or the API's default.

    Raises:
        typer.BadParameter: one of them is not written as it must be.
    """
    workload: Workload = {}
    if image is not None:
        workload["image"] = image
    if command:
        workload["command"] = list(command)
    if env:
        workload["env"] = read_env(env, os.environ)
    if ports:
        workload["ports"] = [read_port(text) for text in ports]
    if ssh_keys:
        workload["ssh_public_keys"] = [line for path in ssh_keys for line in read_ssh_keys(path)]
    if volume is not None:
        workload["volume"] = read_volume(volume)
    return workload


def read_port(text: str) -> Port:
    match = _PORT.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= _MAX_PORT:
        raise typer.BadParameter(f"'{text}' is no port; write 8080 or 5353/udp.", param_hint="--port")
    return {"container_port": int(match[1]), "protocol": "udp" if match[2] == "udp" else "tcp"}


def read_env(pairs: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """``NAME`` alone takes its value from this process, so that a secret need not be typed."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            if name not in environ:
                raise typer.BadParameter(
                    f"{name} is not set here; write {name}=VALUE, or set it first.", param_hint="--env"
                )
            value = environ[name]
        found[name] = value
    return found


def read_volume(text: str) -> Volume:
    size, colon, mount_path = text.partition(":")
    if not colon or not mount_path.startswith("/"):
        raise typer.BadParameter(f"'{text}' is no volume; write 500GiB:/data.", param_hint="--volume")
    return {"size_gib": parse_gib(size), "mount_path": mount_path}


def read_ssh_keys(path: Path) -> list[str]:
    """Return the public keys of a file, one a line, as in ``authorized_keys``.

    Raises:
        typer.BadParameter: it cannot be read, holds none, or is a private key.
    """
    try:
        text = path.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise typer.BadParameter(f"{path} cannot be read: {reason}.", param_hint="--ssh-key") from None
    if "PRIVATE KEY-----" in text:
        raise typer.BadParameter(
            f"{path} is a private key and was not sent; give the public one, {path}.pub.",
            param_hint="--ssh-key",
        )
    keys = [line.strip() for line in text.splitlines() if line.strip().startswith(_KEY_TYPES)]
    if not keys:
        raise typer.BadParameter(f"{path} holds no public SSH key.", param_hint="--ssh-key")
    return keys
