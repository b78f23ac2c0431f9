"""The trail on the command line: an operator verifies one account, and a file is checked without the API."""

from dataclasses import replace

from chalicelib.compliance.anchoring import anchor_heads
from chalicelib.compliance.linking import link_entries

PERIOD = ("--from", "2026-01-01T00:00Z", "--to", "2030-01-01T00:00Z")


def live(terminal):
    """Keys are issued, linked, anchored; one more comes after the anchor."""
    cloud = terminal.platform.cloud
    account_id = terminal.platform.seeded.renter.account_id
    for number in range(6):
        terminal.read("keys", "create", account_id, "--label", f"k{number}", role="operator")
        if number == 4:
            link(cloud, account_id)
            anchor_heads(cloud.chains, 10**15)
    link(cloud, account_id)
    return account_id


def link(cloud, account_id):
    mine = [entry for entry in cloud.audit.entries if entry.account_id == account_id]
    link_entries(cloud.chains, account_id, mine)


def test_an_operator_has_one_account_verified_now(terminal):
    account_id = live(terminal)
    proof = terminal.read("audit", "verify", "--account", account_id, role="operator")
    assert (proof["result"], proof["links"]) == ("verified", proof["head_sequence"])
    shown = terminal("audit", "verify", "--account", account_id, role="operator").out
    assert proof["last_anchor"]["root"] in shown
    entries = terminal.platform.cloud.db.table("audit")
    victim = next(entry for entry in entries.values() if entry.account_id == account_id)
    entries[victim.audit_id] = replace(victim, actor="key_other")
    told = terminal("audit", "verify", "--account", account_id, role="operator", code=1)
    assert "entry_changed" in told.out
    assert "contradicts itself" in told.err


def test_a_long_trail_is_verified_call_by_call(terminal, monkeypatch):
    account_id = live(terminal)
    monkeypatch.setattr("chalicelib.compliance.verifying.verify_account.__defaults__", (1, 2))
    terminal.gateway.requests.clear()
    proof = terminal.read("audit", "verify", "--account", account_id, role="operator")
    assert proof["links"] == proof["head_sequence"] > 4
    assert (proof["first_sequence"], proof["next_sequence"]) == (1, None)
    assert len(terminal.gateway.requests) == -(-proof["links"] // 2)


def test_an_export_is_written_checked_and_checked_again_without_the_api(terminal, tmp_path):
    account_id = live(terminal)
    file = tmp_path / "trail.ndjson"
    made = terminal.read("audit", "export", str(file), *PERIOD, "--account", account_id, role="operator")
    root = made["anchor"]["root"]
    assert "url" not in made
    terminal.gateway.requests.clear()
    found = terminal.read("audit", "check", str(file), "--root", root)
    assert (found["account_id"], found["entries"]) == (account_id, made["entries"])
    assert 0 < found["anchored_until"] < found["last_sequence"]
    assert root in terminal("audit", "check", str(file)).out
    assert (
        "another than the one given" in terminal("audit", "check", str(file), "--root", "e" * 64, code=1).err
    )
    file.write_bytes(file.read_bytes().replace(b'"actor":"k', b'"actor":"j', 1))
    assert "proves nothing" in terminal("audit", "check", str(file), code=1).err
    assert not terminal.gateway.requests


def test_an_export_that_does_not_prove_itself_is_not_written(terminal, tmp_path):
    account_id = live(terminal)
    entries = terminal.platform.cloud.db.table("audit")
    victim = next(entry for entry in entries.values() if entry.account_id == account_id)
    entries[victim.audit_id] = replace(victim, actor="key_other")
    file = tmp_path / "trail.ndjson"
    refused = terminal(
        "audit", "export", str(file), *PERIOD, "--account", account_id, role="operator", code=1
    )
    assert "is not the one that was linked" in refused.err
    assert list(tmp_path.glob("*.ndjson*")) == []


def test_an_accounts_trail_is_listed_with_filters(terminal):
    account_id = live(terminal)
    listed = terminal.read("audit", "--account", account_id, "--action", "key.", *PERIOD, role="operator")
    assert {entry["account_id"] for entry in listed["items"]} == {account_id}
    assert len(listed["items"]) >= 6
