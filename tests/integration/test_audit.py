"""The audit trail through the deployed API, its rights and its indexes."""

from typing import Any

from chalicelib import wiring
from chalicelib.fleet.operations import cordon_host
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import seed_installation
from tests.integration.fleet_setup import add_host, become_operator, offer
from tests.integration.in_process import wire_to


def test_operators_read_what_was_done_to_a_host_and_by_a_key(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        operator = become_operator()
        offer(operator, "audited")
        host = add_host(operator, "audited", 2)
        for reason in ("first look", "second look"):
            cordon_host(wiring.operation_ports(), operator, host.host_id, reason)
    # It has a key of its own: this is another actor.
    api = seed_installation(cloud).operator

    def read(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = api.call("GET", f"/v1/audit?{query}&limit=1{cursor}")
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    entries = read(f"target={host.host_id}")
    assert [entry["action"] for entry in entries] == ["host.cordoned", "host.cordoned", "host.enrolled"]
    assert [entry["details"].get("reason") for entry in entries] == ["second look", "first look", None]
    assert {entry["actor"] for entry in entries[:2]} == {operator.actor_id}
    by_key = read(f"actor={operator.actor_id}")
    assert by_key[:2] == entries[:2]
    assert {entry["actor"] for entry in by_key} == {operator.actor_id}
    assert by_key == sorted(by_key, key=lambda entry: str(entry["at"]), reverse=True)
