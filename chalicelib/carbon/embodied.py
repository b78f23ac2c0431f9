"""Emissions of making the hardware, spread over its life: a versioned table, and SCI's amortisation. Pure.

``M = TE * (TiR / EL) * (RR / ToR)``, SCI specification v1.1 (ISO/IEC 21031).

The table, in mg CO2e per GPU, is computed with boaviztapi 2.5.0. ``server``: an eighth of a whole server by
its components, with the source's own interval. ``board``: the board alone, for which the source has one
figure. For one H100 it is 575 kg, and 164 kg as its manufacturer declares: a board's interval reaches down in
this proportion. A smaller scope is no smaller footprint, so it is always shown.
"""

from dataclasses import dataclass
from typing import Literal

from chalicelib.carbon.hardware import find_longest
from chalicelib.core.errors import NotFound
from chalicelib.core.methodology import Constant

Scope = Literal["server", "board"]

VERSION = "2026-11"
#: Six years, the life that the sources of the table assume.
LIFE_SECONDS = 52_560 * 3600
_BOAVIZTA = "boaviztapi 2.5.0"
_MG_PER_KG = 1_000_000
_GPUS_PER_SERVER = 8
_BOARD_LOW, _BOARD_VALUE = 164, 575
CONSTANTS = (
    Constant("LIFE_SECONDS", "life of the hardware", LIFE_SECONDS, "s", "boaviztapi", "2.5.0"),
    Constant(
        "_GPUS_PER_SERVER", "GPUs of a server", _GPUS_PER_SERVER, "GPUs", "AWS p5, p4de and p4d", "undated"
    ),
    Constant(
        "_BOARD_LOW",
        "an H100 board as declared: the low bound of a board",
        _BOARD_LOW,
        "kg CO2e",
        "the manufacturer's declaration of eight boards, 1,312 kg; not checked by us",
        "undated",
    ),
    Constant(
        "_BOARD_VALUE",
        "the same board as computed",
        _BOARD_VALUE,
        "kg CO2e",
        "boaviztapi, gpu_specs.csv",
        "2.5.0",
    ),
)


@dataclass(frozen=True, slots=True)
class Interval:
    """mg CO2e; ``low <= value <= high``."""

    low_mg: int
    value_mg: int
    high_mg: int


@dataclass(frozen=True, slots=True)
class EmbodiedFactor:
    """Of one GPU model; ``total`` is for one GPU with what ``scope`` names."""

    model: str
    total: Interval
    scope: Scope
    source: str
    version: str


def _server(low_kg: int, value_kg: int, high_kg: int) -> Interval:
    low, value, high = (kg * _MG_PER_KG // _GPUS_PER_SERVER for kg in (low_kg, value_kg, high_kg))
    return Interval(low, value, high)


def _board(value_kg: int) -> Interval:
    value = value_kg * _MG_PER_KG
    return Interval(value * _BOARD_LOW // _BOARD_VALUE, value, value)


#: By how a name of the catalogue begins.
_TABLE: dict[str, tuple[Interval, Scope, str]] = {
    "H100-SXM": (_server(7_673, 10_300, 16_800), "server", f"{_BOAVIZTA}, AWS p5.48xlarge / 8"),
    "A100-SXM-80": (_server(6_221, 7_600, 10_470), "server", f"{_BOAVIZTA}, AWS p4de.24xlarge / 8"),
    "A100-SXM-40": (_server(4_233, 5_600, 8_481), "server", f"{_BOAVIZTA}, AWS p4d.24xlarge / 8"),
    "H100-PCIE": (_board(567), "board", f"{_BOAVIZTA}, gpu_specs.csv"),
    "H200": (_board(1067), "board", f"{_BOAVIZTA}, gpu_specs.csv"),
    "B200": (_board(1415), "board", f"{_BOAVIZTA}, gpu_specs.csv"),
    "L40S": (_board(277), "board", f"{_BOAVIZTA}, gpu_specs.csv"),
}


def find_embodied(gpu_type: str) -> EmbodiedFactor:
    """Raises NotFound (``unknown_embodied_factor``): the table does not have it; nothing is guessed."""
    found = find_longest(_TABLE, gpu_type)
    if found is None:
        raise NotFound(f"No embodied emissions are known for {gpu_type}.", code="unknown_embodied_factor")
    total, scope, source = found
    return EmbodiedFactor(gpu_type, total, scope, source, VERSION)


def list_embodied() -> list[EmbodiedFactor]:
    """Return the whole table; ``model`` is how a name of the catalogue begins."""
    return [EmbodiedFactor(name, *row, VERSION) for name, row in _TABLE.items()]


def amortise(
    total: Interval, *, reserved_seconds: int, life_seconds: int, reserved: int, of_resources: int
) -> Interval:
    """Return the share of a reservation: ``reserved`` of ``of_resources`` equal parts for so long.

    The low bound is rounded down, the value half up, the high bound up.

    Raises:
        ValueError: a time or a part is negative, or the whole is nothing.
    """
    if reserved_seconds < 0 or reserved < 0 or life_seconds <= 0 or of_resources <= 0:
        raise ValueError("a share is of something, and not negative")
    part, whole = reserved_seconds * reserved, life_seconds * of_resources
    return Interval(
        total.low_mg * part // whole,
        (2 * total.value_mg * part + whole) // (2 * whole),
        -(-total.high_mg * part // whole),
    )
