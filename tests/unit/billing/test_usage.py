"""Usage adds up, however it is summed."""

from datetime import datetime

import pytest

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.usage import BUCKETS, GROUPS, MAX_DAYS, sum_usage
from chalicelib.core.errors import InvalidInput
from chalicelib.core.money import compute_charge_micros
from tests.factories import GPU_TYPE, PRICE, seed_cloud, start

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def at(text):
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1000


@pytest.fixture
def seeded():
    """Two rentals, over the end of a month."""
    seeded = seed_cloud(credit_micros=10**10)
    seeded.cloud.clock.value_ms = at("2027-01-31T22:30:00")
    for host in seeded.cloud.db.table("hosts"):
        seeded.beat(host)
    rentals = [start(seeded, 1, key="a", label="train"), start(seeded, 2, key="b")]
    for minute in range(180):
        seeded.cloud.clock.advance_seconds(60)
        for rental in rentals:
            seeded.report(rental, "running")
            if minute % 7 == 6 or minute == 179:
                charge_rental(seeded.cloud.billing, rental.rental_id)
    return seeded


def read(seeded, first, last, bucket="day", group_by="none"):
    found = sum_usage(seeded.cloud.billing, seeded.renter.account_id, at(first), at(last), bucket, group_by)
    return [(each.start, each.group, each.seconds, each.gpu_seconds, each.micros) for each in found]


def cost(seconds, gpus):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("group_by", GROUPS)
def test_every_way_to_sum_it_comes_to_the_same_and_to_the_ledger(seeded, bucket, group_by):
    found = read(seeded, "2027-01-31T22:00:00", "2027-02-01T02:00:00", bucket, group_by)
    charged = sum(rental.charge_micros for rental in seeded.cloud.db.table("rentals").values())
    assert sum(micros for *_, micros in found) == charged == cost(10_800, 1) + cost(10_800, 2)
    assert sum(gpu_seconds for *_, gpu_seconds, _ in found) == 3 * 10_800


def test_hours_days_and_months_are_of_utc_and_end_where_they_end(seeded):
    hours = read(seeded, "2027-01-31T00:00:00", "2027-02-02T00:00:00", "hour")
    assert [(start, seconds) for start, _, seconds, *_ in hours] == [
        ("2027-01-31T22:00:00Z", 3_600),
        ("2027-01-31T23:00:00Z", 7_200),
        ("2027-02-01T00:00:00Z", 7_200),
        ("2027-02-01T01:00:00Z", 3_600),
    ]
    months = read(seeded, "2027-01-01T00:00:00", "2027-03-01T00:00:00", "month")
    assert [(start, seconds) for start, _, seconds, *_ in months] == [
        ("2027-01", 10_800),
        ("2027-02", 10_800),
    ]


def test_a_range_takes_whole_hours_and_nothing_beyond(seeded):
    found = read(seeded, "2027-01-31T23:10:00", "2027-01-31T23:20:00", "hour")
    assert [(start, seconds) for start, _, seconds, *_ in found] == [("2027-01-31T23:00:00Z", 7_200)]
    assert read(seeded, "2027-02-01T02:00:00", "2027-02-01T05:00:00") == []


def test_groups_are_rentals_labels_and_gpu_types(seeded):
    span = ("2027-01-01T00:00:00", "2027-03-01T00:00:00", "month")
    labels = {group for _, group, *_ in read(seeded, *span, "label")}
    assert labels == {None, "train"}
    assert {group for _, group, *_ in read(seeded, *span, "gpu_type")} == {GPU_TYPE}
    assert {group for _, group, *_ in read(seeded, *span, "rental")} == set(seeded.cloud.db.table("rentals"))


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_range_that_is_empty_or_too_long_is_refused(seeded, bucket):
    ports, account_id = seeded.cloud.billing, seeded.renter.account_id
    longest = MAX_DAYS[bucket] * DAY_MS
    sum_usage(ports, account_id, 0, longest, bucket, "none")
    for first, last in ((0, longest + 1), (HOUR_MS, HOUR_MS), (2 * HOUR_MS, HOUR_MS)):
        with pytest.raises(InvalidInput) as refused:
            sum_usage(ports, account_id, first, last, bucket, "none")
        assert refused.value.code == "invalid_range"
