"""A connection to a simulated device."""

import json
import socket
from pathlib import Path
from typing import Any

from host_agent.gpu import GpuUnavailable
from host_agent.simulator.address import open_address

_TIMEOUT_SECONDS = 3.0


class DeviceConnection:
    """Opens on first use, and again after a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._file: Any = None

    def ask(self, **request: object) -> dict[str, Any]:
        """Raises GpuUnavailable: no device answers, or it refuses the request."""
        try:
            if self._socket is None:
                self._open()
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
            answer: dict[str, Any] = json.loads(line) if line else {"error": "connection closed"}
        except (OSError, ValueError) as error:
            self.close()
            raise GpuUnavailable("simulator_gone", str(error)) from error
        if "error" in answer:
            self.close()
            raise GpuUnavailable("simulator_refused", str(answer["error"]))
        return answer

    def close(self) -> None:
        if self._socket is not None:
            self._file.close()
            self._socket.close()
            self._socket = self._file = None

    def _open(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            with open_address(self._path) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        self._socket = connection
        self._file = connection.makefile("rwb")
