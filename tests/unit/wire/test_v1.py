"""The wire: what agents in the field have sent is read for ever, and nothing else is."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.wire import v1
from tests.unit.wire.messages import (
    AT_MS,
    ENCODED,
    FIRST_TELEMETRY,
    HEARTBEAT,
    HEARTBEAT_OF_MACHINE,
    KEY,
    START,
    STOP,
    TELEMETRY,
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


@pytest.mark.parametrize("name", ENCODED)
def test_messages_keep_every_member_that_they_ever_had(name):
    """A golden file never changes: consumers and agents that are out there cannot be."""
    newer, older = (json.loads(data) for data in (ENCODED[name](), (GOLDEN / f"{name}.json").read_bytes()))
    part = "command" if name in {"start", "stop"} else "record"
    assert holds(json.loads(newer.pop(part)), json.loads(older.pop(part)))
    del newer["signature"], older["signature"]
    assert holds(newer, older)


def test_messages_of_every_age_read_back_as_what_was_sent():
    for name, record, decode in (
        ("heartbeat", HEARTBEAT, v1.decode_heartbeat),
        ("heartbeat-machine", HEARTBEAT_OF_MACHINE, v1.decode_heartbeat),
        ("telemetry", FIRST_TELEMETRY, v1.decode_telemetry),
        ("telemetry-bounds", TELEMETRY, v1.decode_telemetry),
    ):
        envelope = v1.decode_envelope((GOLDEN / f"{name}.json").read_bytes())
        v1.verify_envelope(envelope, KEY)
        assert decode(envelope) == record
    for name, command in (("start", START), ("stop", STOP)):
        assert v1.decode_command((GOLDEN / f"{name}.json").read_bytes(), KEY) == command


def test_fields_that_a_newer_agent_adds_are_ignored():
    record = {**json.loads(v1.msgspec.json.encode(TELEMETRY)), "added_later": {"deep": [1]}}
    text = json.dumps(record)
    signature = v1._sign(KEY, "telemetry", "hst_1", "boot-1", "9", text)
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
        ("final", 1),
    ],
)
def test_a_value_outside_its_range_is_a_wrong_schema(field, value):
    record = json.loads(v1.msgspec.json.encode(TELEMETRY))
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
