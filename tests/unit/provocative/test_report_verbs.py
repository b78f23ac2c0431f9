"""Carbon reports on the command line: of an account, and of a site for operators."""

import gzip

from chalicelib.metering.model import HOUR_MS, Interval
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from chalicelib.reporting.building import build_reports
from chalicelib.reporting.model import name_day
from chalicelib.reporting.rolling import roll_up
from tests.factories import REGION, start

FAR_MS = 10**15


def end_day(terminal):
    """Let a rental use energy, end the day and report it; return its name."""
    platform = terminal.platform
    cloud, rental = platform.cloud, start(platform.seeded, 1, key="reported", label="train")
    now_ms, (lease,) = cloud.clock.value_ms, rental.leases
    interval = Interval(
        rental.rental_id,
        lease.gpu_uuid,
        lease.epoch,
        0,
        final=False,
        started_at_ms=now_ms,
        ended_at_ms=now_ms + HOUR_MS,
        energy_millijoules=3_600_000_000,
        estimated=False,
    )
    record = TelemetryRecord(rental.host_id, "boot-1", 0, "{}", now_ms + HOUR_MS)
    store_telemetry(cloud.meters, record, [interval])
    cloud.clock.value_ms = now_ms // (24 * HOUR_MS) * 24 * HOUR_MS + 27 * HOUR_MS
    roll_up(cloud.reports, FAR_MS)
    cloud.clock.value_ms += 4 * HOUR_MS
    assert build_reports(cloud.reports, FAR_MS).made == 2
    return name_day(now_ms)


def test_a_day_is_listed_shown_and_downloaded(terminal, tmp_path):
    assert "No day is over" in terminal("carbon-reports", "--days").out
    day = end_day(terminal)
    listed = terminal("carbon-reports", "--days").out
    assert day in listed
    assert "1.000 kWh" in listed
    shown = " ".join(terminal("carbon-reports", "show", day).out.split())
    for line in ("1. by location", "2. by market", "3. removals none", "train"):
        assert line in shown
    table = tmp_path / "day.csv.gz"
    told = terminal.read("carbon-reports", "download", day, str(table))
    assert told["bytes"] == table.stat().st_size
    assert gzip.decompress(table.read_bytes()).decode().count("\n") >= 2
    terminal("carbon-reports", "download", day, str(tmp_path / "day.pdf"))
    assert (tmp_path / "day.pdf").stat().st_size
    assert "ends in .csv.gz or .pdf" in terminal("carbon-reports", "download", day, "x.txt", code=2).err
    assert "no such report" in terminal("carbon-reports", "show", "2020-01", code=3).err


def test_the_energy_of_each_gpu_is_shown_by_the_hour_of_a_day(terminal):
    day = end_day(terminal)
    (rental,) = terminal.platform.cloud.db.table("rentals").values()
    found = terminal.read("energy", rental.rental_id, "--day", day)
    assert found["energy_millijoules"] == 3_600_000_000
    assert sum(each["energy_millijoules"] for each in found["items"]) == 3_600_000_000
    assert {each["gpu_uuid"] for each in found["items"]} == {rental.leases[0].gpu_uuid}
    shown = terminal("energy", rental.rental_id, "--day", day).out
    assert rental.leases[0].gpu_uuid in shown
    assert "No energy has come" in terminal("energy", rental.rental_id).out
    assert "RFC 3339" in terminal("energy", rental.rental_id, "--day", "monday", code=1).err
    terminal("energy", "rnt_nobodys", code=3)


def test_a_site_is_for_operators_alone(terminal):
    day = end_day(terminal)
    shown = " ".join(terminal("carbon-reports", "show", day, "--site", REGION, role="operator").out.split())
    assert f"site {REGION}" in shown
    assert "rented" in shown
    terminal("carbon-reports", "show", day, "--site", REGION, code=4)
