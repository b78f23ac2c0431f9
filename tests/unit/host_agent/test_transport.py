"""What is sent to SQS is authentic, and only what SQS confirmed is forgotten."""

import datetime as dt
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib.wire.v1 import (
    Heartbeat,
    SpoolStatus,
    Telemetry,
    decode_envelope,
    encode_command,
    verify_envelope,
)
from host_agent.backoff import Backoff
from host_agent.identity import ApiUnavailable
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.sender import (
    BACKFILL_MESSAGES_PER_SECOND,
    CommandReceiver,
    Pace,
    TelemetrySender,
    Uplink,
    keep_trying,
)
from host_agent.signing import AwsCredentials, sign_request
from host_agent.spool import Spool
from host_agent.transport import BatchOutcome, ClockSkew, Message, SqsQueue, TransportError
from tests.unit.host_agent.fakes import START_MS, FakeClock, Host, build_start

KEY = b"signing key"


@pytest.mark.parametrize("token", ["", "session"])
@pytest.mark.parametrize("host", ["sqs.us-east-1.amazonaws.com", "127.0.0.1:4566"])
def test_signatures_are_those_of_the_reference_implementation(token, host, monkeypatch):
    moment = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment.replace(tzinfo=None))
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    body = b'{"QueueUrl": "x"}'
    own = sign_request(
        AwsCredentials("AKIDEXAMPLE", "secret", token),
        region="us-east-1",
        service="sqs",
        method="POST",
        host=host,
        path="/",
        headers=headers,
        body=body,
        at_ms=START_MS,
    )
    request = AWSRequest("POST", f"https://{host}/", headers=dict(headers), data=body)
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret", token or None), "sqs", "us-east-1").add_auth(request)
    assert own["Authorization"] == request.headers["Authorization"]


class FakeCredentials:
    def __init__(self):
        self.rejected = 0

    def get(self):
        return AwsCredentials("id", "secret", "token")

    def reject(self, bad):
        self.rejected += 1


@pytest.fixture
def sqs():
    """A queue server on loopback that answers what the test says, and remembers what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar[list] = []
        seen: ClassVar[list] = []
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.seen.append((self.headers["X-Amz-Target"], json.loads(body)))
            status, answer = self.answers.pop(0)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    Handler.answers, Handler.seen = [], []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    credentials = FakeCredentials()
    url = f"http://127.0.0.1:{server.server_port}/000000000000/q"
    queue = SqsQueue(url, "us-east-1", credentials, FakeClock(), ClockSkew())
    yield queue, Handler, credentials
    queue._origin.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_batch_of_which_some_fail_confirms_the_others_only(sqs):
    queue, handler, _ = sqs
    failed = {"Id": "1", "Code": "InternalError", "SenderFault": False}
    handler.answers.append((200, {"Successful": [{"Id": "0"}, {"Id": "2"}], "Failed": [failed]}))
    outcome = queue.send_batch([b"a", b"b", b"c"])
    assert (outcome.sent, outcome.refused) == ({0, 2}, set())
    assert handler.seen[0][0] == "AmazonSQS.SendMessageBatch"


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_refusal_is_an_error_and_bad_credentials_are_forgotten(sqs, status):
    queue, handler, credentials = sqs
    handler.answers.append((status, {"__type": "Whatever", "message": "no"}))
    with pytest.raises(TransportError):
        queue.send(b"a")
    assert credentials.rejected == (status == 403)


def test_a_role_without_the_right_is_named_with_the_action_that_it_lacks(sqs):
    queue, handler, _ = sqs
    text = "User: arn:aws:sts::1:assumed-role/gpu-host/i-1 is not authorized to perform: sqs:sendmessage"
    handler.answers.append((403, {"__type": "com.amazonaws.sqs#AccessDenied", "message": text}))
    with pytest.raises(TransportError, match=r"AccessDenied.*assumed-role/gpu-host.*sqs:sendmessage"):
        queue.send(b"a")


def test_an_answer_that_is_no_json_is_an_error_and_not_an_empty_queue(sqs):
    queue, handler, _ = sqs
    handler.answers.append((200, {"Messages": "none"}))
    with pytest.raises(TransportError):
        queue.receive(0)


def test_without_credentials_nothing_is_sent():
    class NoCredentials(FakeCredentials):
        def get(self):
            raise ApiUnavailable("down")

    queue = SqsQueue("http://127.0.0.1:9/q", "us-east-1", NoCredentials(), FakeClock(), ClockSkew())
    with pytest.raises(TransportError):
        queue.send(b"a")


class FakeQueue:
    """Confirms what ``confirm`` says of the batch; refuses all when it is ``None``."""

    def __init__(self, confirm=None):
        self.confirm, self.bodies, self.messages, self.deleted = confirm, [], [], []

    def send_batch(self, bodies):
        if self.confirm is None:
            raise TransportError("no_answer", "down")
        self.bodies += bodies
        return BatchOutcome(frozenset(self.confirm(range(len(bodies)))), frozenset())

    def receive(self, wait_seconds):
        return self.messages

    def delete(self, receipt_handle):
        self.deleted.append(receipt_handle)


def test_records_stay_until_the_queue_has_confirmed_them(tmp_path):
    outbox = TelemetryOutbox(Spool(tmp_path), "boot")
    for _ in range(25):
        outbox.put(Telemetry([], []), b"")
    queue = FakeQueue()
    sender = TelemetrySender(outbox, queue, host_id="hst", signing_key=KEY)
    with pytest.raises(TransportError):
        sender.send_next()
    assert outbox.describe().depth_records == 25
    queue.confirm = lambda indexes: [index for index in indexes if index % 2]
    while outbox.describe().depth_records:
        sender.send_next()
        queue.confirm = list
    sent = [decode_envelope(body) for body in queue.bodies]
    for envelope in sent:
        verify_envelope(envelope, KEY)
    assert {envelope.seq for envelope in sent} == set(range(25))


def test_a_forged_command_is_dropped_and_a_real_one_is_durable_before_it_is_deleted(tmp_path):
    host = Host(tmp_path)
    queue = FakeQueue()
    receiver = CommandReceiver(host.agent, queue, signing_key=KEY, wait_seconds=0)
    queue.messages = [Message(encode_command(build_start("rnt_x"), b"other key"), "forged")]
    assert receiver.receive_next() == 0
    queue.messages = [Message(encode_command(build_start(), KEY), "real")]
    assert receiver.receive_next() == 1
    assert queue.deleted == ["forged", "real"]
    host.restart()
    host.agent.work()
    assert host.runtime.started == ["rnt_1"]


def test_a_command_that_cannot_be_made_durable_stays_in_the_queue(tmp_path, monkeypatch):
    host = Host(tmp_path)
    queue = FakeQueue()
    queue.messages = [Message(encode_command(build_start(), KEY), "real")]

    def fail(path, data, mode=0o600):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("host_agent.assignments.write_atomic", fail)
    with pytest.raises(OSError, match="No space"):
        CommandReceiver(host.agent, queue, signing_key=KEY, wait_seconds=0).receive_next()
    assert queue.deleted == []


class FakeSender:
    """Sends what the test lined up: a number, or an error to raise."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def send_next(self):
        outcome = self.outcomes.pop(0) if self.outcomes else 0
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakeEvent:
    """An event that says whether it was waited for, and never waits."""

    def __init__(self):
        self.waited = []

    def clear(self):
        pass

    def wait(self, seconds):
        self.waited.append(seconds)


def build_uplink(sender, pace=lambda _: 0.0):
    counted, waiting = [], FakeEvent()
    return Uplink(sender, counted.append, waiting, pace), counted, waiting


def test_what_was_sent_is_counted_and_an_idle_uplink_waits_to_be_woken():
    uplink, counted, waiting = build_uplink(FakeSender(10, 3, 0))
    assert [uplink.step(), uplink.step()] == [0.0, 0.0]
    assert waiting.waited == []
    assert uplink.step() == 0.0
    assert (counted, len(waiting.waited)) == ([10, 3], 1)


@pytest.mark.parametrize("sizes", [[10] * 200, [1] * 500, [3, 10, 7] * 50])
def test_a_backlog_of_any_batches_stays_below_twenty_messages_a_second(sizes):
    rng = random.Random(215)
    uplink, counted, _ = build_uplink(FakeSender(*sizes), Pace(rng.random))
    pauses = [uplink.step() for _ in sizes]
    assert counted == sizes
    for size, pause in zip(sizes, pauses, strict=True):
        assert size / pause <= BACKFILL_MESSAGES_PER_SECOND
    # Not slower than it has to be, and hardly two pauses alike: hosts that came back together drift apart.
    assert sum(sizes) / sum(pauses) > BACKFILL_MESSAGES_PER_SECOND * 0.6
    assert len(set(pauses)) > len(sizes) * 0.9


def test_a_batch_that_hangs_or_fails_delays_no_heartbeat(tmp_path):
    """Each uplink is a thread of its own: one waits for its queue while the other goes on."""
    hung, released = threading.Event(), threading.Event()

    class HangingSender:
        def send_next(self):
            hung.set()
            released.wait(10)
            raise TransportError("no_answer", "timed out")

    stopped, beaten, waiting = threading.Event(), threading.Event(), threading.Event()
    slot = HeartbeatSlot(waiting)

    class Beats:
        def send_next(self):
            if slot.take() is None:
                return 0
            beaten.set()
            return 1

    uplinks = (
        Uplink(HangingSender(), lambda _: None, threading.Event(), Pace(random.random)),
        Uplink(Beats(), lambda _: None, waiting),
    )
    threads = [
        threading.Thread(target=keep_trying, args=("t", uplink.step, Backoff(random.random), stopped))
        for uplink in uplinks
    ]
    for thread in threads:
        thread.start()
    assert hung.wait(5)
    slot.put(Heartbeat(START_MS, "0", [], [], SpoolStatus(0, 0)))
    assert beaten.wait(1)
    stopped.set()
    released.set()
    waiting.set()
    for thread in threads:
        thread.join()


class Stopped:
    """Lets a loop run ``steps`` times and remembers the pauses."""

    def __init__(self, steps):
        self.steps, self.pauses = steps, []

    def is_set(self):
        self.steps -= 1
        return self.steps < 0

    def wait(self, seconds):
        self.pauses.append(seconds)


def test_a_step_that_fails_is_tried_again_with_growing_pauses_and_a_success_ends_them():
    outcomes = [
        TransportError("a", "b"),
        OSError(5, "x"),
        ValueError("a bug"),
        0.0,
        TransportError("a", "b"),
        2.0,
    ]

    def step():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    stopped = Stopped(6)
    keep_trying("test", step, Backoff(lambda: 1.0), stopped)
    assert stopped.pauses == [0.5, 1.0, 2.0, 0.5, 2.0]


def test_whoever_puts_something_up_wakes_the_sender(tmp_path):
    waiting = threading.Event()
    outbox, slot = TelemetryOutbox(Spool(tmp_path), "boot", waiting), HeartbeatSlot(waiting)
    assert not waiting.is_set()
    outbox.put(Telemetry([], []), b"")
    assert waiting.is_set()
    waiting.clear()
    slot.put(Heartbeat(START_MS, "0", [], [], SpoolStatus(0, 0)))
    assert waiting.is_set()
    waiting.clear()
    TelemetryOutbox(Spool(tmp_path), "boot", waiting)
    assert waiting.is_set(), "what the last agent left is sent at once"
