"""Where the days of a month's books stand."""

import itertools

from chalicelib.storage import usage_keys

DAYS = [f"2026-11-{day:02d}" for day in range(1, 31)]
LATE = ["2025-12-31", "2026-10-31"]


def find(day):
    return usage_keys.third("acc_a", "2026-11", day)


def test_a_day_is_found_by_every_range_that_has_it_and_by_no_other_partition_before_it():
    thirds = usage_keys.list_thirds("acc_a", "2026-11")
    assert len(thirds) == len(set(thirds)) == 3
    for first, last in itertools.combinations_with_replacement([*LATE, *DAYS], 2):
        found = [day for day in [*LATE, *DAYS] if first <= day <= last]
        assert usage_keys.list_thirds("acc_a", "2026-11", first, last) == list(
            dict.fromkeys(map(find, found))
        )


def test_thirds_go_by_the_day_and_what_is_late_stands_first():
    thirds = usage_keys.list_thirds("acc_a", "2026-11")
    assert [thirds.index(find(day)) for day in DAYS] == [0] * 10 + [1] * 10 + [2] * 10
    assert {find(day) for day in LATE} == {thirds[0]}


def test_no_partition_is_of_two_months_or_accounts_or_of_what_is_no_charge_for_time():
    named = [
        partition
        for account_id in ("acc_a", "acc_b")
        for month in ("2026-10", "2026-11")
        for partition in (*usage_keys.list_thirds(account_id, month), usage_keys.entries(account_id, month))
    ]
    assert len(set(named)) == len(named) == 16
