"""Roll-ups and carbon reports on the database and the files that the platform runs on."""

import csv
import gzip
import io
import json
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from chalicelib import wiring
from chalicelib.accounts.service import create_key
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.metering.model import HOUR_MS, Interval
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import Report as Told
from chalicelib.metering.service import apply_report, store_telemetry
from chalicelib.reporting.building import build
from chalicelib.reporting.functions import roll_up_energy
from chalicelib.reporting.model import DAY_MS, Due, Owner, Period, name_day
from chalicelib.reporting.service import list_reports, read_report
from infra.local.cloud import EmbeddedCloud
from tests.fakes.events import TICK
from tests.integration import fleet_setup
from tests.integration.in_process import wire_to

KWH = 3_600_000_000


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def ask(cloud: EmbeddedCloud, token: str, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    return cast("dict[str, Any]", json.loads(fetch(f"{cloud.api_url}{path}", headers)))


def fetch(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def test_a_day_is_rolled_up_reported_restated_and_downloaded(cloud: EmbeddedCloud, wired: None) -> None:
    operator, gpu_type = fleet_setup.become_operator(), f"H100-SXM-{uuid.uuid4().hex[:6]}"
    fleet_setup.offer(operator, gpu_type)
    host = fleet_setup.add_host(operator, gpu_type, 2)
    renter = fleet_setup.add_renter(operator)
    rental = fleet_setup.read_rental(fleet_setup.rent(renter, gpu_type, 1, "report").body)
    token = create_key(wiring.account_ports(), operator, renter.account_id, label="reports").token
    ports, owner = wiring.report_ports(), Owner("account", renter.account_id)
    running = Told(rental.rental_id, rental.leases, "running", None, None, wiped=False)
    apply_report(wiring.meter_ports(), host.host_id, running, wiring.clock().now_ms())
    # The last day that is over, also for energy on its way: what comes now is late.
    day = Period(name_day(wiring.clock().now_ms() - 2 * HOUR_MS - DAY_MS))
    interval = Interval(
        rental.rental_id,
        rental.leases[0].gpu_uuid,
        rental.leases[0].epoch,
        0,
        final=False,
        started_at_ms=day.from_ms + HOUR_MS // 2,
        ended_at_ms=day.from_ms + HOUR_MS * 3 // 2,
        energy_millijoules=KWH + 1,
        estimated=False,
    )
    idle = replace(interval, rental_id="", gpu_uuid="GPU-idle", epoch=0, energy_millijoules=500)

    def tell(seq: int, *intervals: Interval) -> None:
        record = TelemetryRecord(host.host_id, "boot-1", seq, "{}", wiring.clock().now_ms())
        store_telemetry(wiring.meter_ports(), record, intervals)

    tell(0, interval, idle)
    assert host.host_id in set(ports.energy.list_sites(day.name))
    roll_up_energy(TICK, None)
    (stay,) = ports.store.list_stay_days(renter.account_id, day.name)
    assert [(each.hour, each.energy_millijoules) for each in stay.hours] == [(0, KWH // 2), (1, KWH // 2 + 1)]
    site = ports.store.get_site_day(host.region, day.name, host.host_id)
    assert site is not None
    assert sum(each.energy_millijoules for each in site.rented) == KWH + 1
    assert sum(each.energy_millijoules for each in site.platform) == 500

    first = build(ports, owner, day)
    assert first is not None
    assert build(ports, owner, day) is None, "it says the same"
    tell(1, replace(interval, interval_index=1, energy_millijoules=KWH))
    roll_up_energy(TICK, None)
    assert not [each for each in ports.energy.list_late() if each.host_id == host.host_id]
    second = build(ports, owner, day)
    assert second is not None
    assert [first.version, second.version] == [1, 2]
    month = build(ports, owner, day.month)
    assert month is not None
    for period, energy in ((day, 2 * KWH + 1), (day.month, 2 * KWH + 1)):
        report, content = read_report(ports, owner, period.name, None)
        assert content.total.energy_millijoules == report.energy_millijoules == energy
        packed = fetch(ask(cloud, token, f"/v1/carbon/reports/{period.name}/csv")["url"])
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))
        assert sum(int(row["energy_millijoules"]) for row in rows) == energy
        assert {row["rental_id"] for row in rows} == {rental.rental_id}
        printed = fetch(ask(cloud, token, f"/v1/carbon/reports/{period.name}/pdf")["url"])
        assert printed.startswith(b"%PDF-")
        shown = ask(cloud, token, f"/v1/carbon/reports/{period.name}")
        assert (shown["report"]["version"], shown["total"]["energy_millijoules"]) == (report.version, energy)
    assert read_report(ports, owner, day.name, 1)[1].total.energy_millijoules == KWH + 1
    page = list_reports(ports, owner, "day", 1, None)
    assert [each.version for each in page.items] == [2]
    assert [each.version for each in list_reports(ports, owner, "day", 1, page.next_key).items] == [1]
    with pytest.raises(Unavailable):
        again = ports.transactions()
        ports.store.add_report(again, second)
        again.commit()
    with pytest.raises(NotFound):
        ports.files.read("carbon/account/nobody/2026-01/v1.json")


def test_a_mark_that_was_made_again_meanwhile_is_not_lost(wired: None) -> None:
    ports = wiring.report_ports()
    owner, period = Owner("account", f"acc_{uuid.uuid4().hex}"), Period("2026-01-02")

    def mark(at_ms: int) -> Due:
        due, tx = Due(5, owner, period, at_ms), ports.transactions()
        ports.store.mark_due(tx, due)
        tx.commit()
        return due

    seen = mark(10)
    assert seen in list(ports.store.list_due(5))
    later = mark(11)
    ports.store.clear_due(seen)
    assert later in list(ports.store.list_due(5))
    assert later not in list(ports.store.list_due(4))
    ports.store.clear_due(later)
    assert later not in list(ports.store.list_due(5))


def invoke(cloud: EmbeddedCloud, name: str) -> None:
    """Run a scheduled function as it is deployed, with its own role."""
    client = cloud.aws.client("lambda")
    pages = client.get_paginator("list_functions").paginate()
    (found,) = {
        each["FunctionName"] for page in pages for each in page["Functions"] if name in each["FunctionName"]
    }
    answer = client.invoke(FunctionName=found, Payload=json.dumps(TICK).encode())
    assert "FunctionError" not in answer, answer["Payload"].read().decode()


def test_the_deployed_functions_roll_up_and_report_with_their_own_roles(
    cloud: EmbeddedCloud, wired: None
) -> None:
    ports, owner = wiring.report_ports(), Owner("account", f"acc_{uuid.uuid4().hex}")
    periods = (Period("2026-01-02"), Period("2026-01"))
    for at_ms, period in enumerate(periods, start=1):
        tx = ports.transactions()
        ports.store.mark_due(tx, Due(at_ms, owner, period, at_ms))
        tx.commit()
    invoke(cloud, "RollUpEnergy")
    invoke(cloud, "MakeCarbonReports")
    for period in periods:
        report = ports.store.find_report(owner, period)
        assert report is not None, "the month was made of its day's document"
        assert ports.files.read(report.name_document("pdf")).read().startswith(b"%PDF-")
