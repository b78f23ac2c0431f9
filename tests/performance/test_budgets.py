"""Budgets of the API path: what it may import, and how many calls it may make. Counted, never timed."""

import pytest

from chalicelib.accounts import standing
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import GPU_TYPE, REGION, seed_installation
from tests.integration.fleet_setup import add_host, become_operator
from tests.integration.in_process import close_clients, forget, wire_to
from tests.performance.counting import count_calls
from tests.performance.imports import ENTRY_POINT, FIRST_START, list_forbidden
from tests.performance.requests import build_event, call


@pytest.mark.parametrize("statement", [ENTRY_POINT, FIRST_START, "import app"])
def test_importing_the_api_loads_nothing_that_is_known_to_be_slow(statement):
    assert list_forbidden(statement) == []


@pytest.mark.parametrize("slice_name", ["accounts", "billing", "catalog", "fleet", "metering", "webhooks"])
def test_a_function_imports_no_routes_and_nothing_slow(slice_name):
    code = f"import chalicelib.{slice_name}.functions"
    assert list_forbidden(code) == []
    assert list_forbidden(code, ("app", "chalicelib.rentals.api", "chalicelib.billing.api")) == []


def test_a_start_makes_three_calls_and_a_look_two(
    cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, the account's standing is known from the first request.
    monkeypatch.setattr(standing, "KEPT_MS", 3_600_000)
    seed = seed_installation(cloud)
    path = "/v1/rentals/{rental_id}"
    body = {"gpu_type": GPU_TYPE, "gpu_count": 1, "region": REGION, "command": ["true"]}

    def post(key: str) -> str:
        event = build_event("POST", "/v1/rentals", "/v1/rentals", seed.renter_key, body, Idempotency_Key=key)
        status, answer = call(event)
        assert status == 201, answer
        return answer["rental_id"]

    def look(rental_id: str) -> int:
        return call(build_event("GET", f"/v1/rentals/{rental_id}", path, seed.renter_key))[0]

    with wire_to(cloud):
        add_host(become_operator(), GPU_TYPE, 4)
        close_clients()
        forget()
        with count_calls() as first:
            post("first")
        with count_calls() as calls:
            rental_id = post("second")
        with count_calls() as first_look:
            assert look(rental_id) == 200
        with count_calls() as looks:
            assert look(rental_id) == 200
    assert calls == ["GetItem", "Query", "TransactWriteItems"]
    assert looks == ["GetItem", "GetItem"]
    # The first request of a process leases tokens of key and account, and again after a few.
    leases = ["UpdateItem", "UpdateItem"]
    assert first_look == ["GetItem", *leases, "GetItem"]
    # It reads the catalogue too; the first of a key's day notes its use, and the first of an account in three
    # seconds reads whether it is suspended.
    assert first == ["GetItem", "UpdateItem", "GetItem", *leases, "Query", "Query", "TransactWriteItems"]


def test_a_malformed_key_costs_no_read(cloud: EmbeddedCloud):
    with wire_to(cloud), count_calls() as calls:
        for _ in range(4):
            status, _ = call(build_event("GET", "/v1/rentals", "/v1/rentals", "pc_live_mistyped"))
            assert status == 401
    # A lease of the address's tokens, for the four of them.
    assert calls == ["UpdateItem"]
