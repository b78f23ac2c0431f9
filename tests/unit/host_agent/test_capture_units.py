"""What an agent does with capture units: told once, kept durable, configured by file, loaded only then."""

import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest

from host_agent.capture.datapoint import CaptureRound, CaptureUnavailable
from host_agent.capture.modbus import ModbusReader
from host_agent.capture.opening import find_fault, open_capture_reader
from host_agent.capture.poller import CapturePoller
from host_agent.capture.settings import CaptureUnitSettings, Register
from host_agent.config import ConfigError, load_config
from tests.unit.host_agent.fakes import FakeClock, Host
from tests.unit.host_agent.test_capture import NOW_MS, build


@pytest.fixture
def clock():
    return FakeClock()


class FakeUnit:
    def __init__(self) -> None:
        self.round: CaptureRound | Exception = CaptureRound([], {})

    def read(self) -> CaptureRound:
        if isinstance(self.round, Exception):
            raise self.round
        return self.round

    def close(self) -> None:
        pass


def test_a_reading_is_handed_on_once_and_again_until_it_is_durable(clock):
    unit, handed, durable = FakeUnit(), [], [False, True, True]
    poller = CapturePoller("u", unit, lambda new: handed.append(new) or durable.pop(0), clock, 30)
    first, second = build(), build(sampled_at_ms=NOW_MS + 1000)
    unit.round = CaptureRound([first], {"broken": "why"})
    assert poller.step() == 30
    assert poller.describe().error
    poller.step()
    poller.step()
    unit.round = CaptureRound([first, second, second], {})
    poller.step()
    assert handed == [[first], [first], [second]]
    report = poller.describe()
    assert (report.datapoints, report.refused, report.error) == (2, 3, "")
    unit.round = CaptureUnavailable("u: nothing answers")
    with pytest.raises(CaptureUnavailable):
        poller.step()
    assert poller.describe().error == "u: nothing answers"


def test_what_a_unit_showed_is_spooled_like_any_record(tmp_path):
    host = Host(tmp_path)
    assert host.agent.record_capture([build()])
    host.restart()
    [pending] = host.outbox.take(10)
    assert pending.record.capture == [build()]


def configure(tmp_path, units: str):
    path = tmp_path / "agent.toml"
    path.write_text(f'api_url = "http://127.0.0.1:9"\nstate_dir = "{tmp_path}"\n{units}')
    return load_config(path, {})


MODBUS = """
[[capture_units]]
unit_id = "north"
kind = "modbus"
host = "127.0.0.1"
[[capture_units.registers]]
sensor_id = "FT-101"
quantity = "gas_mass_flow"
unit = "kg/h"
address = 4
scale = 0.1
relative_deviation_percent = 1.5
"""


def test_units_are_configured_in_the_file(tmp_path, clock):
    config = configure(tmp_path, MODBUS)
    [unit] = config.capture_units
    assert unit.registers[0].scale == Decimal("0.1")
    reader = open_capture_reader(unit, clock, {})
    assert isinstance(reader, ModbusReader)
    reader.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kg/h", "lb/h", "north: FT-101: gas_mass_flow cannot be in 'lb/h'"),
        ("address = 4", "address = 70000", "address 70000"),
        ("relative_deviation_percent = 1.5", "", "a deviation is needed"),
        ("relative_deviation_percent = 1.5", "standard_deviation = -1", "not negative"),
        ("relative_deviation_percent = 1.5", "standard_deviation = nan", "must be a number"),
        ("scale = 0.1", "scale = 0", "a scale of 0"),
        ("scale = 0.1", "scale = inf", "a scale of Infinity"),
        ('host = "127.0.0.1"', "", "needs host"),
        ('kind = "modbus"', 'kind = "modbus"\ninterval_seconds = 0.1', "interval_seconds"),
        ('kind = "modbus"', 'kind = "telepathy"', "kind"),
        ('kind = "modbus"', 'kind = "http"\nurl = "ftp://x"', "url must be"),
        ('kind = "modbus"', 'kind = "http"\nurl = "https://x:99999/"', "url must be"),
        ('kind = "modbus"', 'kind = "http"\nurl = "http://plant.example/"', "use https"),
    ],
)
def test_a_wrong_unit_is_named_in_one_line(tmp_path, old, new, said):
    with pytest.raises(ConfigError, match=said) as caught:
        configure(tmp_path, MODBUS.replace(old, new))
    assert "\n" not in str(caught.value)


def test_too_many_or_the_same_units_are_refused():
    unit = CaptureUnitSettings("u", "http", url="https://a.example/")
    assert "same unit_id" in find_fault([unit, unit])
    many = [msgspec.structs.replace(unit, unit_id=f"u{n}") for n in range(17)]
    assert "16 are possible" in find_fault(many)
    assert find_fault(many[:16]) == ""


def test_a_register_that_is_named_twice_is_refused():
    register = Register("FT-101", "gas_mass_flow", "kg/h", 0, standard_deviation=Decimal(1))
    other = msgspec.structs.replace(register, quantity="temperature", unit="degC", address=2)
    unit = CaptureUnitSettings("u", "modbus", host="h", registers=[register, other])
    assert find_fault([unit]) == "", "a flow meter that shows its temperature too"
    again = msgspec.structs.replace(register, address=2)
    assert "same sensor" in find_fault([msgspec.structs.replace(unit, registers=[register, again])])


def test_an_agent_without_units_loads_the_form_of_their_settings_alone():
    code = (
        "import sys, host_agent.service\n"
        "kinds = ('pymodbus', 'fractions', 'docker', 'asyncio', 'host_agent.capture')\n"
        "print([name for name in sys.modules if name.startswith(kinds)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['host_agent.capture', 'host_agent.capture.settings']"
