"""Opens the readers that the configuration names; loaded only where there are any."""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from host_agent.capture.controller import HttpReader
from host_agent.capture.datapoint import SCALES, CaptureReader
from host_agent.capture.settings import CaptureUnitSettings, Register
from host_agent.clock import Clock

MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 1.0, 3600.0
MAX_UNITS = 16
MAX_REGISTERS = 64
_LAST_ADDRESS = 65_535


def open_capture_reader(
    settings: CaptureUnitSettings, clock: Clock, environment: Mapping[str, str]
) -> CaptureReader:
    """Raises ConfigError: what the unit needs is not there."""
    if settings.kind == "http":
        return HttpReader(settings.unit_id, settings.url, clock, environment)
    from host_agent.capture.modbus import ModbusReader

    return ModbusReader(
        settings.unit_id, settings.host, settings.port, settings.device, settings.registers, clock
    )


def find_fault(units: list[CaptureUnitSettings]) -> str:
    """Return what is wrong with the configuration of capture units; empty when nothing is."""
    if len(units) > MAX_UNITS:
        return f"{len(units)} capture units, {MAX_UNITS} are possible"
    if len({unit.unit_id for unit in units}) < len(units):
        return "two capture units have the same unit_id"
    faults = (f"{unit.unit_id}: {fault}" for unit in units if (fault := _find_unit_fault(unit)))
    return next(faults, "")


def _find_unit_fault(unit: CaptureUnitSettings) -> str:
    if not MIN_INTERVAL_SECONDS <= unit.interval_seconds <= MAX_INTERVAL_SECONDS:
        return f"interval_seconds must be 1 to 3600, not {unit.interval_seconds}"
    if unit.kind == "http":
        return _find_url_fault(unit.url)
    if not unit.host or not 0 < unit.port <= _LAST_ADDRESS or not 0 <= unit.device <= 255:  # noqa: PLR2004
        return "modbus needs host, a port of TCP and a device of 0 to 255"
    if not 0 < len(unit.registers) <= MAX_REGISTERS:
        return f"modbus needs 1 to {MAX_REGISTERS} registers"
    if len({(each.sensor_id, each.quantity) for each in unit.registers}) < len(unit.registers):
        return "two registers are the same quantity of the same sensor"
    faults = (f"{each.sensor_id}: {fault}" for each in unit.registers if (fault := find_register_fault(each)))
    return next(faults, "")


def _find_url_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        return f"url must be an http(s) URL, not {url!r}"
    local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    return "" if parts.scheme == "https" or local else "a key must not travel in the clear: use https"


def find_register_fault(register: Register) -> str:
    """Return what is wrong with one register; empty when nothing is."""
    if register.unit not in SCALES[register.quantity][1]:
        accepted = ", ".join(SCALES[register.quantity][1])
        return f"{register.quantity} cannot be in {register.unit!r}; one of {accepted} is needed"
    if not 0 <= register.address <= _LAST_ADDRESS:
        return f"address {register.address} is not one of Modbus"
    if not register.scale.is_finite() or not register.scale:
        return f"a scale of {register.scale} shows nothing"
    if not _is_deviation(register.standard_deviation, register.relative_deviation_percent):
        return "a deviation must be a number that is not negative"
    exact = not register.standard_deviation and not register.relative_deviation_percent
    return "a deviation is needed: no sensor is exact" if exact and register.quantity != "cycle" else ""


def _is_deviation(*values: Decimal) -> bool:
    return all(value.is_finite() and value >= 0 for value in values)
