"""Bad input over HTTP: a 4xx problem with a stable code, nothing changed, never a 5xx."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from infra.local.cloud import EmbeddedCloud
from infra.local.seed import GPU_TYPE, REGION, Seed, seed_installation

GOOD = {"gpu_type": GPU_TYPE, "gpu_count": 1, "region": REGION, "command": ["true"]}
MISSING = "rnt_00000000000000000000000000"
#: Tables that a refused request must leave as they were.
TABLES = (
    "accounts",
    "organisations",
    "catalog",
    "prices",
    "templates",
    "fleet",
    "commands",
    "rentals",
    "scheduling",
    "metering",
    "ledger",
    "balances",
    "idempotency",
)


@pytest.fixture(scope="module")
def seed(cloud: EmbeddedCloud) -> Seed:
    return seed_installation(cloud)


@pytest.fixture
def client(cloud: EmbeddedCloud, seed: Seed) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {seed.renter_key}", "Idempotency-Key": "bad-input"}
    with httpx.Client(base_url=cloud.api_url, headers=headers, timeout=30) as opened:
        # The day's first use of a key is noted with it.
        assert opened.get("/v1/rentals").status_code == HTTPStatus.OK
        yield opened


def snapshot(cloud: EmbeddedCloud) -> dict[str, list[Any]]:
    dynamodb = cloud.aws.client("dynamodb")
    prefix = cloud.outputs["TablePrefix"]
    pages = {
        name: list(dynamodb.get_paginator("scan").paginate(TableName=f"{prefix}-{name}")) for name in TABLES
    }
    return {
        name: sorted((item for page in found for item in page["Items"]), key=str)
        for name, found in pages.items()
    }


def check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:provocative:problem:{code}"
    assert problem["detail"]
    assert problem["request_id"]


BAD_BODIES: dict[str, tuple[Any, int, str]] = {
    "unknown field": ({**GOOD, "colour": "red"}, 400, "invalid_request"),
    "missing field": ({"gpu_type": GPU_TYPE}, 400, "invalid_request"),
    "wrong type": ({**GOOD, "gpu_count": "1"}, 400, "invalid_request"),
    "bool for a number": ({**GOOD, "gpu_count": True}, 400, "invalid_request"),
    "fraction": ({**GOOD, "gpu_count": 1.5}, 400, "invalid_request"),
    "count 0": ({**GOOD, "gpu_count": 0}, 400, "invalid_request"),
    "count -1": ({**GOOD, "gpu_count": -1}, 400, "invalid_request"),
    "count 10^9": ({**GOOD, "gpu_count": 10**9}, 400, "invalid_request"),
    "count 10^400": (
        f'{{"gpu_type":"{GPU_TYPE}","gpu_count":1{"0" * 400},"command":["a"]}}',
        400,
        "invalid_request",
    ),
    "neither command nor image": ({**GOOD, "command": []}, 400, "invalid_request"),
    "bad image": ({**GOOD, "image": "Not An Image"}, 400, "invalid_request"),
    "image that is an option": ({**GOOD, "image": "--privileged"}, 400, "invalid_request"),
    "ports without an image": ({**GOOD, "ports": [{"container_port": 80}]}, 400, "invalid_request"),
    "port 0": ({**GOOD, "image": "a", "ports": [{"container_port": 0}]}, 400, "invalid_request"),
    "port twice": ({**GOOD, "image": "a", "ports": [{"container_port": 80}] * 2}, 400, "invalid_request"),
    "SSH key with options": (
        {**GOOD, "image": "a", "ssh_public_keys": [f'command="sh" ssh-ed25519 {"A" * 68}']},
        400,
        "invalid_request",
    ),
    "two SSH keys in one": (
        {**GOOD, "image": "a", "ssh_public_keys": [f"ssh-ed25519 {'A' * 68} a\nssh-ed25519 {'A' * 68}"]},
        400,
        "invalid_request",
    ),
    "volume on the root": (
        {**GOOD, "image": "a", "volume": {"size_gib": 1, "mount_path": "/"}},
        400,
        "invalid_request",
    ),
    "volume with mount options": (
        {**GOOD, "image": "a", "volume": {"size_gib": 1, "mount_path": "/data:Z"}},
        400,
        "invalid_request",
    ),
    "volume of nothing": (
        {**GOOD, "image": "a", "volume": {"size_gib": 0, "mount_path": "/data"}},
        400,
        "invalid_request",
    ),
    "NUL in a command": ({**GOOD, "command": ["a\x00b"]}, 400, "invalid_request"),
    "bad variable name": ({**GOOD, "env": {"1 A": "x"}}, 400, "invalid_request"),
    "unknown GPU type": ({**GOOD, "gpu_type": "ABACUS"}, 400, "unknown_gpu_type"),
    "unknown region": ({**GOOD, "region": "mars-1"}, 400, "unknown_region"),
    "price cap": ({**GOOD, "max_price_micros_per_gpu_hour": 1, "on_no_capacity": "fail"}, 409, "price_cap"),
    "array": ("[]", 400, "invalid_request"),
    "null": ("null", 400, "invalid_request"),
    "empty": ("", 400, "invalid_json"),
    "broken JSON": ("{", 400, "invalid_json"),
    "NaN": ('{"gpu_count": NaN}', 400, "invalid_json"),
    "duplicate key": ('{"gpu_count": 1, "gpu_count": 2}', 400, "invalid_json"),
    "deep nesting": ('{"a":' * 50 + "1" + "}" * 50, 400, "invalid_request"),
    "very deep nesting": ("[" * 100_000, 400, "invalid_json"),
    "workload of 40 KiB": ({**GOOD, "command": ["x" * 8000] * 5}, 400, "invalid_request"),
    "body over 256 KiB": ("x" * (256 * 1024 + 1), 413, "payload_too_large"),
    "lone surrogate": ('{"gpu_type": "\\ud800", "command": ["a"]}', 400, "invalid_json"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_start_is_refused_with_its_code_and_changes_nothing(
    cloud: EmbeddedCloud, client: httpx.Client, name: str
) -> None:
    body, status, code = BAD_BODIES[name]
    before = snapshot(cloud)
    if isinstance(body, str):
        answer = client.post("/v1/rentals", content=body, headers={"Content-Type": "application/json"})
    else:
        answer = client.post("/v1/rentals", json=body)
    check_problem(answer, status, code)
    assert snapshot(cloud) == before


def test_a_start_without_room_is_refused_and_holds_nothing(
    cloud: EmbeddedCloud, client: httpx.Client
) -> None:
    before = snapshot(cloud)
    check_problem(client.post("/v1/rentals", json={**GOOD, "on_no_capacity": "fail"}), 409, "no_capacity")
    assert snapshot(cloud) == before


def test_a_start_without_an_idempotency_key_is_refused(cloud: EmbeddedCloud, seed: Seed) -> None:
    check_problem(seed.renter.request("POST", "/v1/rentals", GOOD), 400, "idempotency_key_missing")


def test_another_content_type_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/rentals", content="a=1", headers={"Content-Type": "text/plain"})
    check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("rental_id", [MISSING, "x", "rnt_%00", "rnt_" + "a" * 500, "%F0%9F%92%A3", "a%23b"])
@pytest.mark.parametrize("suffix", ["", "/receipt"])
def test_a_missing_id_is_not_found_whatever_it_looks_like(
    client: httpx.Client, rental_id: str, suffix: str
) -> None:
    check_problem(client.get(f"/v1/rentals/{rental_id}{suffix}"), 404, "not_found")


def test_ending_a_missing_rental_is_not_found(client: httpx.Client) -> None:
    answer = client.post(f"/v1/rentals/{MISSING}/actions", json={"action": "terminate"})
    check_problem(answer, 404, "not_found")


def test_an_unknown_action_is_refused(client: httpx.Client) -> None:
    answer = client.post(f"/v1/rentals/{MISSING}/actions", json={"action": "explode"})
    check_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1&limit=2", "colour=red"]
)
def test_a_bad_query_is_refused(client: httpx.Client, query: str) -> None:
    check_problem(client.get(f"/v1/rentals?{query}"), 400, "invalid_request")


@pytest.mark.parametrize("cursor", ["x", "%00", "____", "bm90IGEga2V5", "e30", "a" * 3000])
def test_a_foreign_cursor_is_refused_or_lists_the_callers_own(client: httpx.Client, cursor: str) -> None:
    answer = client.get(f"/v1/rentals?cursor={cursor}")
    if answer.status_code == 200:
        assert answer.json()["items"] == []
    else:
        check_problem(answer, 400, "invalid_cursor")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Basic eDp5", "Bearer x", "Bearer pc_live_x_y", "Bearer " + "a" * 5000],
)
def test_a_bad_key_is_unauthenticated(cloud: EmbeddedCloud, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = httpx.get(f"{cloud.api_url}/v1/rentals", headers=headers, timeout=30)
    check_problem(answer, 401, "invalid_credentials")


def test_a_key_with_one_wrong_character_is_unauthenticated(cloud: EmbeddedCloud, seed: Seed) -> None:
    wrong = seed.renter_key[:-1] + ("A" if seed.renter_key[-1] != "A" else "B")
    answer = httpx.get(f"{cloud.api_url}/v1/wallet", headers={"Authorization": f"Bearer {wrong}"}, timeout=30)
    check_problem(answer, 401, "invalid_credentials")


def test_a_revoked_key_stops_working_at_once(cloud: EmbeddedCloud, seed: Seed) -> None:
    path = f"/v1/accounts/{seed.renter_account_id}/api-keys"
    issued = seed.operator.call("POST", path, {"label": "to revoke"})
    headers = {"Authorization": f"Bearer {issued['key']}"}
    assert httpx.get(f"{cloud.api_url}/v1/wallet", headers=headers, timeout=30).status_code == 200
    seed.operator.call("DELETE", f"/v1/api-keys/{issued['key_id']}")
    answer = httpx.get(f"{cloud.api_url}/v1/wallet", headers=headers, timeout=30)
    check_problem(answer, 401, "invalid_credentials")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/accounts"),
        ("PUT", "/v1/gpu-types/X"),
        ("POST", "/v1/enrolments"),
        ("GET", "/v1/hosts"),
        ("POST", "/v1/accounts/acc_x/credits"),
    ],
)
def test_a_renter_may_not_operate(client: httpx.Client, method: str, path: str) -> None:
    check_problem(client.request(method, path, json={}), 403, "forbidden")


def test_another_accounts_rental_answers_exactly_as_a_missing_one(cloud: EmbeddedCloud, seed: Seed) -> None:
    from tests.integration.fleet_setup import add_host, add_renter, become_operator, rent
    from tests.integration.in_process import wire_to

    with wire_to(cloud):
        operator = become_operator()
        add_host(operator, GPU_TYPE, 1)
        owner = add_renter(operator)
        foreign = rent(owner, GPU_TYPE, 1, "foreign").body
    answers = [seed.renter.request("GET", f"/v1/rentals/{rental_id}") for rental_id in (foreign, MISSING)]
    bodies = [{**answer.json(), "request_id": None} for answer in answers]
    assert bodies[0] == bodies[1]
    assert {answer.status_code for answer in answers} == {404}


def test_an_unknown_path_is_a_problem_document_too(client: httpx.Client) -> None:
    answer = client.get("/v1/nothing")
    assert answer.status_code in {403, 404}
    assert answer.headers["content-type"] == "application/problem+json"
