"""What people write, exactly; and what cannot be is refused with how to write it."""

from datetime import UTC, datetime

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from provocative.cli.output import (
    Column,
    choose_columns,
    format_exact_duration,
    format_micros,
    format_milli,
    format_share,
)
from provocative.cli.parsing import (
    parse_bytes,
    parse_duration,
    parse_gib,
    parse_grams,
    parse_instant,
    parse_mib,
    parse_money,
    parse_share,
)
from provocative.cli.workloads import read_env, read_port, read_volume

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_duration, "90s", 90),
        (parse_duration, "2h30m", 9000),
        (parse_duration, "1w1d", 8 * 86_400),
        (parse_bytes, "80GB", 80 * 10**9),
        (parse_mib, "80GiB", 81_920),
        (parse_gib, "1TiB", 1024),
        (parse_money, "2.49", 2_490_000),
        (parse_money, "0.000001", 1),
        (parse_share, "99.99%", 999_900),
        (parse_grams, "45.5", 45_500),
        (parse_instant, "2026-11-23T10:00+01:00", "2026-11-23T09:00:00Z"),
        (read_port, "8080", {"container_port": 8080, "protocol": "tcp"}),
        (read_port, "53/udp", {"container_port": 53, "protocol": "udp"}),
        (read_volume, "500GiB:/data", {"size_gib": 500, "mount_path": "/data"}),
    ],
)
def test_what_is_written_is_read_exactly(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_duration, ""),
        (parse_duration, "90"),
        (parse_duration, "-5m"),
        (parse_bytes, "80"),
        (parse_gib, "500GB"),
        (parse_gib, "0GiB"),
        (parse_money, "2,49"),
        (parse_money, "0.0000001"),
        (parse_money, "nan"),
        (parse_money, "1e400"),
        (parse_money, "-1"),
        (parse_share, "99.5"),
        (parse_share, "101%"),
        (parse_grams, "green"),
        (parse_instant, "2026-11-23T10:00"),
        (parse_instant, "tomorrow"),
        (read_port, "0"),
        (read_port, "65536"),
        (read_port, "80/icmp"),
        (read_volume, "500GiB"),
        (read_volume, "500GiB:data"),
    ],
)
def test_what_cannot_be_is_refused_with_how_to_write_it(parse, text):
    with pytest.raises(typer.BadParameter, match="write"):
        parse(text)


def test_instants_ahead_count_from_now():
    assert parse_instant("now", NOW) == "2026-11-23T09:30:00Z"
    assert parse_instant("+2h30m", NOW) == "2026-11-23T12:00:00Z"


def test_a_variable_without_a_value_takes_it_from_here_so_that_no_secret_is_typed():
    assert read_env(["A=1", "B=", "TOKEN"], {"TOKEN": "s"}) == {"A": "1", "B": "", "TOKEN": "s"}
    with pytest.raises(typer.BadParameter, match="TOKEN is not set here"):
        read_env(["TOKEN"], {})


@given(st.integers(0, 10**14))
def test_money_that_is_shown_can_be_written(micros):
    shown = format_micros(micros)
    if len(shown) <= 15:
        assert parse_money(shown) == micros


@given(st.integers(0, 10**7))
def test_an_exact_duration_loses_no_second(seconds):
    assert parse_duration(format_exact_duration(seconds)) == seconds


@given(st.integers(0, 1_000_000))
def test_a_share_that_is_shown_can_be_written(ppm):
    assert parse_share(format_share(ppm)) == ppm


def test_a_narrow_terminal_leaves_out_the_least_important_and_never_an_id():
    columns = [Column("ID"), Column("A", rank=2), Column("B", rank=1)]
    rows = [["x" * 30, "a" * 10, "b" * 10]]
    assert choose_columns(columns, rows, 80) == [0, 1, 2]
    assert choose_columns(columns, rows, 45) == [0, 2]
    assert choose_columns(columns, rows, 10) == [0]
    # Nothing is in it: it is not shown, however wide the terminal is.
    assert choose_columns(columns, [["x", "-", "b"]], 80) == [0, 2]


@pytest.mark.parametrize(
    ("thousandths", "shown"), [(45_500, "45.5 g"), (0, "0 g"), (-500, "-0.5 g"), (-2_000, "-2 g")]
)
def test_thousandths_are_exact_also_where_something_was_lost(thousandths, shown):
    assert format_milli(thousandths, "g") == shown
