"""What offers say of pools that are in use, closed or broken, and the spot price that follows the load."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.accounts.service import create_key
from chalicelib.catalog import functions as catalog_functions
from chalicelib.catalog.model import PriceKey
from chalicelib.core.principal import Principal
from chalicelib.fleet import functions as fleet_functions
from chalicelib.fleet.operations import cordon_host
from chalicelib.fleet.watch import lose_host
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import Api
from tests.fakes.events import TICK
from tests.integration.fleet_setup import (
    PRICE,
    REGION,
    add_host,
    add_renter,
    beat,
    become_operator,
    offer,
    rent,
)
from tests.integration.in_process import wire_to
from tests.performance.counting import count_calls


@pytest.fixture(scope="module")
def operator(cloud: EmbeddedCloud) -> Iterator[Principal]:
    with wire_to(cloud):
        yield become_operator()


def look(cloud: EmbeddedCloud, operator: Principal, renter: Principal, query: str) -> list[dict[str, Any]]:
    key = create_key(wiring.account_ports(), operator, renter.account_id, label="api")
    items: list[dict[str, Any]] = Api(cloud.api_url, key.token).call("GET", f"/v1/offers?{query}")["items"]
    return items


def test_an_offer_says_what_keeps_its_gpus_and_how_reliable_its_hosts_are(
    cloud: EmbeddedCloud, operator: Principal
) -> None:
    offer(operator, "offered")
    kept, worked_on, gone = (add_host(operator, "offered", gpus) for gpus in (2, 4, 4))
    renter, pool = add_renter(operator), "gpu_type=offered&gpu_count=4"
    (shown,) = look(cloud, operator, renter, pool)
    assert (shown["availability"], shown["why_not"], shown["total_gpus"]) == ("MEDIUM", [], 10)
    assert shown["reliability_ppm"] is None

    cordon_host(wiring.operation_ports(), operator, worked_on.host_id, "new power supply")
    (shown,) = look(cloud, operator, renter, pool)
    assert shown["why_not"] == []
    liveness = wiring.fleet_ports().store.get_liveness(gone.host_id)
    assert liveness is not None
    ports, now_ms = wiring.watch_ports(), wiring.clock().now_ms()
    assert lose_host(ports, gone.host_id, "instance_ended", liveness.last_seen_at_ms, now_ms)
    (shown,) = look(cloud, operator, renter, pool)
    assert (shown["availability"], shown["free_gpus"], shown["total_gpus"]) == ("LOW", 2, 10)
    assert shown["why_not"] == ["no_capacity", "maintenance", "unhealthy"]
    beat(kept.host_id)
    rent(renter, "offered", 2, "the last")
    (shown,) = look(cloud, operator, renter, pool)
    assert (shown["availability"], shown["free_gpus"]) == ("NONE", 0)

    fleet_functions.refresh_reliability(TICK, None)
    (shown,) = look(cloud, operator, renter, pool)
    assert 0 < shown["reliability_ppm"] <= 1_000_000
    assert look(cloud, operator, renter, f"{pool}&min_reliability_ppm={shown['reliability_ppm']}") == [shown]


def test_offers_of_a_pool_cost_three_calls_however_many_hosts_it_has(operator: Principal) -> None:
    offer(operator, "counted")
    for expected_gpus in (2, 4):
        add_host(operator, "counted", 2)
        with count_calls() as calls:
            found = wiring.capacity_reader().read_capacity("counted", REGION)
        assert (found.free_gpus, found.total_gpus) == (expected_gpus, expected_gpus)
        assert calls == ["Query", "Query", "GetItem"]


def test_a_spot_price_rises_by_its_rule_when_its_pool_is_full(
    cloud: EmbeddedCloud, operator: Principal
) -> None:
    offer(operator, "wanted")
    add_host(operator, "wanted", 2)
    renter = add_renter(operator)
    rent(renter, "wanted", 2, "all")
    # Only now, so that the deployed schedule finds it full too, whichever comes first.
    offer(operator, "wanted", "spot", PRICE // 2)
    catalog_functions.move_spot_prices(TICK, None)
    (spot,) = look(cloud, operator, renter, "gpu_type=wanted&billing_class=spot")
    assert spot["price_micros_per_gpu_hour"] == PRICE // 2 * 105 // 100
    key = PriceKey("wanted", REGION, "spot")
    history = wiring.catalog_ports().store.list_history(key, 0, 10**15, 10, None)
    assert [row.origin for row in history.items] == ["spot_rule", "operator"]
