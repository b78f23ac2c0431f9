"""The wire: what agents in the field have sent is read for ever, and nothing else is."""

import base64
import json
import string
import tracemalloc
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.wire import codec, v1
from chalicelib.wire.telemetry import unpack_telemetry
from tests.unit.wire.messages import (
    AT_MS,
    CAPABLE_TELEMETRY,
    CAPTURE_TELEMETRY,
    CONTAINER_HEARTBEAT,
    DRAINING_HEARTBEAT,
    ENCODED,
    FIRST_TELEMETRY,
    HEALTH_HEARTBEAT,
    HEARTBEAT,
    HEARTBEAT_OF_MACHINE,
    KEY,
    MIG_TELEMETRY,
    PREEMPT,
    SLOWED_TELEMETRY,
    START,
    START_CONTAINER,
    STOP,
    STOP_KEEPING,
    TELEMETRY,
    THINNED_TELEMETRY,
    encode,
)

GOLDEN = Path(__file__).parent / "golden"


def holds(newer, older) -> bool:
    """Say whether everything of ``older`` stands in ``newer``; members may have been added."""
    if isinstance(older, dict):
        return isinstance(newer, dict) and all(
            name in newer and holds(newer[name], value) for name, value in older.items()
        )
    if isinstance(older, list):
        return len(newer) == len(older) and all(map(holds, newer, older))
    return newer == older


def unpack(data: bytes) -> dict:
    """Return a message with its record as text, however it was sent."""
    message = json.loads(data)
    if message.get("encoding") != "zlib-base64":
        return message
    del message["encoding"]
    return {**message, "record": zlib.decompress(base64.b64decode(message["record"])).decode()}


@pytest.mark.parametrize("name", ENCODED)
def test_messages_keep_every_member_that_they_ever_had(name):
    """A golden file never changes: consumers and agents that are out there cannot be."""
    newer, older = (unpack(data) for data in (ENCODED[name](), (GOLDEN / f"{name}.json").read_bytes()))
    part = "record" if name.startswith(("heartbeat", "telemetry")) else "command"
    assert holds(json.loads(newer.pop(part)), json.loads(older.pop(part)))
    del newer["signature"], older["signature"]
    assert holds(newer, older)


def test_messages_of_every_age_read_back_as_what_was_sent():
    for name, record, decode in (
        ("heartbeat", HEARTBEAT, v1.decode_heartbeat),
        ("heartbeat-machine", HEARTBEAT_OF_MACHINE, v1.decode_heartbeat),
        ("telemetry", FIRST_TELEMETRY, v1.decode_telemetry),
        ("telemetry-bounds", TELEMETRY, v1.decode_telemetry),
        ("heartbeat-health", HEALTH_HEARTBEAT, v1.decode_heartbeat),
        ("telemetry-capabilities", CAPABLE_TELEMETRY, v1.decode_telemetry),
        ("telemetry-mig", MIG_TELEMETRY, v1.decode_telemetry),
        ("telemetry-slowed", SLOWED_TELEMETRY, v1.decode_telemetry),
        ("telemetry-capture", CAPTURE_TELEMETRY, v1.decode_telemetry),
        ("heartbeat-container", CONTAINER_HEARTBEAT, v1.decode_heartbeat),
        ("telemetry-thinned", THINNED_TELEMETRY, v1.decode_telemetry),
        ("heartbeat-draining", DRAINING_HEARTBEAT, v1.decode_heartbeat),
    ):
        envelope = v1.decode_envelope((GOLDEN / f"{name}.json").read_bytes())
        v1.verify_envelope(envelope, KEY)
        assert decode(envelope) == record
    for name, command in (
        ("start", START),
        ("stop", STOP),
        ("start-container", START_CONTAINER),
        ("preempt", PREEMPT),
        ("stop-keeping", STOP_KEEPING),
    ):
        assert v1.decode_command((GOLDEN / f"{name}.json").read_bytes(), KEY) == command


def test_fields_that_a_newer_agent_adds_are_ignored():
    record = {**json.loads(msgspec.json.encode(TELEMETRY)), "added_later": {"deep": [1]}}
    text = json.dumps(record)
    signature = codec._sign(KEY, "telemetry", "hst_1", "boot-1", "9", text)
    body = {
        "schema_version": 1,
        "kind": "telemetry",
        "host_id": "hst_1",
        "boot_id": "boot-1",
        "seq": 9,
        "record": text,
        "signature": signature,
        "added_later": True,
    }
    envelope = v1.decode_envelope(json.dumps(body))
    v1.verify_envelope(envelope, KEY)
    assert v1.decode_telemetry(envelope) == TELEMETRY


@pytest.mark.parametrize(
    "change", [("host_id", "hst_2"), ("boot_id", "b"), ("seq", 8), ("kind", "heartbeat"), ("record", "{}")]
)
def test_every_signed_part_is_covered_by_the_signature(change):
    body = json.loads(encode(TELEMETRY))
    envelope = v1.decode_envelope(json.dumps(body | dict([change])))
    with pytest.raises(v1.InvalidMessage, match="bad_signature"):
        v1.verify_envelope(envelope, KEY)


def test_a_command_signed_for_nobody_is_refused():
    with pytest.raises(v1.InvalidMessage, match="bad_signature"):
        v1.decode_command(v1.encode_command(START, b"other"), KEY)


def test_a_record_above_the_limit_is_refused_on_both_sides():
    sample = v1.GpuSample("G" * 120, AT_MS)
    intervals = [
        v1.EnergyInterval("G" * 128, AT_MS, AT_MS, 2**53, "counter", "r" * 128, 1, index)
        for index in range(200)
    ]
    with pytest.raises(v1.InvalidMessage, match="too_large"):
        encode(v1.Telemetry([sample], intervals))
    with pytest.raises(v1.InvalidMessage, match="too_large"):
        v1.decode_envelope(" " * (v1.MAX_MESSAGE_BYTES + 1))


def test_the_largest_record_that_an_agent_may_build_fits():
    intervals = [
        v1.EnergyInterval(
            "G" * 40,
            AT_MS,
            AT_MS,
            2**53,
            "counter",
            "r" * 31,
            2**53,
            index,
            True,
            True,
            *[2**53] * 5,
            "implausible_jump",
            "G" * 40,
            "activity",
        )
        for index in range(v1.MAX_INTERVALS_PER_RECORD)
    ]
    samples = [
        v1.GpuSample("G" * 40, AT_MS, 2**53, 2**53, 100, 2**53, 200) for _ in range(v1.MAX_GPUS_PER_HOST)
    ]
    assert len(encode(v1.Telemetry(samples, intervals))) <= v1.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("energy_millijoules", -1),
        ("energy_millijoules", 1.5),
        ("energy_millijoules", 2**60),
        ("energy_millijoules", "7"),
        ("gpu_uuid", ""),
        ("gpu_uuid", "a b"),
        ("method", "guess"),
        ("ended_at_ms", AT_MS - 1),
        # Of an agent that started before its clock was set.
        ("started_at_ms", 0),
        ("final", 1),
    ],
)
def test_a_value_outside_its_range_is_a_wrong_schema(field, value):
    record = json.loads(msgspec.json.encode(TELEMETRY))
    record["intervals"][0][field] = value
    envelope = v1.Envelope(1, "telemetry", "h", "b", 0, json.dumps(record), "")
    with pytest.raises(v1.InvalidMessage, match="wrong_schema"):
        v1.decode_telemetry(envelope)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(st.binary() | st.text() | json_values.map(json.dumps))
@example("[" * 30_000)
@example('{"a":' * 10_000)
@example("\ud800")
@example(b"\xff\xfe")
def test_nothing_that_arrives_raises_anything_but_an_invalid_message(body):
    for decode in (v1.decode_envelope, lambda data: v1.decode_command(data, KEY)):
        with pytest.raises(v1.InvalidMessage) as caught:
            decode(body)
        assert caught.value.reason in {"bad_json", "wrong_schema", "too_large", "bad_signature"}


@given(st.text())
@example("\ud800")
@example("[" * 30_000)
def test_no_record_inside_a_good_envelope_raises_anything_else_either(text):
    for kind, decode in (("heartbeat", v1.decode_heartbeat), ("telemetry", v1.decode_telemetry)):
        with pytest.raises(v1.InvalidMessage):
            decode(v1.Envelope(1, kind, "h", "b", 0, text, ""))


def seal(data: bytes, encoding: str = "zlib-base64") -> v1.Envelope:
    """An envelope as an attacker who holds a host's key would make it."""
    record = base64.b64encode(data).decode()
    unsigned = v1.Envelope(1, "telemetry", "hst_1", "boot-1", 9, record, "", encoding)
    return msgspec.structs.replace(unsigned, signature=codec._sign_envelope(KEY, unsigned))


def test_large_telemetry_travels_packed_and_small_telemetry_as_it_always_did():
    packed, plain = json.loads(encode(TELEMETRY)), json.loads(encode(v1.Telemetry([], [])))
    assert (packed["encoding"], plain["encoding"]) == ("zlib-base64", "none")
    # SQS takes XML's characters only.
    assert set(packed["record"]) <= set(string.ascii_letters + string.digits + "+/=")
    envelope = v1.decode_envelope(json.dumps(packed))
    v1.verify_envelope(envelope, KEY)
    assert v1.decode_telemetry(envelope) == v1.decode_telemetry(v1.unpack_envelope(envelope)) == TELEMETRY


def test_a_message_without_an_encoding_is_a_plain_one():
    body = json.loads(encode(v1.Telemetry([], [])))
    del body["encoding"]
    envelope = v1.decode_envelope(json.dumps(body))
    v1.verify_envelope(envelope, KEY)
    assert v1.decode_telemetry(envelope) == v1.Telemetry([], [])


def test_the_signature_covers_the_encoding_and_the_packed_text():
    body = json.loads(encode(TELEMETRY))
    text = v1.unpack_envelope(v1.decode_envelope(json.dumps(body))).record
    for change in ({"encoding": "none"}, {"encoding": "none", "record": text}, {"record": "AAAA"}):
        envelope = v1.decode_envelope(json.dumps(body | change))
        with pytest.raises(v1.InvalidMessage, match="bad_signature"):
            v1.verify_envelope(envelope, KEY)
    with pytest.raises(v1.InvalidMessage, match="wrong_schema"):
        v1.decode_envelope(json.dumps(body | {"encoding": "zstd"}))


STREAM = zlib.compress(msgspec.json.encode(TELEMETRY))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zlib.compress(b" " * (v1.MAX_RECORD_BYTES + 1)), "too_large"),
        (zlib.compress(b" " * 40_000_000), "too_large"),
        (STREAM[:-1], "bad_encoding"),
        (STREAM[: len(STREAM) // 2], "bad_encoding"),
        (STREAM + b"x", "bad_encoding"),
        (STREAM[:20] + b"\xff" + STREAM[21:], "bad_encoding"),
        (zlib.compress(b"\xff\xfe"), "bad_encoding"),
        (msgspec.json.encode(TELEMETRY), "bad_encoding"),
        (b"", "bad_encoding"),
        (zlib.compress(b"{" * 100), "bad_json"),
        (zlib.compress(b'{"samples": 7}'), "wrong_schema"),
    ],
)
def test_a_packed_record_that_is_not_one_whole_bounded_stream_is_refused(data, reason):
    envelope = seal(data)
    v1.verify_envelope(envelope, KEY)
    with pytest.raises(v1.InvalidMessage, match=reason):
        v1.decode_telemetry(envelope)


def test_a_bomb_costs_the_reader_no_more_than_a_record():
    bomb = seal(zlib.compress(b" " * 45_000_000, 9))
    assert len(bomb.record) < v1.MAX_MESSAGE_BYTES
    tracemalloc.start()
    with pytest.raises(v1.InvalidMessage, match="too_large"):
        v1.unpack_envelope(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * v1.MAX_RECORD_BYTES


def test_a_record_of_exactly_the_limit_is_read():
    text = b'{"samples":[],"intervals":[]' + b" " * (v1.MAX_RECORD_BYTES - 29) + b"}"
    assert len(text) == v1.MAX_RECORD_BYTES
    assert v1.decode_telemetry(seal(zlib.compress(text))) == v1.Telemetry([], [])


@given(st.text(), st.binary())
def test_nothing_packed_raises_anything_but_an_invalid_message(text, data):
    for envelope in (seal(data), msgspec.structs.replace(seal(b""), record=text)):
        with pytest.raises(v1.InvalidMessage):
            v1.decode_telemetry(envelope)
    with pytest.raises(v1.InvalidMessage):
        unpack_telemetry(data)
