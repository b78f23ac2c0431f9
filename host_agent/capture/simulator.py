"""``python -m host_agent.capture.simulator``: a capture unit for development, on HTTP and on Modbus TCP.

A temperature-swing plant: for two thirds of a cycle the sorbent takes up CO2 in ambient air, for the rest it
is heated and gives it off. Everything follows from the seed and the time, so what was read can be checked.
Listens on 127.0.0.1 alone.
"""

import argparse
import asyncio
import json
import math
import random
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CYCLE_SECONDS = 3600
_DESORPTION_FROM = 2 / 3
#: Given off per cycle, and what that takes. Heat and electricity per kg are those of published plants of this
#: kind: 1500 kWh and 500 kWh a tonne (Deutz and Bardow 2021, Nature Energy 6, 203).
KG_PER_CYCLE = 20.0
HEAT_KWH_PER_KG, ELECTRICITY_KWH_PER_KG = 1.5, 0.5
#: CO2 in the gas that is given off, and in ambient air: 420 ppm by volume times 44 / 29 by molar mass.
PRODUCT_MASS_FRACTION, AMBIENT_MASS_FRACTION = 0.985, 0.00064
AMBIENT_CELSIUS, HOT_CELSIUS = 15.0, 95.0


@dataclass(frozen=True, slots=True)
class Sensor:
    sensor_id: str
    quantity: str
    unit: str
    standard_deviation: float


SENSORS = (
    Sensor("FT-101", "gas_mass_flow", "kg/h", 0.5),
    Sensor("AT-101", "co2_mass_fraction", "%", 0.2),
    Sensor("CY-101", "cycle", "1", 0.0),
    Sensor("TT-101", "temperature", "degC", 0.3),
    Sensor("QT-101", "heat", "kWh", 0.05),
    Sensor("ET-101", "electricity", "kWh", 0.02),
    Sensor("WT-101", "tank_mass", "kg", 0.5),
)


def measure(sensor_id: str, at_ms: int, seed: int = 0) -> float:
    """Return what a sensor shows at an instant: the truth and the sensor's own noise."""
    sensor = next(each for each in SENSORS if each.sensor_id == sensor_id)
    noise = random.Random(f"{seed}:{sensor_id}:{at_ms}").gauss(0.0, sensor.standard_deviation)  # noqa: S311
    return compute_truth(sensor_id, at_ms) + noise


def compute_truth(sensor_id: str, at_ms: int) -> float:
    """Return what a sensor without noise would show (in the unit of `SENSORS`)."""
    cycles = at_ms / 1000 / CYCLE_SECONDS
    number, phase = math.floor(cycles), cycles % 1
    progress = max(0.0, (phase - _DESORPTION_FROM) / (1 - _DESORPTION_FROM))
    # A bell over the desorption; its integral is the share of the cycle's CO2 that is out by then.
    share = (1 - math.cos(math.pi * progress)) / 2
    captured_kg = (number % 1000 + share) * KG_PER_CYCLE
    seconds = CYCLE_SECONDS * (1 - _DESORPTION_FROM)
    flow_kg_per_hour = KG_PER_CYCLE * math.pi / 2 * math.sin(math.pi * progress) / seconds * 3600
    return {
        "FT-101": flow_kg_per_hour / PRODUCT_MASS_FRACTION,
        "AT-101": 100 * (PRODUCT_MASS_FRACTION if progress else AMBIENT_MASS_FRACTION),
        "CY-101": float(number),
        "TT-101": AMBIENT_CELSIUS + (HOT_CELSIUS - AMBIENT_CELSIUS) * math.sin(math.pi / 2 * progress),
        "QT-101": captured_kg * HEAT_KWH_PER_KG,
        "ET-101": captured_kg * ELECTRICITY_KWH_PER_KG,
        "WT-101": captured_kg,
    }[sensor_id]


def render_answer(at_ms: int, seed: int = 0) -> bytes:
    """Return what the HTTP controller answers."""
    instant = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    datapoints = [
        {
            "sensor_id": sensor.sensor_id,
            "quantity": sensor.quantity,
            "value": round(measure(sensor.sensor_id, at_ms, seed), 4),
            "unit": sensor.unit,
            "standard_deviation": sensor.standard_deviation,
            "sampled_at": instant,
        }
        for sensor in SENSORS
    ]
    return json.dumps({"datapoints": datapoints}).encode()


def build_http_server(
    port: int, api_key: str, now_ms: Callable[[], int], seed: int = 0
) -> ThreadingHTTPServer:
    """Return a server on loopback that wants ``api_key`` as a bearer token, if there is one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            allowed = not api_key or self.headers.get("Authorization") == f"Bearer {api_key}"
            body = render_answer(now_ms(), seed) if allowed else b'{"error": "unauthorized"}'
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


async def serve_modbus(
    port: int, now_ms: Callable[[], int], ready: Callable[[int], None], stopped: asyncio.Event, seed: int = 0
) -> None:
    """Serve each sensor of `SENSORS` as a float32 in two input registers, from 0, until ``stopped``."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    async def refresh(
        _code: int, first: int, _address: int, _count: int, registers: list[int], _values: object
    ) -> None:
        at_ms = now_ms()
        for place, sensor in enumerate(SENSORS):
            words = struct.unpack(">HH", struct.pack(">f", measure(sensor.sensor_id, at_ms, seed)))
            for offset, word in enumerate(words):
                registers[place * 2 + offset - first] = word

    data = [SimData(0, count=len(SENSORS) * 2, datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(SimDevice(1, simdata=data, action=refresh), address=("127.0.0.1", port))
    await server.listen()
    ready(server.transport.sockets[0].getsockname()[1])
    await stopped.wait()
    await server.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(prog="capture-simulator")
    parser.add_argument("--http-port", type=int, default=8502)
    parser.add_argument("--modbus-port", type=int, default=8503)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    server = build_http_server(options.http_port, options.api_key, now_ms, options.seed)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def say(port: int) -> None:
        print(f"http://127.0.0.1:{server.server_address[1]}/ and Modbus on {port}", flush=True)  # noqa: T201

    asyncio.run(serve_modbus(options.modbus_port, now_ms, say, asyncio.Event(), options.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
