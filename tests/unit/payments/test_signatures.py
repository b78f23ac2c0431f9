"""Nothing is parsed that Stripe did not sign just now."""

import json

import pytest

from chalicelib.core.errors import InvalidInput
from chalicelib.payments.service import receive_event
from chalicelib.payments.signatures import BadSignature
from tests.unit.payments.till import SECRETS, Till


@pytest.fixture
def till():
    return Till()


@pytest.mark.parametrize("secret", SECRETS)
def test_both_secrets_of_a_roll_are_good(till, secret):
    receive_event(till.ports, *till.sign("evt_1", "pi_1", secret=secret))
    assert till.queue.waiting == ["evt_1"]


@pytest.mark.parametrize("age_s", [299, 300, 0, -299, -300])
def test_an_instant_within_five_minutes_is_of_now(till, age_s):
    receive_event(till.ports, *till.sign("evt_1", "pi_1", age_s=age_s))
    assert till.queue.waiting == ["evt_1"]


def spoil(name):
    """Return what turns a good (body, header) into one that must be refused."""
    return {
        "another byte": lambda body, header: (body + b" ", header),
        "serialised anew": lambda body, header: (
            json.dumps(json.loads(body), separators=(",", ":")).encode(),
            header,
        ),
        "no header": lambda body, _: (body, ""),
        "no instant": lambda body, header: (body, header.split(",")[1]),
        "no signature": lambda body, header: (body, header.split(",")[0]),
        "old scheme": lambda body, header: (body, header.replace("v1=", "v0=")),
        "another instant": lambda body, header: (body, header.replace("t=1", "t=2", 1)),
        "two instants": lambda body, header: (body, f"t=1,{header}"),
        "letters": lambda body, header: (body, header.replace("t=", "t=x")),
        "superscript": lambda body, header: (body, header.replace("t=1", "t=¹")),
        "upper case": lambda body, header: (body, header.upper()),
        "cut short": lambda body, header: (body, header[:-1]),
        "much too long": lambda body, header: (body, header + "," + "v1=0" * 1000),
        "not ASCII": lambda body, header: (body, header + "é"),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "another byte",
        "serialised anew",
        "no header",
        "no instant",
        "no signature",
        "old scheme",
        "another instant",
        "two instants",
        "letters",
        "superscript",
        "upper case",
        "cut short",
        "much too long",
        "not ASCII",
    ],
)
def test_what_is_not_signed_is_refused_before_it_is_parsed(till, name, monkeypatch):
    monkeypatch.setattr("chalicelib.payments.service.read_event", lambda *_, **__: pytest.fail("parsed"))
    body, header = spoil(name)(*till.sign("evt_1", "pi_1"))
    with pytest.raises(BadSignature):
        receive_event(till.ports, body, header)
    assert till.seeded.cloud.db.table("stripe_events") == {}


@pytest.mark.parametrize("age_s", [302, 86_400, -302, -86_400])
def test_an_old_instant_and_one_of_tomorrow_are_refused(till, age_s):
    with pytest.raises(BadSignature):
        receive_event(till.ports, *till.sign("evt_1", "pi_1", age_s=age_s))


@pytest.mark.parametrize("secret", ["whsec_other", "x"])
def test_another_secret_is_refused_and_so_is_none(till, secret):
    with pytest.raises(BadSignature):
        receive_event(till.ports, *till.sign("evt_1", "pi_1", secret=secret))
    till.secrets = type(till.secrets)(("",), livemode=False)
    with pytest.raises(BadSignature):
        receive_event(till.ports, *till.sign("evt_1", "pi_1", secret=""))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"id":"evt_1","type":"x","livemode":true,"data":{"object":{"object":"charge"}}}',
        b'{"id":"evt_1","type":"x","livemode":"false","data":{"object":{"object":"charge"}}}',
        b'{"id":"evt_1","type":"x","livemode":false,"data":{"object":7}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_signed_and_no_event_of_this_stage_is_refused(till, body):
    from stripe import WebhookSignature

    seconds = till.seeded.cloud.clock.now_ms() // 1000
    text = body.decode("latin-1") if body != b"\xff\xfe" else None
    if text is None:
        import hashlib
        import hmac

        digest = hmac.new(SECRETS[0].encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
        header = f"t={seconds},v1={digest}"
    else:
        header = WebhookSignature.generate_signature_header(text, SECRETS[0], timestamp=seconds)
    with pytest.raises(InvalidInput):
        receive_event(till.ports, body, header)
    assert till.queue.waiting == []


def test_an_event_that_was_seen_and_not_done_is_worked_on_again(till):
    signed = till.sign("evt_1", "pi_1")
    for _ in range(3):
        receive_event(till.ports, *signed)
    assert till.queue.waiting == ["evt_1"] * 3
    till.stripe.pay(till.top_up(), "pi_1")
    till.work()
    receive_event(till.ports, *signed)
    assert till.queue.waiting == []
