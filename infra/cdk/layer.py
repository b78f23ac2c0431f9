"""What the functions' layer must be: every pin, built for the system that Lambda runs this Python on.

Chalice says what it could not package and goes on without it; what has no wheel for that system it builds
against the libraries of the machine that synthesises. Neither would be seen before a function is called.
"""

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Amazon Linux 2 up to Python 3.11, 2023 from 3.12 on. Source: AWS, "Lambda runtimes".
GLIBC = (2, 26) if sys.version_info < (3, 12) else (2, 34)
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
_WHEEL = re.compile(r"/(?P<name>[^/]+)-(?P<version>[^/]+)\.dist-info/WHEEL$")
_TAG = re.compile(r"^Tag: \S+-(\w+)$", re.MULTILINE)
_PLATFORM = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")


class LayerUnusable(Exception):
    """Functions with this layer would fail once they need what is wrong with it."""


def check_layer(archive: Path, requirements: str, architecture: str) -> None:
    """Raises LayerUnusable: it lacks a pin of ``requirements``, or has one that Lambda cannot load."""
    faults = list(list_faults(archive, requirements, architecture))
    if faults:
        raise LayerUnusable("the functions' layer cannot be used: " + "; ".join(faults))


def list_faults(archive: Path, requirements: str, architecture: str) -> Iterator[str]:
    with zipfile.ZipFile(archive) as files:
        wheels = {
            canonicalize_name(found["name"]): (found["version"], files.read(name).decode())
            for name in files.namelist()
            if (found := _WHEEL.search(name))
        }
    for pin in read_pins(requirements):
        version, told = wheels.get(canonicalize_name(pin.name), ("", ""))
        if not version:
            yield f"{pin} is wanted and it has none: no wheel of it is for Lambda's system"
        elif not pin.specifier.contains(version):
            yield f"{pin} is wanted and it has {version}"
        elif not any(runs_there(tag, architecture) for tag in _TAG.findall(told)):
            yield f"{pin} was built for another system ({', '.join(_TAG.findall(told))})"


def read_pins(requirements: str) -> Iterator[Requirement]:
    """Yield what is wanted on the running Python."""
    for line in requirements.splitlines():
        text = line.partition("#")[0].strip()
        if text and (pin := Requirement(text)) and (pin.marker is None or pin.marker.evaluate()):
            yield pin


def runs_there(tag: str, architecture: str) -> bool:
    """Say whether a wheel of this platform can be loaded by a function. Source: PEP 600."""
    if tag == "any":
        return True
    found = _PLATFORM.fullmatch(tag.replace("manylinux2014", "manylinux_2_17"))
    if found is None or found[3] != MACHINES[architecture]:
        return False
    return (int(found[1]), int(found[2])) <= GLIBC
