"""What removals are bought for: a month's emissions by location, less what was finally captured for it."""

from chalicelib.metering.model import HOUR_MS
from chalicelib.removals.model import Share, Window
from chalicelib.reporting.building import build, build_reports
from chalicelib.reporting.model import Period
from chalicelib.reporting.residuals import SETTLED_MS, MonthlyResiduals
from chalicelib.reporting.rolling import roll_up
from tests.unit.reporting.months import FAR_MS, Fleet

KWH = 3_600_000_000


def read(fleet, month=None):
    ports = fleet.ports
    residuals = MonthlyResiduals(ports.store, ports.files, ports.codec, ports.clock)
    return residuals.find_residual_mg(fleet.rental.account_id, month or fleet.day[:7])


def capture(fleet, mass_mg, state):
    tx = fleet.db.begin()
    window = Window(fleet.host_id, f"dac-{state}", fleet.day)
    fleet.cloud.removals.store.put_share(tx, Share(fleet.rental.account_id, window, 1, mass_mg, state))
    tx.commit()


def report(fleet):
    fleet.use(fleet.start_ms, HOUR_MS, 10 * KWH)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    fleet.clock.value_ms += HOUR_MS
    build_reports(fleet.ports, FAR_MS)
    build(fleet.ports, fleet.account, Period(fleet.day).month)
    return fleet.ports.store.find_report(fleet.account, Period(fleet.day).month)


def test_only_what_was_finally_captured_is_not_bought_again():
    fleet = Fleet()
    capture(fleet, 1_000, "final")
    capture(fleet, 50_000, "provisional")
    month = report(fleet)
    assert month.operational_mg > 100_000
    assert read(fleet) == month.operational_mg - 1_000


def test_more_captured_than_emitted_leaves_nothing_and_never_less():
    fleet = Fleet()
    capture(fleet, 10**12, "final")
    report(fleet)
    assert read(fleet) == 0


def test_a_month_without_its_report_is_waited_for_and_one_without_energy_is_nothing():
    fleet = Fleet()
    month = Period(fleet.day).month
    fleet.clock.value_ms = month.until_ms + SETTLED_MS - 1
    assert read(fleet) is None
    fleet.clock.value_ms += 1
    assert read(fleet) == 0
    fleet = Fleet()
    fleet.use(fleet.start_ms, HOUR_MS, KWH)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    build(fleet.ports, fleet.account, Period(fleet.day))
    fleet.clock.value_ms = month.until_ms + 2 * SETTLED_MS
    assert read(fleet) is None, "it has days: its own report is late, not absent"
