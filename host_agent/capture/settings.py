"""Tables ``[[capture_units]]`` of the configuration."""

from decimal import Decimal
from typing import Literal

import msgspec

from chalicelib.wire.v1 import CaptureQuantity, Id


class Register(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sensor on Modbus: where it stands and what its number means: ``raw * scale`` in ``unit``."""

    sensor_id: Id
    quantity: CaptureQuantity
    unit: str
    address: int
    data_type: Literal["int16", "uint16", "int32", "uint32", "float32", "float64"] = "uint16"
    table: Literal["input", "holding"] = "input"
    word_order: Literal["big", "little"] = "big"
    scale: Decimal = Decimal(1)
    standard_deviation: Decimal = Decimal(0)
    #: Part of the value, added to ``standard_deviation``.
    relative_deviation_percent: Decimal = Decimal(0)


class CaptureUnitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``http`` needs ``url``; ``modbus`` needs ``host`` and ``registers``."""

    unit_id: Id
    kind: Literal["http", "modbus"]
    url: str = ""
    host: str = ""
    port: int = 502
    #: Modbus unit identifier.
    device: int = 1
    interval_seconds: float = 60.0
    registers: list[Register] = []
