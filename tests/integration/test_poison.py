"""One poison message harms only itself: nine of ten are stored once, the tenth waits with its reason."""

import base64
import json
import zlib
from collections.abc import Iterator

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.fleet.model import Host
from chalicelib.wire import codec, v1
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import add_host, become_operator, offer
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for

#: What SQS takes at most, today.
LARGE = 256 * 1024


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


@pytest.fixture(scope="module")
def host(wired: None) -> Host:
    operator = become_operator()
    offer(operator, "poison")
    return add_host(operator, "poison", 2)


def build_record(host_id: str, boot_id: str, seq: int) -> str:
    record = v1.Telemetry([v1.GpuSample("GPU-1", 1_800_000_000_000, power_milliwatts=70_000)], [])
    key = wiring.read_signing_key(host_id)
    return v1.encode_record(record, host_id=host_id, boot_id=boot_id, seq=seq, signing_key=key).decode()


def sign_as(host_id: str, boot_id: str, seq: int, text: str, kind: str = "telemetry") -> str:
    """An envelope with a right signature over any text."""
    key = wiring.read_signing_key(host_id)
    signature = codec._sign(key, kind, host_id, boot_id, str(seq), text)
    envelope = {"schema_version": 1, "kind": kind, "host_id": host_id, "boot_id": boot_id, "seq": seq}
    return json.dumps({**envelope, "record": text, "signature": signature})


def sign_packed(host_id: str, boot_id: str, seq: int, stream: bytes) -> str:
    """An envelope with a right signature over any packed record."""
    record = base64.b64encode(stream).decode()
    unsigned = v1.Envelope(1, "telemetry", host_id, boot_id, seq, record, "", "zlib-base64")
    signature = codec._sign_envelope(wiring.read_signing_key(host_id), unsigned)
    return msgspec.json.encode(msgspec.structs.replace(unsigned, signature=signature)).decode()


POISONS = {
    "bad_json": (lambda host, boot: "{not json", "bad_json"),
    "wrong_schema": (lambda host, boot: '{"schema_version": 1}', "wrong_schema"),
    "signed_wrong_schema": (lambda host, boot: sign_as(host, boot, 5, '{"samples": 7}'), "wrong_schema"),
    "too_large": (lambda host, boot: "x" * LARGE, "too_large"),
    "bomb": (lambda host, boot: sign_packed(host, boot, 5, zlib.compress(b" " * 40_000_000, 9)), "too_large"),
    "torn_stream": (lambda host, boot: sign_packed(host, boot, 5, zlib.compress(b"{}")[:-1]), "bad_encoding"),
    "packed_wrong_schema": (
        lambda host, boot: sign_packed(host, boot, 5, zlib.compress(b'{"samples": 7}')),
        "wrong_schema",
    ),
    "nan": (
        lambda host, boot: sign_as(host, boot, 5, '{"samples": [], "intervals": NaN}'),
        "bad_json",
    ),
    "deep_nesting": (lambda host, boot: '{"deep": ' + "[" * 60_000, "bad_json"),
    "deep_record": (lambda host, boot: sign_as(host, boot, 5, '{"deep": ' + "[" * 20_000), "bad_json"),
    "forged": (
        lambda host, boot: build_record(host, boot, 5).replace("70000", "1"),
        "bad_signature",
    ),
    "foreign_signature": (
        lambda host, boot: build_record("hst_other", boot, 5).replace("hst_other", host),
        "bad_signature",
    ),
    "heartbeat_on_the_telemetry_queue": (
        lambda host, boot: sign_as(host, boot, 5, "{}", kind="heartbeat"),
        "wrong_kind",
    ),
}


@pytest.mark.parametrize("name", POISONS)
def test_nine_are_stored_once_and_the_tenth_is_a_dead_letter_with_its_reason(
    cloud: EmbeddedCloud, host: Host, name: str
) -> None:
    build, reason = POISONS[name]
    boot_id = f"boot-{name}"
    bodies = [
        build(host.host_id, boot_id) if seq == 5 else build_record(host.host_id, boot_id, seq)
        for seq in range(10)
    ]
    sqs = cloud.aws.client("sqs")
    queue_url, dead_url = cloud.outputs["TelemetryQueueUrl"], cloud.outputs["TelemetryDlqUrl"]
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    sent = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
    assert len(sent["Successful"]) == 10

    dead: list[dict[str, object]] = []

    def collect() -> list[dict[str, object]]:
        found = sqs.receive_message(
            QueueUrl=dead_url, MessageAttributeNames=["All"], MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=dead_url, ReceiptHandle=message["ReceiptHandle"])
            dead.append(message)
        return dead

    wait_for(collect, lambda messages: len(messages) == 1)
    assert dead[0]["MessageAttributes"]["reason"]["StringValue"] == reason
    assert dead[0]["Body"] == bodies[5]

    stored = wait_for(lambda: count_stored(cloud, host.host_id, boot_id), lambda count: count >= 9)
    assert stored == 9
    assert collect() == dead
    left = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    assert (left["ApproximateNumberOfMessages"], left["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_batch_that_comes_twice_is_stored_once(cloud: EmbeddedCloud, host: Host) -> None:
    sqs, queue_url = cloud.aws.client("sqs"), cloud.outputs["TelemetryQueueUrl"]
    bodies = [build_record(host.host_id, "boot-twice", seq) for seq in range(5)]
    for _ in range(2):
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)

    def is_drained(attributes: dict[str, str]) -> bool:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return all(attributes[name] == "0" for name in names)

    wait_for(
        lambda: sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"], is_drained
    )
    assert count_stored(cloud, host.host_id, "boot-twice") == 5


def count_stored(cloud: EmbeddedCloud, host_id: str, boot_id: str) -> int:
    answer = cloud.aws.client("dynamodb").query(
        TableName=f"{cloud.outputs['TablePrefix']}-telemetry",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"HOST#{host_id}#BOOT#{boot_id}"}},
        ConsistentRead=True,
    )
    return int(answer["Count"])
