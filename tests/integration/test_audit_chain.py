"""The chain of the audit trail on the deployed stream, tables, schedules and bucket."""

import json
import threading
import urllib.request

import pytest

from chalicelib import wiring
from chalicelib.accounts.service import create_key
from chalicelib.compliance.linking import link_entries
from chalicelib.compliance.model import Link
from chalicelib.compliance.verifying import verify_account
from chalicelib.core.clock import format_instant
from chalicelib.core.ports import AuditEntry
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import seed_installation
from provocative.auditing import check_export
from tests.fakes.events import TICK
from tests.integration.fleet_setup import add_renter, become_operator
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for


def list_links(account_id: str) -> list[Link]:
    return list(wiring.chain_ports().store.list_links(account_id, 1))


def list_entries(account_id: str) -> list[AuditEntry]:
    return list(wiring.chain_ports().store.list_entries(account_id, 0, None))


def wait_until_linked(account_id: str) -> list[Link]:
    """Wait for the deployed consumer of the stream."""
    return wait_for(
        lambda: list_links(account_id),
        lambda links: (
            {link.audit_id for link in links} == {entry.audit_id for entry in list_entries(account_id)}
        ),
        seconds=60,
    )


def invoke(cloud: EmbeddedCloud, name: str) -> None:
    client = cloud.aws.client("lambda")
    pages = client.get_paginator("list_functions").paginate()
    names = [each["FunctionName"] for page in pages for each in page["Functions"]]
    (found,) = (each for each in names if f"-{name}-" in each)
    answer = client.invoke(FunctionName=found, Payload=json.dumps(TICK).encode())
    assert "FunctionError" not in answer, answer["Payload"].read().decode()


def test_the_stream_links_what_was_done_schedules_anchor_and_verify_it_and_an_export_proves_it(
    cloud: EmbeddedCloud,
) -> None:
    seed = seed_installation(cloud)
    with wire_to(cloud):
        links = wait_until_linked(seed.renter_account_id)
        assert [link.sequence for link in links] == list(range(1, len(links) + 1))
        invoke(cloud, "SweepAudit")
        invoke(cloud, "AnchorAudit")
        invoke(cloud, "VerifyAudit")
        ports = wiring.chain_ports()
        last = ports.store.get_last_anchor()
        assert last is not None
        assert ports.store.get_progress().newest <= last.number
    proof = seed.operator.call("GET", f"/v1/audit/proof?account_id={seed.renter_account_id}")
    assert (proof["result"], proof["links"], proof["problem_count"]) == ("verified", len(links), 0)
    assert proof["last_anchor"]["hash"] == proof["head_hash"] == links[-1].hash
    until = format_instant(links[-1].at_ms + 1_000)
    period = f"account_id={seed.renter_account_id}&from=2020-01-01T00:00:00Z&to={until}"
    made = seed.operator.call("GET", f"/v1/audit/export?{period}")
    with urllib.request.urlopen(made["url"], timeout=10) as answer:
        lines = answer.read().splitlines(keepends=True)
    found = check_export(lines, root=made["anchor"]["root"])
    assert found.problems == []
    assert (found.entries, found.anchored_until) == (len(links), len(links))


def test_consumers_at_once_make_one_chain(cloud: EmbeddedCloud) -> None:
    """Eight of our own, and the deployed one beside them."""
    with wire_to(cloud):
        operator = become_operator()
        renter = add_renter(operator)
        for number in range(20):
            create_key(wiring.account_ports(), operator, renter.account_id, label=f"k{number}")
        entries = list_entries(renter.account_id)
        failures: list[Exception] = []

        def consume() -> None:
            try:
                link_entries(wiring.chain_ports(), renter.account_id, entries)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=consume) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        links = wait_until_linked(renter.account_id)
        assert [link.sequence for link in links] == list(range(1, len(links) + 1))
        assert len({link.audit_id for link in links}) == len(links) == len(entries)
        assert verify_account(wiring.chain_ports(), renter.account_id).findings.count == 0
        # Whoever gave up did so because others had the work.
        assert all(type(each).__name__ == "Unavailable" for each in failures)


@pytest.mark.parametrize("spoil", ["entry", "link"])
def test_a_row_that_somebody_with_every_right_changes_is_named(cloud: EmbeddedCloud, spoil: str) -> None:
    with wire_to(cloud):
        renter = add_renter(become_operator())
        links = wait_until_linked(renter.account_id)
        assert verify_account(wiring.chain_ports(), renter.account_id).findings.count == 0
        victim, client = links[0], cloud.aws.client("dynamodb")
        prefix = wiring.settings().table_prefix
        entry_key = {
            "pk": {"S": f"ACCOUNT#{renter.account_id}"},
            "sk": {"S": f"{victim.at_ms:013d}#{victim.audit_id}"},
        }
        link_key = {"pk": {"S": f"LINKS#{renter.account_id}"}, "sk": {"S": f"{victim.sequence:012d}"}}
        table, key, name = (
            ("audit", entry_key, "actor") if spoil == "entry" else ("chain", link_key, "digest")
        )
        client.update_item(
            TableName=f"{prefix}-{table}",
            Key=key,
            UpdateExpression="SET #name = :other",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":other": {"S": "somebody else"}},
        )
        problems = verify_account(wiring.chain_ports(), renter.account_id).findings.problems
        assert victim.sequence in {each.sequence for each in problems}
