"""Money, energy, identifiers, cursors: small, exact, total."""

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.clock import format_hour, format_instant, parse_instant
from chalicelib.core.errors import IdempotencyMismatch, InvalidInput
from chalicelib.core.idempotency import IdempotencyRecord, check_replay, compute_fingerprint
from chalicelib.core.ids import build_id, is_id
from chalicelib.core.leases import Lease
from chalicelib.core.money import compute_charge_micros, format_micros
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.core.units import compute_emissions_mg

AMOUNTS = st.integers(0, 10**12)


@given(AMOUNTS, st.integers(0, 64), st.lists(st.integers(0, 10**6), max_size=20))
def test_charges_of_any_split_of_time_sum_to_the_charge_of_the_whole(price, gpus, steps):
    total, posted = 0, 0
    for step in steps:
        total += step
        charge = compute_charge_micros(price_micros_per_gpu_hour=price, gpu_count=gpus, seconds=total)
        assert charge >= posted
        posted = charge
    assert posted == Fraction(price * gpus * sum(steps), 3600).__floor__()


def test_an_hour_of_one_gpu_costs_its_price():
    assert compute_charge_micros(price_micros_per_gpu_hour=2_490_000, gpu_count=1, seconds=3600) == 2_490_000
    with pytest.raises(ValueError, match="negative"):
        compute_charge_micros(price_micros_per_gpu_hour=1, gpu_count=1, seconds=-1)


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0.000000 USD"), (-4800, "-0.004800 USD"), (1_500_000, "1.500000 USD")]
)
def test_money_is_shown_to_the_micro_unit(micros, text):
    assert format_micros(micros, "USD") == text


@given(st.integers(0, 10**15), st.integers(0, 10**6))
def test_emissions_are_rounded_to_the_nearest_milligram(energy, intensity):
    exact = Fraction(energy * intensity, 3_600_000_000)
    assert abs(compute_emissions_mg(energy_millijoules=energy, intensity_mg_per_kwh=intensity) - exact) <= (
        Fraction(1, 2)
    )


def test_a_kilowatt_hour_emits_the_intensity_and_energy_is_never_negative():
    emitted = compute_emissions_mg(energy_millijoules=3_600_000_000, intensity_mg_per_kwh=24_710)
    assert emitted == 24_710
    with pytest.raises(ValueError, match="negative"):
        compute_emissions_mg(energy_millijoules=-1, intensity_mg_per_kwh=1)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_identifiers_sort_by_time_and_are_recognised(first, second, randomness):
    left, right = (build_id("rnt", now_ms=at, randomness=randomness) for at in (first, second))
    assert (left < right) == (first < second)
    assert is_id(left, "rnt")
    assert not is_id(left, "acc")
    assert not is_id(f"{left}\n", "rnt")


def test_an_identifier_needs_all_its_randomness():
    with pytest.raises(ValueError, match="random"):
        build_id("rnt", now_ms=0, randomness=b"short")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200))
def test_a_cursor_comes_back_as_the_key_that_it_was_made_of(key):
    assert decode_cursor(encode_cursor(key)) == key


@given(st.text())
def test_a_cursor_that_we_did_not_make_is_invalid_input_or_a_harmless_key(text):
    key = None
    with contextlib.suppress(InvalidInput):
        key = decode_cursor(text)
    assert key is None or (key.isascii() and key.isprintable())


def test_no_cursor_is_the_beginning_and_the_end():
    assert decode_cursor(None) is None
    assert encode_cursor(None) is None


def test_a_key_belongs_to_one_request():
    fingerprint = compute_fingerprint("POST /v1/rentals", b"{}")
    record = IdempotencyRecord("acc", "key", fingerprint, 202, "{}", 0)
    assert check_replay(record, fingerprint) is record
    for operation, body in (("POST /v1/rentals", b"{ }"), ("POST /v1/other", b"{}")):
        with pytest.raises(IdempotencyMismatch):
            check_replay(record, compute_fingerprint(operation, body))


def test_instants_are_utc_with_milliseconds():
    assert format_instant(1_800_000_000_007) == "2027-01-15T08:00:00.007Z"
    assert format_hour(1_800_003_599_999) == "2027-01-15T08"


def test_a_lease_advances_by_one():
    assert Lease("GPU", 4).advance() == Lease("GPU", 5)


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_that_was_shown_is_read_back(epoch_ms):
    assert parse_instant(format_instant(epoch_ms)) == epoch_ms


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00.5+01:00", 500),
        ("1970-01-02T00:00:00.123999999z", 86_400_123),
        ("1969-12-31T23:59:59-00:01", 59_000),
    ],
)
def test_instants_are_read_as_rfc_3339_writes_them(text, epoch_ms):
    assert parse_instant(text) == epoch_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T09:00:00",
        "2026-11-23 09:00:00Z",
        "2026-13-23T09:00:00Z",
        "2026-02-29T09:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T09:00:00.Z",
        "2026-11-23T09:00:00+99:00",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "\u0662026-11-23T09:00:00Z",
        "2026-11-23T09:00:00Z\n",
    ],
)
def test_everything_else_is_no_instant(text):
    with pytest.raises(InvalidInput) as caught:
        parse_instant(text)
    assert caught.value.code == "invalid_instant"
