"""What an operator does with the command line, against the API's own routes."""

import json

from tests.factories import GPU_TYPE, PRICE, REGION, start
from tests.unit.scaling.cloud import SETTINGS


def run(terminal, *arguments, **more):
    return terminal(*arguments, role="operator", **more)


def test_hosts_are_listed_closed_opened_and_retired(terminal):
    host_id = terminal.platform.host_id
    assert f"{host_id}  active" in run(terminal, "hosts").out
    assert "4 of 4" in run(terminal, "hosts", "show", host_id).out
    closed = run(terminal, "hosts", "cordon", host_id, "--reason", "smells of smoke")
    assert "cordoned: smells of smoke" in closed.out
    assert host_id not in run(terminal, "hosts", "--state", "active").out
    # On eighty columns too: why nothing is placed there comes before where it stands.
    assert "cordoned" in run(terminal, "hosts").out
    assert "is active" in run(terminal, "hosts", "uncordon", host_id).out
    run(terminal, "hosts", "cordon", host_id, "--reason", "to be sold")
    unasked = run(terminal, "hosts", "retire", host_id, "--reason", "sold", code=2)
    assert "Add --yes" in unasked.err
    assert "is retired" in run(terminal, "hosts", "retire", host_id, "--reason", "sold", "-y").out
    trail = terminal.read("audit", "--target", host_id, role="operator")["items"]
    assert [entry["action"] for entry in trail[:2]] == ["host.retired", "host.cordoned"]
    assert trail[0]["details"]["reason"] == "sold"
    assert "host.retired" in run(terminal, "audit", "--target", host_id).out


def test_a_host_with_work_is_not_retired(terminal):
    start(terminal.platform.seeded, 1)
    refused = run(terminal, "hosts", "retire", terminal.platform.host_id, "--reason", "sold", "--yes", code=1)
    assert "error:" in refused.err


def test_prices_and_types_are_set_and_the_history_shows_them(terminal):
    typed = run(
        terminal, "gpu-types", "set", "A10", "--architecture", "Ampere", "--memory", "24GB", "--power", "150"
    )
    assert typed.out.startswith("A10: Ampere")
    run(terminal, "prices", "set", "A10", REGION, "0.75")
    later = run(terminal, "prices", "set", "A10", REGION, "0.80", "--from", "2027-06-01T00:00Z")
    assert later.out == f"A10 in {REGION}, on_demand: 0.80 per GPU-hour from 2027-06-01 00:00:00Z.\n"
    shown = terminal("prices", "history", "A10", REGION)
    assert "0.75" in shown.out
    assert "0.80" in shown.out


def test_an_account_gets_a_key_credit_and_a_quota(terminal):
    account_id = terminal.read("accounts", "create", "Uni Lund", role="operator")["account_id"]
    credit = ("accounts", "credit", account_id, "12.50", "--reason", "welcome", "--idempotency-key", "once")
    for _ in range(2):
        assert "available  12.50" in run(terminal, *credit).out
    assert terminal.read("accounts", "quota", account_id, "8", role="operator")["max"] == 8
    assert terminal.read("accounts", "reserved-quota", account_id, "5", role="operator")["max"] == 5
    made = terminal.read("keys", "create", account_id, "--label", "ci", role="operator")
    terminal.environ = {"PROVOCATIVE_API_KEY": made["key"]}
    assert terminal.read("whoami")["account_id"] == account_id
    terminal.environ = {}
    assert "revoked" in run(terminal, "keys", "revoke", made["key_id"], "--yes").out
    terminal.environ = {"PROVOCATIVE_API_KEY": made["key"]}
    assert "provocative login" in terminal("ps", code=4).err


def test_an_agreement_is_added_shown_paid_and_dropped(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    assert terminal("agreement").out.startswith("There is no agreement")
    of_2027 = ("--from", "2027-01-01T00:00Z", "--until", "2028-01-01T00:00Z")
    run(terminal, "agreement", "add", account_id, "--discount", "25%", *of_2027)
    put = terminal.read(
        "agreement", "add", account_id, "--price", "2.00", "--gpu-type", GPU_TYPE, role="operator"
    )
    assert [each["discount_ppm"] for each in put["terms"]] == [250_000, None]
    shown = terminal("agreement").out
    assert "list less 25%" in shown
    assert "2.00 USD" in shown
    terminal.platform.seeded.cloud.clock.advance_seconds(61)
    (offer,) = terminal.read("offers")["items"]
    assert offer["price_micros_per_gpu_hour"] == PRICE * 3 // 4 < offer["list_price_micros_per_gpu_hour"]
    left = terminal.read("agreement", "drop", account_id, "1", "--yes", role="operator")
    assert [each["price_micros_per_gpu_hour"] for each in left["terms"]] == [2_000_000]
    assert terminal.read("agreement", "of", account_id, role="operator") == terminal.read("agreement")
    assert "There is no term 2" in run(terminal, "agreement", "drop", account_id, "2", "--yes", code=2).err


def test_a_revoked_key_does_not_look_like_a_live_one(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    made = terminal.read("keys", "create", account_id, "--label", "old", role="operator")
    run(terminal, "keys", "revoke", made["key_id"], "--yes")
    rows = {line.split()[0]: line.split()[-1] for line in terminal("keys").out.splitlines()}
    assert rows.pop("KEY") == "REVOKED"
    assert rows.pop(made["key_id"]).endswith("Z")
    assert set(rows.values()) == {"-"}


def test_maintenance_is_planned_listed_and_called_off(terminal):
    host_id = terminal.platform.host_id
    window = run(
        terminal, "maintenance", "plan", host_id, "--from", "+48h", "--to", "+50h", "--reason", "new feed",
        "--category", "power", "--json", code=1,
    )  # fmt: skip
    # The wall clock of this machine is not the platform's, which is in 2027.
    assert json.loads(window.err)["code"] == "invalid_window"
    window = terminal.read(
        "maintenance", "plan", host_id, "--from", "2027-02-01T09:00Z", "--to", "2027-02-01T11:00Z",
        "--reason", "new feed", "--category", "power", "--lead", "2h", role="operator",
    )  # fmt: skip
    assert window["closes_at"].startswith("2027-02-01T07:00:00")
    assert window["window_id"] in run(terminal, "maintenance").out
    assert "cancelled" in run(terminal, "maintenance", "cancel", window["window_id"]).out
    assert "cancelled" in run(terminal, "maintenance", "show", window["window_id"]).out


def test_a_pool_is_read_changed_and_put_back(terminal, tmp_path):
    terminal.platform.scaling.put()
    pool = terminal.read("pools", "show", GPU_TYPE, REGION, role="operator")
    assert pool["max_hosts"] == SETTINGS.max_hosts
    file = tmp_path / "pool.json"
    file.write_text(json.dumps({**pool, "max_hosts": 7}))
    assert "0 to 7" in run(terminal, "pools", "set", GPU_TYPE, REGION, str(file)).out
    assert "0-7" in run(terminal, "pools").out
    assert "nothing" in run(terminal, "pools", "plan").out
    file.write_text("{")
    assert "is not JSON" in run(terminal, "pools", "set", GPU_TYPE, REGION, str(file), code=2).err


def test_incidents_and_tokens(terminal):
    assert run(terminal, "incidents").out == "No incidents.\n"
    token = run(terminal, "enrol-token", GPU_TYPE, REGION)
    assert token.out.startswith("pc_enrol_")
    assert "shown once" in token.err


def test_what_only_operators_may_do_is_refused_to_renters_with_a_hint(terminal):
    for verb in ("hosts", "incidents", "pools"):
        refused = terminal(verb, code=4)
        assert "hosts:read" in refused.err or "pools:read" in refused.err
        assert "provocative whoami" in refused.err


def test_the_trail_is_asked_for_one_thing(terminal):
    assert "target" in run(terminal, "audit", code=1).err


def test_an_account_is_charged_once_and_reads_why(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    asked = ("accounts", "charge", account_id, "12.50", "--reason", "a disk", "--yes")
    for _ in range(2):
        run(terminal, *asked, "--idempotency-key", "disk")
    (entry, *_) = terminal.read("ledger")["items"]
    assert (entry["kind"], entry["amount_micros"]) == ("one_off", -12_500_000)
    assert "a disk" in terminal("ledger").out
    refused = run(terminal, "accounts", "charge", account_id, "999999", "--reason", "x", "--yes", code=1)
    assert "does not cover" in refused.err


def test_a_key_is_issued_with_limits_rotated_and_reported(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    limits = ("--permission", "rentals:read", "--permission", "keys:read", "--network", "127.0.0.0/8")
    made = terminal.read(
        "keys", "create", account_id, "--label", "ci", *limits, "--expires-at", "2027-02-01T00:00Z"
    )
    assert (made["permissions"], made["allowed_networks"]) == (["keys:read", "rentals:read"], ["127.0.0.0/8"])
    terminal.environ = {"PROVOCATIVE_API_KEY": made["key"]}
    assert terminal("ps").out.startswith("No rentals")
    assert "error:" in terminal("cost", code=4).err
    terminal.environ = {}
    issued = terminal("keys", "create", account_id, "--label", "shown once")
    assert issued.out.strip().splitlines()[-1].startswith("pc_live_")
    rotated = terminal.read("keys", "rotate", made["key_id"], "--overlap", "0s")
    assert (rotated["predecessor_id"], rotated["permissions"]) == (made["key_id"], made["permissions"])
    terminal.environ = {"PROVOCATIVE_API_KEY": made["key"]}
    terminal("ps", code=4)
    terminal.environ = {}
    told = terminal("keys", "report-leak", "--url", "https://code.example/x", stdin=rotated["key"] + "\n")
    assert told.out.startswith("Received.")
    assert rotated["key"] not in told.out + told.err
    terminal.environ = {"PROVOCATIVE_API_KEY": rotated["key"]}
    terminal("ps", code=4)


def test_a_rotation_whose_answer_was_lost_shows_the_same_successor(terminal):
    account_id = terminal.platform.seeded.renter.account_id
    made = terminal.read("keys", "create", account_id, "--label", "ci")
    terminal.gateway.faults = ["lost"]
    rotated = terminal.read("keys", "rotate", made["key_id"])
    listed = {each["key_id"]: each for each in terminal.read("keys")["items"]}
    assert listed[made["key_id"]]["successor_id"] == rotated["key_id"]
    terminal.environ = {"PROVOCATIVE_API_KEY": rotated["key"]}
    terminal("ps")
