"""What people type about removals that are bought, against the API's own handlers."""

from chalicelib.payments.purchasing import buy_removals
from provocative.cli.purchases import format_mass
from tests.unit.payments.shopper import DAY_S, JANUARY, RESIDUAL_MG


def test_removals_are_turned_on_bought_listed_shown_and_turned_off(terminal):
    platform = terminal.platform
    assert "No removals were bought" in terminal("removal-purchases").out
    assert "removals are bought no" in " ".join(terminal("removal-purchases", "settings").out.split())
    told = terminal.read("removal-purchases", "set", "--monthly-limit", "6.99", "--beneficiary", "ACME")
    assert (told["enabled"], told["max_micros_per_month"], told["next_month"]) == (True, 6_990_000, JANUARY)
    platform.residuals.masses[platform.seeded.renter.account_id, JANUARY] = RESIDUAL_MG
    platform.cloud.clock.advance_seconds(31 * DAY_S)
    assert buy_removals(platform.till, 10**15).begun == 1
    listed = " ".join(terminal("removal-purchases").out.split())
    assert f"{JANUARY} open" in listed
    assert "20 kg 6.00 USD" in listed
    shown = " ".join(terminal("removal-purchases", "show", JANUARY).out.split())
    assert "residual emissions 25.1 kg purchased removals 20 kg less, by the limit yes" in shown
    assert "in the name of ACME order climorder_0" in shown
    off = terminal.read("removal-purchases", "off")
    assert (off["enabled"], off["max_micros_per_month"], off["beneficiary_name"]) == (
        False,
        6_990_000,
        "ACME",
    )
    assert "Nothing was bought" in terminal("removal-purchases", "show", "2026-12", code=3).err


def test_masses_are_exact():
    assert [format_mass(each) for each in (0, 1, 10_000_000, 25_100_000)] == [
        "0 kg",
        "0.000001 kg",
        "10 kg",
        "25.1 kg",
    ]
