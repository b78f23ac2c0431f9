"""Power of the hardware around a GPU, by GPU model: a versioned table for what no meter of ours sees. Pure.

What a server draws for each GPU (processors, memory, disks, fans): 856 W by boaviztapi 2.5.0 for AWS
p5.48xlarge, whose figure has no GPU's use in it, by its 8 GPUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

VERSION = "2026-11"
_NODE_SOURCE = "boaviztapi 2.5.0, AWS p5.48xlarge without its GPUs / 8"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodePower:
    """Of one GPU's part of its server."""

    milliwatts: int
    source: str
    version: str


#: By how a name of the catalogue begins.
_NODE_WATTS = {"H100-SXM": 107}


def find_node_power(gpu_type: str) -> NodePower | None:
    """``None``: nobody has stated it for this model; nothing is guessed."""
    watts = find_longest(_NODE_WATTS, gpu_type)
    return None if watts is None else NodePower(watts * 1000, _NODE_SOURCE, VERSION)


def list_node_powers() -> tuple[tuple[str, NodePower], ...]:
    return tuple(
        (name, NodePower(watts * 1000, _NODE_SOURCE, VERSION)) for name, watts in sorted(_NODE_WATTS.items())
    )


def find_longest(table: Mapping[str, T], gpu_type: str) -> T | None:
    """Return what stands for the longest name that ``gpu_type`` begins with.

    Exact, because fuzzy matches take one card for another: no digit may follow.
    """
    name = gpu_type.upper()
    fits = [each for each in table if name.startswith(each) and not name[len(each) :][:1].isdigit()]
    return table[max(fits, key=len)] if fits else None
