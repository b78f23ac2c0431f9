"""The ticks of the watch: sent once a minute with delays, dropped when late, apart when they are wrong."""

import json

import pytest

from chalicelib.fleet import functions
from chalicelib.runtime.queues import Message, Rejected
from tests.factories import REGION
from tests.fakes.metrics import read_metrics
from tests.unit.fleet.watching import Watched


class Sqs:
    def __init__(self):
        self.batches, self.failing = [], []

    def send_message_batch(self, *, QueueUrl, Entries):  # noqa: N803
        assert QueueUrl == "watches"
        self.batches.append(Entries)
        return {"Failed": self.failing}


class Settings:
    watches_queue_url, stage = "watches", "unit"


class Log:
    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda text, extra: self.lines.append((level, text, extra))


@pytest.fixture
def watched(monkeypatch):
    watched = Watched(hosts=16)
    watched.sqs, watched.log = Sqs(), Log()
    cloud, wiring = watched.cloud, functions.wiring
    monkeypatch.setattr(wiring, "clock", lambda: cloud.clock)
    monkeypatch.setattr(wiring, "cached_catalog", lambda: cloud.rentals.cached_catalog)
    monkeypatch.setattr(wiring, "watch_ports", lambda: watched.ports)
    monkeypatch.setattr(wiring, "sqs_client", lambda: watched.sqs)
    monkeypatch.setattr(wiring, "settings", Settings)
    monkeypatch.setattr(functions, "get_logger", lambda: watched.log)
    return watched


def handle(watched, *, ago_ms=0, body=None):
    due_at_ms = watched.cloud.clock.now_ms() - ago_ms
    text = json.dumps({"region": REGION, "due_at_ms": due_at_ms}) if body is None else body
    functions.handle_watch(Message("m", text, 0))


def test_a_minutes_ticks_are_sent_in_batches_with_their_delays(watched):
    functions.send_ticks(functions.plan_ticks(frozenset({REGION}), watched.cloud.clock.now_ms()))
    assert [len(batch) for batch in watched.sqs.batches] == [10, 2]
    entries = [entry for batch in watched.sqs.batches for entry in batch]
    assert [entry["DelaySeconds"] for entry in entries] == list(range(0, 60, 5))
    assert all(len({entry["Id"] for entry in batch}) == len(batch) for batch in watched.sqs.batches)
    assert json.loads(entries[3]["MessageBody"]) == {
        "region": REGION,
        "due_at_ms": watched.cloud.clock.now_ms() + 15_000,
    }
    watched.sqs.failing = [{"Id": "0"}]
    functions.send_ticks(functions.plan_ticks(frozenset({REGION}), 0))
    assert watched.log.lines[-1][:2] == ("warning", "ticks not sent")


def test_a_tick_looks_at_its_region_and_a_late_one_does_not(watched):
    silent = watched.hosts[0]
    watched.up.discard(silent)
    watched.run(60, ticks=False)
    handle(watched, ago_ms=30_001)
    assert watched.host(silent).state == "active"
    handle(watched, ago_ms=30_000)
    assert watched.host(silent).state == "lost"
    assert watched.log.lines[-1][2]["lost"] == (silent,)


def test_f38_a_tick_that_comes_twice_does_no_more(watched):
    watched.up.discard(watched.hosts[0])
    watched.run(60, ticks=False)
    handle(watched)
    before = {name: dict(rows) for name, rows in watched.cloud.db.tables.items()}
    handle(watched)
    assert before == {name: dict(rows) for name, rows in watched.cloud.db.tables.items()}


def test_mass_silence_evicts_nobody_and_is_one_alarm_for_as_long_as_it_lasts(watched, capsys):
    watched.up -= set(watched.hosts[:5])
    for host_id in watched.hosts:
        watched.lease(host_id)
    held = []
    # 31 % of the hosts are silent for five minutes.
    for _ in range(30):
        watched.run(10, ticks=False)
        handle(watched)
        held.append(read_metrics(capsys)["regions_braked"])
    assert [line[0] for line in watched.log.lines].count("error") == 1
    assert {watched.host(host_id).state for host_id in watched.hosts} == {"active"}
    assert all(gpu.lease_state != "wiping" for host_id in watched.hosts for gpu in watched.gpus(host_id))
    # One alarm: the brake goes on once, and the metric stays up.
    assert held == sorted(held)
    assert held[-1] == 1
    watched.up = set(watched.hosts)
    watched.run(130, ticks=False)
    handle(watched)
    assert read_metrics(capsys) == {"regions_braked": 0, "regions_blind": 0}


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '"x"',
        "{}",
        '{"region": 1, "due_at_ms": 1}',
        '{"region": "r", "due_at_ms": true}',
        "[" * 9999,
    ],
)
def test_a_tick_that_is_wrong_is_rejected(watched, body):
    with pytest.raises(Rejected, match="wrong_schema"):
        handle(watched, body=body)
