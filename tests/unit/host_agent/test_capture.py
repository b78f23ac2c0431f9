"""Capture units: exact units, honest refusals, a dead controller that stops nobody, each reading once."""

import asyncio
import contextlib
import json
import socket
import threading
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_agent.capture.controller import KEY_VARIABLE, HttpReader
from host_agent.capture.datapoint import (
    MAX_AGE_MS,
    MAX_AHEAD_MS,
    SCALES,
    BadDatapoint,
    CaptureUnavailable,
    build_datapoint,
)
from host_agent.capture.modbus import ModbusReader
from host_agent.capture.settings import Register
from host_agent.capture.simulator import (
    CYCLE_SECONDS,
    KG_PER_CYCLE,
    SENSORS,
    build_http_server,
    compute_truth,
    measure,
    render_answer,
    serve_modbus,
)
from tests.unit.host_agent.fakes import START_MS, FakeClock

GOOD = {
    "sensor_id": "FT-101",
    "quantity": "gas_mass_flow",
    "value": 12.5,
    "unit": "kg/h",
    "standard_deviation": 0.25,
    "sampled_at": "2027-01-15T08:00:00Z",
}
NOW_MS = 1_800_000_000_000


def build(**told):
    facts = {
        "unit_id": "u",
        "sensor_id": "s",
        "quantity": "gas_mass_flow",
        "value": Decimal(1),
        "standard_deviation": Decimal("0.1"),
        "unit": "kg/h",
        "sampled_at_ms": NOW_MS,
        "now_ms": NOW_MS,
    }
    return build_datapoint(**{**facts, **told})


@given(
    choice=st.sampled_from([(q, unit) for q, (_, units) in SCALES.items() for unit in units]),
    value=st.decimals("-1e6", "1e6", places=6),
)
def test_what_is_stored_is_what_was_told_to_half_a_stored_unit(choice, value):
    quantity, unit = choice
    scale = SCALES[quantity][1][unit]
    datapoint = build(quantity=quantity, unit=unit, value=value)
    exact = Fraction(value) * scale.factor + scale.offset
    assert abs(datapoint.value - exact) <= Fraction(1, 2)
    assert 0 <= datapoint.standard_deviation - Fraction(1, 10) * scale.factor < 1, "never surer than told"


def test_units_of_the_trade_become_the_integers_that_physics_says():
    assert build(value=Decimal("0.1"), unit="g/s").value == 360_000
    assert build(quantity="heat", unit="kWh", value=Decimal("1.5")).value == 5_400_000
    assert build(quantity="temperature", unit="degC", value=Decimal("-273.15")).value == 0
    assert build(quantity="co2_volume_fraction", unit="%", value=Decimal("0.042")).value == 420_000
    assert build(quantity="co2_volume_fraction", unit="ppm", value=Decimal(420)).value == 420_000


@pytest.mark.parametrize(
    "told",
    [
        {"unit": "lb/h"},
        {"value": Decimal("NaN")},
        {"value": Decimal("Infinity")},
        {"value": Decimal("1e1000000")},
        {"value": Decimal("1e20")},
        {"value": Decimal("-1e20")},
        {"standard_deviation": Decimal("-0.1")},
        {"standard_deviation": Decimal("NaN")},
        {"standard_deviation": Decimal("1e25")},
        {"sampled_at_ms": NOW_MS + MAX_AHEAD_MS + 1},
        {"sampled_at_ms": NOW_MS - MAX_AGE_MS - 1},
    ],
)
def test_what_is_no_reading_is_refused(told):
    with pytest.raises(BadDatapoint):
        build(**told)


class Controller:
    """A controller on loopback that answers as the test says."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, b"{}", []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, self.headers.get("Authorization")))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/now?site=1"

    def answer(self, *datapoints) -> None:
        self.body = json.dumps({"datapoints": datapoints}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def controller():
    with contextlib.closing(Controller()) as running:
        yield running


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def reader(controller, clock):
    environment = {KEY_VARIABLE: "the-key"}
    with contextlib.closing(HttpReader("unit-1", controller.url, clock, environment)) as opened:
        yield opened


def test_one_broken_reading_does_not_silence_the_others(controller, reader):
    controller.answer(
        GOOD,
        {**GOOD, "sensor_id": "no-deviation", "standard_deviation": None},
        {**GOOD, "sensor_id": "text", "value": "a lot"},
        {**GOOD, "sensor_id": "stale", "sampled_at": "2020-01-01T00:00:00Z"},
        {**GOOD, "sensor_id": "zoneless", "sampled_at": "2027-01-15T08:00:00"},
        {**GOOD, "sensor_id": "unknown", "quantity": "mood"},
        "nonsense",
        {**GOOD, "sensor_id": "TT-1", "quantity": "temperature", "unit": "degC", "value": 20},
    )
    found = reader.read()
    assert [(each.sensor_id, each.value, each.unit) for each in found.datapoints] == [
        ("FT-101", 12_500_000, "milligrams_per_hour"),
        ("TT-1", 293_150, "millikelvin"),
    ]
    assert set(found.refused) == {"#1", "#2", "stale", "zoneless", "#5", "#6"}
    assert controller.asked == [("/v1/now?site=1", "Bearer the-key")]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"datapoints": 1}', b'{"datapoints": []}', b"[" * 9999, b"\xff"]
)
def test_an_answer_that_is_no_answer_is_a_failure_and_not_an_empty_list(controller, reader, body):
    controller.body = body
    with pytest.raises(CaptureUnavailable):
        reader.read()


def test_a_controller_that_refuses_or_floods_or_is_away_is_a_failure(controller, reader, clock):
    controller.status = 401
    with pytest.raises(CaptureUnavailable, match="401"):
        reader.read()
    controller.status, controller.body = 200, b'{"datapoints": [' + b" " * 2_000_000
    with pytest.raises(CaptureUnavailable, match="more than"):
        reader.read()
    controller.answer(*[GOOD] * 130)
    found = reader.read()
    assert len(found.datapoints) == 128
    assert list(found.refused) == ["#128-#129"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = HttpReader("unit-2", f"http://127.0.0.1:{closed.getsockname()[1]}/", clock, {})
        with pytest.raises(CaptureUnavailable, match="unit-2"):
            away.read()


def test_the_simulated_plant_is_read_over_http_with_its_key(clock):
    server = build_http_server(0, "k", lambda: clock.ms, seed=7)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        stranger = HttpReader("u", url, clock, {})
        with pytest.raises(CaptureUnavailable, match="401"):
            stranger.read()
        stranger.close()
        opened = HttpReader("u", url, clock, {KEY_VARIABLE: "k"})
        found = opened.read()
        opened.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not found.refused
    assert {each.quantity for each in found.datapoints} == set(SCALES) - {"co2_volume_fraction"}
    by_sensor = {each.sensor_id: each for each in found.datapoints}
    mass = measure("WT-101", clock.ms, seed=7)
    assert abs(by_sensor["WT-101"].value - mass * 1000) < 1


def test_the_simulated_plant_gives_off_what_its_flow_says():
    start = 5 * CYCLE_SECONDS * 1000
    steps = range(start, start + CYCLE_SECONDS * 1000, 1000)
    flowed = sum(compute_truth("FT-101", at) * compute_truth("AT-101", at) / 100 / 3600 for at in steps)
    gained = compute_truth("WT-101", start + CYCLE_SECONDS * 1000) - compute_truth("WT-101", start)
    assert abs(flowed - KG_PER_CYCLE) < 0.01
    assert abs(gained - KG_PER_CYCLE) < 1e-6
    assert render_answer(start, 1) == render_answer(start, 1) != render_answer(start, 2)


@contextlib.contextmanager
def run_modbus(clock, seed=0):
    """The simulated plant's Modbus side, in a thread with a loop of its own."""
    ready, ports, loops = threading.Event(), [], []

    def say(port):
        ports.append(port)
        ready.set()

    async def serve():
        stopped = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopped))
        await serve_modbus(0, lambda: clock.ms, say, stopped, seed)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    try:
        yield ports[0]
    finally:
        loop, stopped = loops[0]
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20)


def list_registers() -> list[Register]:
    return [
        Register(
            sensor.sensor_id,
            sensor.quantity,
            sensor.unit,
            place * 2,
            "float32",
            standard_deviation=Decimal(str(sensor.standard_deviation)),
        )
        for place, sensor in enumerate(SENSORS)
    ]


def test_the_simulated_plant_is_read_over_modbus(clock):
    missing = Register("XX-1", "heat", "kWh", 500, standard_deviation=Decimal(1))
    relative = Register(
        "FT-rel", "gas_mass_flow", "kg/h", 0, "float32", relative_deviation_percent=Decimal(2)
    )
    clock.ms = START_MS - START_MS % (CYCLE_SECONDS * 1000) + 3_000_000
    with run_modbus(clock, seed=3) as port:
        reader = ModbusReader("u", "127.0.0.1", port, 1, [*list_registers(), missing, relative], clock)
        found = reader.read()
        reader.close()
    assert set(found.refused) == {"XX-1"}
    by_sensor = {each.sensor_id: each for each in found.datapoints}
    flow = measure("FT-101", clock.ms, seed=3) * 1e6
    assert abs(by_sensor["FT-101"].value - flow) < flow * 1e-6, "to the precision of a float32"
    assert by_sensor["FT-101"].standard_deviation == 500_000
    assert abs(by_sensor["FT-rel"].standard_deviation - flow * 0.02) < flow * 1e-6
    assert by_sensor["CY-101"].standard_deviation == 0
    assert {each.sampled_at_ms for each in found.datapoints} == {clock.ms}


def test_a_modbus_controller_that_is_away_is_a_failure_and_comes_back(clock):
    with run_modbus(clock) as port:
        reader = ModbusReader("u", "127.0.0.1", port, 1, list_registers(), clock)
        reader.read()
    with pytest.raises(CaptureUnavailable):
        reader.read()
    reader.close()
