"""Captured CO2 on the command line, from a day's records to a retirement that everybody can check."""

from tests.unit.removals.plant import DAY_MS, START, read_plant
from tests.unit.removals.site import UNIT, keep, warm

DAY = "2027-01-14"


def test_a_day_is_drawn_verified_issued_sold_and_retired(terminal):
    platform = terminal.platform
    keep(platform.cloud, platform.host_id, read_plant(start_ms=START - DAY_MS, step_ms=300_000))
    tenant = platform.seeded.renter.account_id
    warm(platform.cloud, platform.host_id, {tenant: 200 * 10**9}, START - DAY_MS)
    day = (platform.host_id, UNIT, DAY)

    def run(*arguments, **more):
        return terminal("removals", *arguments, role="operator", **more)

    drawn = run("draw", *day).out
    assert "revision 1 is draft" in drawn
    assert "mg, 100.0 % by an annual figure" in drawn
    assert "awaiting_verification" in run("act", *day, "submit", "--revision", "1").out
    verified = run("act", *day, "verify", "--revision", "1", "--evidence", "report 7")
    assert "is verified" in verified.out
    serial = terminal.read(
        "removals", "act", *day, "issue", "--revision", "1", "--buffer-ppm", "1000", role="operator"
    )["serial"]
    assert serial in run("show", *day).out
    sold = terminal.read("removals", "sell", serial, "Buyer Ltd", "100", role="operator")["serial"]
    assert "40 mg, active" in run("split", sold, "40").out
    part = f"{serial}-0002"
    assert "Add --yes" in run("retire", part, "Ada", code=2).err
    assert "retired for Ada" in run("retire", part, "Ada", "--yes").out
    assert "0 free" in run("allocate", serial).out
    assert "register: unbroken, 5 entries" in terminal("removals", "certificate", part).out
    assert "final" in terminal("removals").out
