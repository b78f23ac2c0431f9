"""One request to the address that was checked: no redirect, no second look at the name, 5 s, 64 KiB."""

import io
import shutil
import socket
import ssl
import subprocess

import pytest

from chalicelib.webhooks.addresses import Reach
from chalicelib.webhooks.delivery_gateway import LIMIT_SECONDS, MAX_ANSWER_BYTES, HttpSender, resolve
from tests.unit.webhooks.receivers import receive

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = {"Content-Type": "application/json", "Provocative-Event-Id": "evt_1"}


def post(url, **given):
    return HttpSender(Reach(loopback=True), **given).send(url, b'{"id":"evt_1"}', HEADERS)


def post_over(receiver, host="hooks.example.com", **given):
    """Post to a public name whose public address is, on this machine, the receiver."""
    sender = HttpSender(
        Reach(),
        resolve=lambda *_: ["93.184.216.34"],
        connect=lambda _address, _port, seconds: socket.create_connection(
            ("127.0.0.1", receiver.port), seconds
        ),
        **given,
    )
    return sender.send(f"https://{host}:{receiver.port}/in", b"{}", HEADERS)


class Ticking:
    """A clock that jumps by so many seconds with each look."""

    def __init__(self, step):
        self.value, self.step = 0.0, step

    def __call__(self):
        self.value += self.step
        return self.value


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of hooks.example.com, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the test's certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += [
        "-days",
        "2",
        "-subj",
        "/CN=hooks.example.com",
        "-addext",
        "subjectAltName=DNS:hooks.example.com",
    ]
    made += ["-keyout", str(folder / "pem"), "-out", str(folder / "crt")]
    subprocess.run(made, check=True, capture_output=True)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(folder / "crt", folder / "pem")
    return served, ssl.create_default_context(cafile=str(folder / "crt"))


def test_a_post_arrives_with_its_bytes_and_headers():
    with receive(OK) as receiver:
        outcome = post(receiver.url("/in?token=1"))
    assert (outcome.status, outcome.error) == (200, None)
    (request,) = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /in?token=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{receiver.port}" in lines
    assert "Provocative-Event-Id: evt_1" in lines
    assert body == b'{"id":"evt_1"}'


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    with receive(OK) as inside:
        away = f"HTTP/1.1 {status} Moved\r\nLocation: {inside.url()}\r\nContent-Length: 0\r\n\r\n".encode()
        with receive(away) as receiver:
            outcome = post(receiver.url())
    assert (outcome.status, outcome.error, outcome.delivered) == (status, "redirect_refused", False)
    assert inside.requests == []


def test_a_name_is_resolved_once_and_what_it_becomes_later_does_not_count():
    """DNS rebinding: public when it is looked at, this machine when it is connected to."""
    answers, connected = iter([["93.184.216.34"], ["127.0.0.1"]]), []

    def connect(address, port, seconds):
        connected.append((address, port))
        raise ConnectionRefusedError

    sender = HttpSender(Reach(), resolve=lambda *_: next(answers), connect=connect)
    url = "https://rebinding.example.com/"
    assert sender.send(url, b"", {}).error == "connection_refused"
    assert sender.send(url, b"", {}).error == "address_refused"
    assert connected == [("93.184.216.34", 443)]


def test_one_private_address_among_public_ones_is_refused():
    sender = HttpSender(
        Reach(), lambda *_: ["93.184.216.34", "10.0.0.1"], lambda *_: pytest.fail("connected")
    )
    assert sender.send("https://both.example.com/", b"", {}).error == "address_refused"


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost"])
def test_whatever_the_resolver_takes_for_this_machine_is_refused(host):
    """Decimal, octal, short: the system's resolver turns all of them into the address that is looked at."""
    sender = HttpSender(Reach(), connect=lambda *_: pytest.fail("connected"))
    assert sender.send(f"https://{host}/", b"", {}).error in {"address_refused", "not_resolved"}
    assert "127.0.0.1" in resolve("127.1", 443)


def test_the_certificate_is_checked_against_the_name_and_not_the_address(certificate):
    served, trusting = certificate
    with receive(OK, served) as receiver:
        assert post_over(receiver, context=trusting).status == 200
        assert post_over(receiver, "other.example.com", context=trusting).error == "certificate_refused"
        assert post_over(receiver).error == "certificate_refused"
    assert len(receiver.requests) == 1
    assert f"Host: hooks.example.com:{receiver.port}".encode() in receiver.requests[0]


def test_what_does_not_speak_tls_gets_nothing():
    ours, theirs = socket.socketpair()
    theirs.sendall(OK)
    sender = HttpSender(Reach(), lambda *_: ["93.184.216.34"], lambda *_: ours)
    outcome = sender.send("https://hooks.example.com/", b"{}", HEADERS)
    assert (outcome.status, outcome.error) == (None, "tls_failed")
    assert b"evt_1" not in theirs.recv(65536)
    theirs.close()


def test_plain_http_is_for_a_laptop_alone():
    sender = HttpSender(Reach(), lambda *_: ["93.184.216.34"], lambda *_: pytest.fail("connected"))
    assert sender.send("http://hooks.example.com/", b"", {}).error == "not_https"


def test_a_body_without_an_end_is_read_to_64_kib_and_left():
    sent = []

    def pour(opened):
        opened.settimeout(10)
        opened.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1_000):
            sent.append(opened.send(b"x" * 65536))

    with receive(pour) as receiver:
        outcome = post(receiver.url())
    assert outcome.delivered
    # What the kernels on both sides buffer, and no more.
    assert sum(sent) < 1_000 * 65536
    assert outcome.duration_ms < LIMIT_SECONDS * 1000


class Pouring:
    """A receiver that fills whatever it is given room for, with headers and no end."""

    def __init__(self):
        self.said = io.BytesIO(b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 1_000)

    def settimeout(self, seconds):
        assert seconds > 0

    def sendall(self, data):
        pass

    def recv_into(self, view):
        return self.said.readinto(view)

    def close(self):
        self.closed = True


def test_of_headers_without_an_end_64_kib_are_read():
    pouring = Pouring()
    outcome = post("http://127.0.0.1:1/", connect=lambda *_: pouring)
    assert outcome.status == 200
    assert pouring.said.tell() == MAX_ANSWER_BYTES
    assert pouring.closed


class Dripping:
    """A receiver that says a byte a second, each well within the timeout of its call."""

    def __init__(self, clock):
        self.clock, self.said = clock, iter(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")

    def settimeout(self, seconds):
        assert seconds > 0

    def sendall(self, data):
        pass

    def recv_into(self, view):
        self.clock.value += 1
        view[0] = next(self.said)
        return 1

    def close(self):
        pass


def test_a_receiver_that_says_a_byte_a_second_is_left_after_5_seconds():
    clock = Ticking(0.0)
    outcome = post("http://127.0.0.1:1/", now=clock, connect=lambda *_: Dripping(clock))
    assert (outcome.status, outcome.error, outcome.duration_ms) == (None, "timeout", 5000)


def test_each_call_has_what_is_left_of_the_5_seconds():
    given = []

    class Silent:
        def settimeout(self, seconds):
            given.append(seconds)

        def sendall(self, data):
            pass

        def recv_into(self, view):
            raise TimeoutError

        def close(self):
            given.append("closed")

    def connect(_address, _port, seconds):
        given.append(seconds)
        return Silent()

    outcome = post("http://127.0.0.1:8000/", now=Ticking(0.5), connect=connect)
    assert outcome.error == "timeout"
    assert given[-1] == "closed"
    left = given[:-1]
    assert left == sorted(left, reverse=True)
    assert all(0 < seconds < LIMIT_SECONDS for seconds in left)


def test_a_name_server_that_takes_5_seconds_leaves_no_time_to_connect():
    looks = Ticking(0.0)

    def resolve_slowly(*_):
        looks.value += LIMIT_SECONDS
        return ["127.0.0.1"]

    outcome = post(
        "http://127.0.0.1:1/", now=looks, resolve=resolve_slowly, connect=lambda *_: pytest.fail("connected")
    )
    assert (outcome.error, outcome.duration_ms) == ("timeout", 5000)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"not http\r\n\r\n", "answer_malformed"),
        (b"", "connection_failed"),
        (b"HTTP/1.1 xx\r\n\r\n", "answer_malformed"),
    ],
)
def test_what_is_no_answer_is_a_failure_with_a_code(answer, error):
    with receive(answer) as receiver:
        outcome = post(receiver.url())
    assert (outcome.status, outcome.error) == (None, error)


def test_nobody_there_is_a_failure_with_a_code():
    with receive(OK) as receiver:
        url = receiver.url()
    assert post(url).error == "connection_refused"

    def unknown(*_):
        raise socket.gaierror

    assert post("http://127.0.0.1:1/", resolve=unknown).error == "not_resolved"
    assert post("http://127.0.0.1:1/", resolve=lambda *_: []).error == "not_resolved"


def test_an_answer_that_stops_in_its_body_counts_by_its_status():
    with receive(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf") as receiver:
        assert post(receiver.url()).delivered
