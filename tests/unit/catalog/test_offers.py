"""Offers: what is dropped, what is said instead, in which order, and how much is read for it."""

import pytest

from chalicelib.catalog.model import GpuType
from chalicelib.catalog.offers import (
    AccountStanding,
    OfferPorts,
    OfferQuery,
    list_offers,
    rank_availability,
)
from chalicelib.catalog.schemas import render_offer
from chalicelib.catalog.service import Capacity, put_gpu_type, put_price
from tests.factories import GPU_TYPE, PRICE, REGION, seed_cloud
from tests.fakes import START_MS

OTHER = "us-east-1"
INTENSITIES = {REGION: 24_710, OTHER: 396_250}
HOLD_SECONDS = 180


class Pools:
    """20 free GPUs in one region, none in the other."""

    def __init__(self):
        self.reads = []
        self.rows = {}

    def read_capacity(self, gpu_type, region):
        self.reads.append((gpu_type, region))
        default = Capacity(20, 8, 64, {}, 999_900) if region == REGION else Capacity(0, 0)
        return self.rows.get((gpu_type, region), default)


@pytest.fixture
def seeded():
    seeded = seed_cloud(hosts=0)
    put_gpu_type(seeded.cloud.catalog, seeded.operator, GpuType("A10", "Ampere", 24_576, 150, "pcie"))
    for gpu_type, region, micros, billing_class in (
        ("A10", REGION, 600_000, "on_demand"),
        (GPU_TYPE, OTHER, PRICE + 1, "on_demand"),
        (GPU_TYPE, REGION, PRICE // 2, "spot"),
    ):
        put_price(
            seeded.cloud.catalog,
            seeded.operator,
            gpu_type=gpu_type,
            region=region,
            price_micros_per_gpu_hour=micros,
            known_regions=frozenset(INTENSITIES),
            billing_class=billing_class,
        )
    seeded.pools, seeded.standing, seeded.asked = Pools(), AccountStanding(), []
    return seeded


def ask(seeded, *, account_id="acc_1", **query):
    def read_standing(account_id):
        seeded.asked.append(account_id)
        return seeded.standing

    ports = OfferPorts(seeded.pools, read_standing, INTENSITIES.get, HOLD_SECONDS)
    catalog = seeded.cloud.catalog.store.read_catalog()
    return list_offers(ports, catalog, OfferQuery(**query), account_id=account_id, now_ms=START_MS)


def name(offers):
    return [(each.gpu_type.name, each.price.region, each.price.billing_class) for each in offers]


A10 = ("A10", REGION, "on_demand")
SPOT = (GPU_TYPE, REGION, "spot")
HERE = (GPU_TYPE, REGION, "on_demand")
THERE = (GPU_TYPE, OTHER, "on_demand")


def test_offers_are_cheapest_first_with_their_room(seeded):
    offers = ask(seeded)
    assert name(offers) == [A10, SPOT, HERE, THERE]
    assert [each.availability for each in offers] == ["HIGH", "HIGH", "HIGH", "NONE"]
    assert [each.why_not for each in offers] == [(), (), (), ("no_capacity",)]


def test_each_pool_is_read_once_and_the_standing_once(seeded):
    ask(seeded)
    assert sorted(seeded.pools.reads) == sorted({("A10", REGION), (GPU_TYPE, REGION), (GPU_TYPE, OTHER)})
    assert seeded.asked == ["acc_1"]


def test_what_a_filter_drops_is_not_read(seeded):
    ask(seeded, gpu_type="A10")
    ask(seeded, gpu_type="none")
    ask(seeded, max_intensity_mg_per_kwh=0)
    assert seeded.pools.reads == [("A10", REGION)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"gpu_type": GPU_TYPE}, [SPOT, HERE, THERE]),
        ({"gpu_type": "none"}, []),
        ({"region": OTHER}, [THERE]),
        ({"region": "any"}, [A10, SPOT, HERE, THERE]),
        ({"billing_class": "spot"}, [SPOT]),
        ({"billing_class": "reserved"}, []),
        ({"min_memory_mib": 24_577}, [SPOT, HERE, THERE]),
        ({"min_memory_mib": 24_576}, [A10, SPOT, HERE, THERE]),
        ({"max_intensity_mg_per_kwh": 24_710}, [A10, SPOT, HERE]),
        # Reliability of the other region is not known: it is not claimed to be enough.
        ({"min_reliability_ppm": 999_900}, [A10, SPOT, HERE]),
        ({"min_reliability_ppm": 999_901}, []),
    ],
)
def test_filters_drop_what_does_not_match(seeded, query, expected):
    assert name(ask(seeded, **query)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("price", [A10, SPOT, HERE, THERE]),
        ("-price", [THERE, HERE, SPOT, A10]),
        ("availability", [A10, SPOT, HERE, THERE]),
        ("carbon", [A10, SPOT, HERE, THERE]),
        ("reliability", [SPOT, HERE, A10, THERE]),
    ],
)
def test_sorts(seeded, sort, expected):
    seeded.pools.rows[GPU_TYPE, REGION] = Capacity(20, 8, 64, {}, 1_000_000)
    assert name(ask(seeded, sort=sort)) == expected


def test_equal_ones_stay_cheapest_first_and_the_unknown_is_last(seeded, monkeypatch):
    seeded.pools.rows["A10", REGION] = Capacity(2, 2)
    assert name(ask(seeded, sort="availability")) == [SPOT, HERE, A10, THERE]
    assert name(ask(seeded, sort="reliability"))[-2:] == [A10, THERE]
    monkeypatch.delitem(INTENSITIES, REGION)
    assert name(ask(seeded, sort="carbon")) == [THERE, A10, SPOT, HERE]


def explain(seeded, capacity, **query):
    seeded.pools.rows[GPU_TYPE, REGION] = capacity
    (offer,) = ask(seeded, gpu_type=GPU_TYPE, region=REGION, billing_class="on_demand", **query)
    return offer.why_not


@pytest.mark.parametrize(
    ("capacity", "count", "reasons"),
    [
        (Capacity(8, 8), 8, ()),
        (Capacity(16, 4), 8, ("no_capacity",)),
        (Capacity(0, 0, 16, {"maintenance": 8}), 1, ("no_capacity", "maintenance")),
        (Capacity(0, 0, 16, {"unhealthy": 1}), 1, ("no_capacity", "unhealthy")),
        (
            Capacity(4, 2, 16, {"maintenance": 8, "unhealthy": 1}),
            4,
            ("no_capacity", "maintenance", "unhealthy"),
        ),
        # What is closed does not matter to a request that fits.
        (Capacity(4, 4, 16, {"maintenance": 8, "unhealthy": 1}), 4, ()),
    ],
)
def test_without_room_an_offer_says_what_keeps_the_gpus(seeded, capacity, count, reasons):
    assert explain(seeded, capacity, gpu_count=count) == reasons


@pytest.mark.parametrize(("available", "reasons"), [(None, ()), (2, ()), (1, ("quota",)), (0, ("quota",))])
def test_quota(seeded, available, reasons):
    seeded.standing = AccountStanding(available_gpus=available)
    assert explain(seeded, Capacity(8, 8), gpu_count=2) == reasons


def test_the_balance_must_cover_what_a_start_holds(seeded):
    hold = PRICE * 2 * HOLD_SECONDS // 3600
    for available, reasons in ((None, ()), (hold, ()), (hold - 1, ("balance",))):
        seeded.standing = AccountStanding(available_micros=available)
        assert explain(seeded, Capacity(8, 8), gpu_count=2) == reasons


def test_price_cap(seeded):
    assert explain(seeded, Capacity(8, 8), max_price_micros_per_gpu_hour=PRICE) == ()
    assert explain(seeded, Capacity(8, 8), max_price_micros_per_gpu_hour=PRICE - 1) == ("price_cap",)


def test_every_reason_is_told_at_once(seeded):
    seeded.standing = AccountStanding(0, 0)
    closed = Capacity(0, 0, 8, {"maintenance": 4, "unhealthy": 4})
    told = explain(seeded, closed, max_price_micros_per_gpu_hour=1)
    assert set(told) == {"no_capacity", "maintenance", "unhealthy", "quota", "balance", "price_cap"}


def test_whoever_does_not_rent_has_no_balance_to_exceed(seeded):
    seeded.standing = AccountStanding(0, 0)
    assert ask(seeded, account_id=None)[0].why_not == ()
    assert seeded.asked == []


def test_what_is_announced_is_shown_and_what_is_not_yet_sold_is_no_offer(seeded):
    for region, offset_ms in ((REGION, 1000), ("eu-west-1", 1000)):
        put_price(
            seeded.cloud.catalog,
            seeded.operator,
            gpu_type="A10",
            region=region,
            price_micros_per_gpu_hour=700_000,
            known_regions=frozenset({region}),
            effective_from_ms=START_MS + offset_ms,
        )
    (offer,) = ask(seeded, gpu_type="A10")
    body = render_offer(offer, "USD")
    assert body.price_micros_per_gpu_hour == 600_000
    assert (body.next_price.price_micros_per_gpu_hour, body.next_price.effective_from) == (
        700_000,
        "2027-01-15T08:00:01.000Z",
    )


def test_what_is_not_known_is_null_and_never_zero(seeded):
    seeded.pools.rows["A10", REGION] = Capacity(2, 2)
    put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type="A10",
        region="nowhere",
        price_micros_per_gpu_hour=1,
        known_regions=frozenset({"nowhere"}),
    )
    cheap, other = (render_offer(offer, "USD") for offer in ask(seeded, gpu_type="A10"))
    assert (cheap.region, cheap.intensity_mg_per_kwh) == ("nowhere", None)
    assert (other.total_gpus, other.reliability_ppm, other.intensity_mg_per_kwh) == (None, None, 24_710)


def test_availability_has_four_ranks():
    ranks = [rank_availability(free) for free in (0, 1, 3, 4, 15, 16)]
    assert ranks == ["NONE", "LOW", "LOW", "MEDIUM", "MEDIUM", "HIGH"]
