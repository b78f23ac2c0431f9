"""A renter's look at the log: asked for by command, told in heartbeats, never more than a heartbeat holds."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.v1 import MAX_LOG_BYTES, MAX_MESSAGE_BYTES, Command, Lease, encode_record
from host_agent.log_requests import fit_text
from tests.unit.host_agent.fakes import START_MS, Host, build_start


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    return host


def ask(command_id="cmd-log", rental_id="rnt_1", epoch=1):
    return Command(1, command_id, "log", "hst", rental_id, [Lease("GPU-0", epoch)], START_MS)


def tell(host):
    host.agent.beat()
    _, heartbeat = host.heartbeats.take()
    return heartbeat.logs


def test_what_is_asked_for_is_told_at_once_and_in_the_next_heartbeats(host):
    assert host.agent.accept(ask())
    assert host.agent.work(), "a reason for a heartbeat now"
    (excerpt,) = tell(host)
    assert (excerpt.rental_id, excerpt.command_id, excerpt.text) == ("rnt_1", "cmd-log", "log of rnt_1")
    assert not host.agent.work()
    assert tell(host) == [excerpt], "the first may have been overtaken"
    host.clock.ms += 31_000
    assert tell(host) == []


def test_nobody_reads_the_log_of_another_epoch_or_rental(host):
    assert not host.agent.accept(ask(epoch=2))
    assert not host.agent.accept(ask(rental_id="rnt_2"))
    host.agent.work()
    assert tell(host) == []


def test_a_log_that_is_not_there_yet_is_asked_for_until_it_is(host):
    answers = [None, OSError("the engine is away"), b"late"]

    def read(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    host.runtime.read_log = read
    assert host.agent.accept(ask())
    assert not host.agent.work()
    assert not host.agent.work()
    assert host.agent.work()
    assert tell(host)[0].text == "late"


@given(st.binary(max_size=3 * MAX_LOG_BYTES))
def test_the_end_of_any_log_fits(data):
    text, cut = fit_text(data)
    assert len(msgspec.json.encode(text)) <= MAX_LOG_BYTES
    assert data.decode("utf-8", "replace").endswith(text)
    assert cut or text == data.decode("utf-8", "replace")


def test_a_log_of_control_characters_leaves_room_for_the_heartbeat(host):
    host.runtime.read_log = lambda *_: b"\0" * MAX_LOG_BYTES
    host.agent.accept(ask())
    host.agent.work()
    host.agent.beat()
    _, heartbeat = host.heartbeats.take()
    assert heartbeat.logs[0].truncated
    body = encode_record(heartbeat, host_id="h", boot_id="b", seq=0, signing_key=b"k")
    assert len(body) < MAX_MESSAGE_BYTES
    assert json.loads(body)
