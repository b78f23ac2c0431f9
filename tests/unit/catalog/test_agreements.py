"""What an account pays by agreement: the lowest of what holds, frozen with the stay, seen in the offers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.catalog.agreements import put_agreement, read_agreement
from chalicelib.catalog.model import Agreement, Price, Term
from chalicelib.catalog.service import CATALOG_TTL_MS, VersionMismatch
from chalicelib.core.errors import Conflict, InvalidInput, NotFound
from chalicelib.rentals.life import resume_rental, stop_rental
from tests.factories import GPU_TYPE, PRICE, PRICES, REGION, add_renter, rent, seed_cloud, start
from tests.fakes import START_MS
from tests.unit.catalog.test_api import Client
from tests.unit.reservations.booking import booked, seed_calendars

LISTED = Price(GPU_TYPE, REGION, PRICE, 1)
HOUR_S = 3600


def term(**facts):
    return Term(**{"billing_class": "on_demand", "from_ms": START_MS, **facts})


def agree(seeded, *terms, principal=None, version=0):
    """Put the terms, and wait until they hold."""
    agreement = Agreement((principal or seeded.renter).account_id, terms, version)
    put = put_agreement(
        seeded.cloud.catalog, seeded.operator, agreement, frozenset({REGION}), lambda _account_id: True
    )
    seeded.cloud.clock.advance_seconds(CATALOG_TTL_MS // 1000 + 1)
    for host in seeded.cloud.db.table("hosts"):
        seeded.beat(host)
    return put


TERMS = st.builds(
    term,
    gpu_type=st.sampled_from(["any", GPU_TYPE, "A10"]),
    region=st.sampled_from(["any", REGION, "us-east-1"]),
    billing_class=st.sampled_from(["on_demand", "reserved"]),
    from_ms=st.integers(START_MS - 2, START_MS + 2),
    until_ms=st.none() | st.integers(START_MS - 1, START_MS + 4),
    discount_ppm=st.integers(1, 999_999),
) | st.builds(
    term,
    gpu_type=st.just(GPU_TYPE),
    from_ms=st.integers(START_MS - 2, START_MS + 2),
    price_micros_per_gpu_hour=st.integers(1, 2 * PRICE),
)


@given(st.lists(TERMS, max_size=6), st.integers(-3, 5))
def test_the_lowest_of_the_list_and_all_that_hold_is_paid(terms, offset):
    found = Agreement("acc_1", tuple(terms), 1).apply(LISTED, START_MS + offset)
    prices = [PRICE]
    for each in terms:
        holds = each.from_ms <= START_MS + offset < (each.until_ms or START_MS + 99)
        where = each.gpu_type != "A10" and each.region != "us-east-1" and each.billing_class == "on_demand"
        if holds and where and each.discount_ppm:
            prices.append(max(1, PRICE - -(-PRICE * each.discount_ppm // 1_000_000)))
        elif holds and where:
            prices.append(each.price_micros_per_gpu_hour)
    assert found.price_micros_per_gpu_hour == min(prices)
    assert found.list_price_micros_per_gpu_hour == (PRICE if min(prices) < PRICE else None)
    assert found.version == LISTED.version, "a start checks the list's own version"


def test_a_stay_keeps_what_was_agreed_when_it_started_and_the_next_one_pays_what_holds_then():
    seeded = seed_cloud()
    agree(seeded, term(discount_ppm=200_000, until_ms=START_MS + HOUR_S * 1000))
    rental = start(seeded, 2)
    assert rental.price_micros_per_gpu_hour == PRICE * 8 // 10
    assert seeded.cloud.billing.wallets.get_balance(rental.account_id).burn_micros_per_hour == (
        2 * rental.price_micros_per_gpu_hour
    )
    seeded.cloud.clock.advance_seconds(HOUR_S)
    host_id = rental.host_id
    seeded.beat(host_id)
    assert seeded.rental(rental.rental_id).price_micros_per_gpu_hour == PRICE * 8 // 10
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    again = resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert again.price_micros_per_gpu_hour == PRICE, "the term is over"


def test_a_term_holds_once_no_process_can_have_the_old_ones_and_is_not_put_off_again():
    seeded = seed_cloud()
    before_ms = seeded.cloud.clock.now_ms()
    first = agree(seeded, term(discount_ppm=200_000))
    assert first.terms[0].from_ms == before_ms + CATALOG_TTL_MS
    later = term(discount_ppm=300_000, from_ms=before_ms + HOUR_S * 1000)
    assert agree(seeded, *first.terms, later, version=1).terms == (*first.terms, later)
    assert seeded.rental(rent(seeded, 1).body).price_micros_per_gpu_hour == PRICE * 8 // 10


def test_a_cap_is_held_against_what_the_account_pays():
    seeded = seed_cloud()
    with pytest.raises(Conflict) as caught:
        rent(seeded, 1, max_price=PRICE - 1)
    assert caught.value.code == "price_cap"
    agree(seeded, term(gpu_type=GPU_TYPE, price_micros_per_gpu_hour=PRICE - 1))
    rented = seeded.rental(rent(seeded, 1, max_price=PRICE - 1, key="key-2").body)
    assert rented.price_micros_per_gpu_hour == PRICE - 1
    other = add_renter(seeded, name="other")
    with pytest.raises(Conflict):
        rent(seeded, 1, max_price=PRICE - 1, key="key-3", principal=other)


def test_a_spot_price_is_the_markets_and_a_reserved_one_may_be_agreed():
    seeded = seed_cloud(every_class=True)
    agree(seeded, term(discount_ppm=500_000))
    assert (
        seeded.rental(rent(seeded, 1, billing_class="spot").body).price_micros_per_gpu_hour
        == (PRICES["spot"])
    )
    seeded, _ = seed_calendars(8)
    agree(seeded, term(discount_ppm=500_000, billing_class="reserved"))
    assert booked(seeded, 3).price_micros_per_gpu_hour == PRICES["reserved"] // 2


def test_terms_follow_the_version_that_was_read_and_stand_in_the_audit_trail():
    seeded = seed_cloud(hosts=0)
    assert read_agreement(seeded.cloud.catalog, seeded.renter.account_id).version == 0
    first = agree(seeded, term(discount_ppm=100_000))
    assert first.version == 1
    with pytest.raises(VersionMismatch):
        agree(seeded, term(discount_ppm=900_000))
    assert agree(seeded, version=1).terms == ()
    entries = seeded.cloud.db.table("audit")
    told = [each for each in entries.values() if each.action == "agreement.put"]
    assert [each.details["version"] for each in told] == [1, 2]
    assert told[0].account_id == seeded.renter.account_id


@pytest.mark.parametrize(
    ("facts", "error", "code"),
    [
        ({"gpu_type": "none"}, NotFound, "unknown_gpu_type"),
        ({"region": "nowhere"}, InvalidInput, "unknown_region"),
        ({"until_ms": START_MS}, InvalidInput, "empty_term"),
    ],
)
def test_a_term_that_could_never_hold_is_refused(facts, error, code):
    seeded = seed_cloud(hosts=0)
    with pytest.raises(error) as caught:
        agree(seeded, term(discount_ppm=1, **facts))
    assert caught.value.code == code


PATH = "/v1/accounts/{account_id}/agreement"
FROM = "2026-01-01T00:00:00Z"


class Desk(Client):
    def put(self, *terms, version=0, account_id=None):
        body = {"terms": list(terms), "version": version}
        return self.send(
            "operator", "PUT", PATH, body, account_id=account_id or self.seeded.renter.account_id
        )


@pytest.fixture
def desk(monkeypatch):
    return Desk(monkeypatch)


def test_an_agreement_is_written_by_operators_and_shown_to_whose_it_is(desk):
    status, put = desk.put(
        {"discount_ppm": 250_000, "effective_from": FROM, "effective_until": "2028-01-01T00:00:00Z"}
    )
    assert (status, put["version"], put["currency"]) == (200, 1, "USD")
    desk.seeded.cloud.clock.advance_seconds(61)
    assert desk.send("renter", "GET", "/v1/agreement") == (200, put)
    shown = desk.send("operator", "GET", PATH, account_id=desk.seeded.renter.account_id)
    assert shown == (200, put)
    (offer,) = desk.send("renter", "GET", "/v1/offers")[1]["items"]
    assert offer["price_micros_per_gpu_hour"] == PRICE * 3 // 4
    assert offer["list_price_micros_per_gpu_hour"] == PRICE
    (offer,) = desk.send("operator", "GET", "/v1/offers")[1]["items"]
    assert offer["price_micros_per_gpu_hour"] == offer["list_price_micros_per_gpu_hour"] == PRICE


def test_an_announced_price_is_shown_as_the_account_will_have_it(desk):
    announced = "2027-01-15T09:00:00.000Z"
    desk.put_price(price_micros_per_gpu_hour=PRICE * 2, effective_from=announced)
    desk.put({"discount_ppm": 500_000, "effective_from": "2027-01-15T08:59:59Z"})
    (offer,) = desk.send("renter", "GET", "/v1/offers")[1]["items"]
    assert offer["price_micros_per_gpu_hour"] == PRICE, "it does not hold yet"
    assert offer["next_price"] == {"effective_from": announced, "price_micros_per_gpu_hour": PRICE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"effective_from": FROM},
        {"effective_from": FROM, "discount_ppm": 1, "price_micros_per_gpu_hour": 1},
        {"effective_from": FROM, "price_micros_per_gpu_hour": 1},
        {"effective_from": FROM, "discount_ppm": 1_000_000},
        {"effective_from": FROM, "discount_ppm": 1, "billing_class": "spot"},
        {"discount_ppm": 1},
        {"effective_from": "soon", "discount_ppm": 1},
    ],
)
def test_what_is_no_term_is_refused(desk, wrong):
    assert desk.put(wrong)[0] == 400
    assert desk.send("renter", "GET", "/v1/agreement")[1]["terms"] == []


def test_an_unknown_account_and_an_old_version_are_refused(desk):
    good = {"discount_ppm": 1, "effective_from": FROM}
    assert desk.put(good, account_id="acc_unknown")[0] == 404
    assert desk.put(good)[0] == 200
    status, answer = desk.put(good)
    assert (status, answer["code"]) == (409, "version_mismatch")
