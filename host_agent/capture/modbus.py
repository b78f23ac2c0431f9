"""A unit whose controller speaks Modbus TCP (pymodbus). The register map is configuration.

Modbus knows neither instants nor deviations: a reading is as of now, and its deviation is the configured one
or, for sensors whose error grows with what they show, a part of the value.
"""

import logging
from decimal import Decimal

from host_agent.capture.datapoint import (
    BadDatapoint,
    CaptureRound,
    CaptureUnavailable,
    build_datapoint,
)
from host_agent.capture.settings import Register
from host_agent.clock import Clock
from host_agent.config import ConfigError

TIMEOUT_SECONDS = 5.0


class ModbusReader:
    """Implements `host_agent.capture.datapoint.CaptureReader`."""

    def __init__(
        self, unit_id: str, host: str, port: int, device: int, registers: list[Register], clock: Clock
    ) -> None:
        """Raises ConfigError: the library is not installed."""
        try:
            from pymodbus.client import ModbusTcpClient
        except ImportError as error:
            message = f"{unit_id}: Modbus needs pymodbus; install the wheel with its extra [modbus]"
            raise ConfigError(message) from error
        # It writes what it raises too, and not as JSON.
        logging.getLogger("pymodbus").addHandler(logging.NullHandler())
        self._unit_id, self._device, self._registers, self._clock = unit_id, device, registers, clock
        self._client = ModbusTcpClient(host, port=port, timeout=TIMEOUT_SECONDS, retries=1)

    def read(self) -> CaptureRound:
        from pymodbus.exceptions import ModbusException

        if not self._client.connected and not self._client.connect():
            raise CaptureUnavailable(f"{self._unit_id}: nothing answers Modbus")
        found, refused = [], {}
        for register in self._registers:
            try:
                raw = self._read(register)
            except ModbusException as error:
                self._client.close()
                raise CaptureUnavailable(f"{self._unit_id}: {error}") from error
            except BadDatapoint as error:
                refused[register.sensor_id] = str(error)
                continue
            value = raw * register.scale
            spread = abs(value) * register.relative_deviation_percent / 100
            now_ms = self._clock.now_ms()
            try:
                found.append(
                    build_datapoint(
                        unit_id=self._unit_id,
                        sensor_id=register.sensor_id,
                        quantity=register.quantity,
                        value=value,
                        standard_deviation=register.standard_deviation + spread,
                        unit=register.unit,
                        sampled_at_ms=now_ms,
                        now_ms=now_ms,
                    )
                )
            except BadDatapoint as error:
                refused[register.sensor_id] = str(error)
        return CaptureRound(found, refused)

    def close(self) -> None:
        self._client.close()

    def _read(self, register: Register) -> Decimal:
        """Raises ModbusException when the line fails, BadDatapoint when this register does."""
        kind = self._client.DATATYPE[register.data_type.upper()]
        ask = (
            self._client.read_input_registers
            if register.table == "input"
            else self._client.read_holding_registers
        )
        answer = ask(register.address, count=kind.value[1], device_id=self._device)
        if answer.isError():
            raise BadDatapoint(f"register {register.address}: {answer}")
        if len(answer.registers) != kind.value[1]:
            raise BadDatapoint(f"register {register.address}: {len(answer.registers)} registers came")
        number = self._client.convert_from_registers(answer.registers, kind, word_order=register.word_order)
        # The shortest text of a float is what its sender meant.
        value = Decimal(str(number))
        if not value.is_finite():
            raise BadDatapoint(f"register {register.address} shows {value}")
        return value
