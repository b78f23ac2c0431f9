"""What cannot be is refused with its reason; what is merely strange is told to the verifier."""

from dataclasses import replace

import pytest

from chalicelib.removals.accounting import Removal
from chalicelib.removals.plausibility import Measured, Readings, check, check_chain, is_refused

KWH = 3_600_000_000
#: A tonne by a plant as published: 2,000 kWh of heat and 650 kWh of electricity.
TONNE_MG = 10**9
SOUND = Readings(
    captured=Measured(TONNE_MG, TONNE_MG // 100),
    lowest_fraction_ppb=950_000_000,
    highest_fraction_ppb=990_000_000,
    heat=Measured(2000 * KWH, KWH),
    electricity=Measured(650 * KWH, KWH),
    tank=Measured(TONNE_MG, TONNE_MG // 100),
    cycles=1000,
)
HEAT = 2100 * KWH


def judge(readings=SOUND, *, heat=HEAT, rated=TONNE_MG // 900):
    found = check(readings, gpu_heat_millijoules=heat, rated_mg_per_cycle=rated)
    return {(each.code, each.severity) for each in found}


def test_a_sound_window_has_nothing_to_say():
    assert judge() == set()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"highest_fraction_ppb": 1_200_000_000}, ("purity_out_of_range", "reject")),
        ({"lowest_fraction_ppb": -1}, ("purity_out_of_range", "reject")),
        ({"captured": Measured(-5, 0), "tank": None}, ("negative_mass", "reject")),
        ({"heat": Measured(2500 * KWH, KWH)}, ("heat_exceeds_gpu_heat", "reject")),
        ({"heat": Measured(2038 * KWH, KWH)}, ("heat_exceeds_gpu_heat", "flag")),
        ({"tank": Measured(TONNE_MG // 2, 0)}, ("mass_balance", "flag")),
        ({"heat": None}, ("missing_meter", "reject")),
        ({"electricity": None}, ("missing_meter", "reject")),
        ({"cycles": 800}, ("exceeds_rated_cycles", "reject")),
        (
            {"heat": Measured(100 * KWH, 0), "electricity": Measured(10 * KWH, 0)},
            ("below_thermodynamic_minimum", "reject"),
        ),
    ],
)
def test_each_bound_is_told_by_its_own_reason(change, finding):
    assert judge(replace(SOUND, **change)) == {finding}


def test_a_unit_cannot_use_more_heat_than_the_gpus_gave():
    assert judge(heat=1000 * KWH) == {("heat_exceeds_gpu_heat", "reject")}
    assert judge(heat=0) == {("heat_exceeds_gpu_heat", "reject")}


def test_a_meter_is_believed_within_two_of_its_deviations():
    wide = replace(SOUND, tank=Measured(TONNE_MG * 98 // 100, TONNE_MG // 100))
    assert judge(wide) == set()


@pytest.mark.parametrize(("kwh", "refused"), [(121, True), (122, False)])
def test_the_least_work_of_separation_is_the_bound(kwh, refused):
    exact = replace(
        SOUND, captured=Measured(TONNE_MG, 0), heat=Measured(0, 0), electricity=Measured(kwh * KWH, 0)
    )
    assert (("below_thermodynamic_minimum", "reject") in judge(exact)) is refused


def test_a_negative_net_is_legal_and_told_and_more_than_gross_is_not():
    (negative,) = check_chain(Removal(10, 0, 0, 20, 0))
    assert (negative.code, negative.severity) == ("negative_net", "flag")
    (magic,) = check_chain(Removal(10, 0, 0, -5, 0))
    assert magic.code == "net_exceeds_gross"
    assert is_refused([magic])
    assert not is_refused([negative])
