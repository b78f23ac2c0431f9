"""Embodied shares have an interval and a source; nothing is guessed, and removals never lower the score."""

import ast
import inspect
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.carbon import embodied, sci
from chalicelib.carbon.embodied import LIFE_SECONDS, Interval, amortise, find_embodied
from chalicelib.carbon.sci import compute_sci
from chalicelib.core.errors import NotFound

MODELS = ["H100-SXM-80GB", "A100-SXM-80GB", "A100-SXM-40GB", "H100-PCIE-80GB", "H200-141GB", "B200", "L40S"]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_an_interval_and_says_where_it_comes_from(model):
    found = find_embodied(model)
    assert 0 < found.total.low_mg <= found.total.value_mg <= found.total.high_mg
    assert found.source
    assert found.version
    assert found.scope in ("server", "board")


def test_models_that_are_alike_in_name_are_told_apart():
    assert find_embodied("A100-SXM-80GB").total != find_embodied("A100-SXM-40GB").total
    assert find_embodied("H200-141GB").total.value_mg == 1067 * 10**6


@pytest.mark.parametrize("model", ["RTX-4090", "H2000", "A100", "T4", ""])
def test_what_the_table_does_not_have_is_not_guessed(model):
    with pytest.raises(NotFound) as refused:
        find_embodied(model)
    assert refused.value.code == "unknown_embodied_factor"


@settings(max_examples=1_000)
@given(
    st.lists(st.integers(0, 10**12), min_size=3, max_size=3).map(sorted),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
    st.integers(1, 10**8),
    st.integers(1, 8),
)
def test_the_parts_of_a_life_never_claim_less_than_the_whole_at_the_upper_bound(bounds, times, life, parts):
    total = Interval(*bounds)
    shares = [
        amortise(total, reserved_seconds=each, life_seconds=life, reserved=1, of_resources=parts)
        for each in times
    ]
    exact = [bound * sum(times) / (life * parts) for bound in bounds]
    assert sum(each.low_mg for each in shares) <= exact[0] + 1e-6 * exact[0]
    assert sum(each.high_mg for each in shares) >= exact[2] - 1e-6 * exact[2]
    assert all(each.low_mg <= each.value_mg <= each.high_mg for each in shares)


@pytest.mark.parametrize("wrong", [{"reserved_seconds": -1}, {"life_seconds": 0}, {"of_resources": 0}])
def test_a_share_of_nothing_is_refused(wrong):
    facts = {"reserved_seconds": 1, "life_seconds": LIFE_SECONDS, "reserved": 1, "of_resources": 1}
    with pytest.raises(ValueError):
        amortise(Interval(1, 1, 1), **facts | wrong)


def test_the_score_is_operational_and_embodied_per_gpu_hour():
    found = compute_sci(operational_mg=700, embodied=Interval(100, 200, 300), gpu_seconds=2 * 3600)
    assert found.per_gpu_hour == Interval(400, 450, 500)


@pytest.mark.parametrize("wrong", [{"gpu_seconds": 0}, {"operational_mg": -1}])
def test_a_score_of_no_time_or_of_negative_emissions_is_refused(wrong):
    with pytest.raises(ValueError):
        compute_sci(**{"operational_mg": 1, "embodied": Interval(1, 1, 1), "gpu_seconds": 1} | wrong)


def test_nothing_that_was_removed_can_reach_the_score():
    taken = set(inspect.signature(compute_sci).parameters)
    assert taken == {"operational_mg", "embodied", "gpu_seconds"}
    for module in (sci, embodied):
        tree = ast.parse(Path(module.__file__).read_text())
        named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [each for each in named if "removals" in each]
