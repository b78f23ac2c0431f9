"""What we rely on in the embedded SQS, Lambda event sources and streams."""

import json
import time

from tests.integration.waiting import wait_for

ATTRIBUTES = ["All"]

#: Fails what says so, by name; writes what it was given to the queue that the environment names.
PARTIAL = """
import json, os, sys, urllib.request, boto3
sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
def handler(event, context):
    print("batch of", len(event["Records"]), file=sys.stderr)
    failed = []
    for record in event["Records"]:
        if record["body"] == "poison":
            failed.append({"itemIdentifier": record["messageId"]})
        else:
            sqs.send_message(QueueUrl=os.environ["SEEN"], MessageBody=record["body"])
    return {"batchItemFailures": failed}
"""

STREAMED = """
import json, os, sys, boto3
sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
def handler(event, context):
    print("records", len(event["Records"]), file=sys.stderr)
    for record in event["Records"]:
        body = json.dumps({"event": record["eventName"], "image": record["dynamodb"].get("NewImage")})
        sqs.send_message(QueueUrl=os.environ["SEEN"], MessageBody=body)
    return {"batchItemFailures": []}
"""


def create_queue(sqs, name: str, **attributes: str) -> str:
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def read_arn(sqs, url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def drain(sqs, url: str, into: list[dict]) -> list[dict]:
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=ATTRIBUTES, WaitTimeSeconds=0
    )
    for message in answer.get("Messages", []):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        into.append(message)
    return into


def create_redriven(sqs, name: str, max_receives: int, visibility_seconds: int) -> tuple[str, str]:
    dead = create_queue(sqs, f"{name}-dead")
    redrive = {"deadLetterTargetArn": read_arn(sqs, dead), "maxReceiveCount": max_receives}
    source = create_queue(
        sqs, name, VisibilityTimeout=str(visibility_seconds), RedrivePolicy=json.dumps(redrive)
    )
    return source, dead


def test_only_the_failed_message_of_a_batch_comes_back_and_then_goes_to_the_dead_letters(
    aws, name, create_function
):
    sqs = aws.client("sqs")
    source, dead = create_redriven(sqs, name, max_receives=2, visibility_seconds=1)
    seen = create_queue(sqs, f"{name}-seen")
    create_function(name, PARTIAL, SEEN=seen)
    entries = [{"Id": str(n), "MessageBody": f"good-{n}"} for n in range(9)]
    sqs.send_message_batch(QueueUrl=source, Entries=[*entries, {"Id": "9", "MessageBody": "poison"}])
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=read_arn(sqs, source),
        FunctionName=name,
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    lost: list[dict] = []
    wait_for(lambda: drain(sqs, dead, lost), len)
    assert [message["Body"] for message in lost] == ["poison"]
    stored: list[dict] = []
    wait_for(lambda: drain(sqs, seen, stored), lambda found: len(found) >= 9)
    assert sorted(message["Body"] for message in stored) == [f"good-{n}" for n in range(9)]


def test_a_message_received_too_often_moves_to_the_dead_letters_with_its_first_send_time(aws, name):
    sqs = aws.client("sqs")
    source, dead = create_redriven(sqs, name, max_receives=2, visibility_seconds=0)
    before_ms = int(time.time() * 1000)
    sqs.send_message(QueueUrl=source, MessageBody="x")
    for _ in range(3):
        sqs.receive_message(QueueUrl=source)
    lost: list[dict] = []
    wait_for(lambda: drain(sqs, dead, lost), len)
    assert int(lost[0]["Attributes"]["ApproximateReceiveCount"]) >= 2
    assert abs(int(lost[0]["Attributes"]["SentTimestamp"]) - before_ms) < 5_000


def test_a_received_message_is_hidden_and_comes_back_when_it_was_not_deleted(aws, name):
    sqs = aws.client("sqs")
    source = create_queue(sqs, name, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=source, MessageBody="x")
    first = sqs.receive_message(QueueUrl=source, MessageSystemAttributeNames=ATTRIBUTES)["Messages"][0]
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert "Messages" not in sqs.receive_message(QueueUrl=source)
    again: list[dict] = []
    wait_for(lambda: drain(sqs, source, again), len)
    assert again[0]["MessageId"] == first["MessageId"]
    assert again[0]["Attributes"]["SentTimestamp"] == first["Attributes"]["SentTimestamp"]


def test_a_fifo_queue_keeps_the_order_of_a_group_and_drops_a_duplicate(aws, name):
    sqs = aws.client("sqs")
    queue = create_queue(sqs, f"{name}.fifo", FifoQueue="true", VisibilityTimeout="30")
    for number in (0, 1, 1, 2):
        sqs.send_message(
            QueueUrl=queue,
            MessageBody=str(number),
            MessageGroupId="account",
            MessageDeduplicationId=f"d{number}",
        )
    first = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=1)["Messages"]
    assert "Messages" not in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=1), "group is locked"
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=first[0]["ReceiptHandle"])
    rest: list[dict] = []
    wait_for(lambda: drain(sqs, queue, rest), lambda found: len(found) >= 2)
    assert [message["Body"] for message in (*first, *rest)] == ["0", "1", "2"]


def test_a_stream_delivers_new_images_in_order_to_a_function(aws, name, table, create_function):
    sqs, dynamodb = aws.client("sqs"), aws.client("dynamodb")
    seen = create_queue(sqs, f"{name}-seen")
    create_function(name, STREAMED, SEEN=seen)
    stream = dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=stream,
        FunctionName=name,
        StartingPosition="TRIM_HORIZON",
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    for number in range(3):
        item = {"pk": {"S": "same"}, "sk": {"S": "-"}, "n": {"N": str(number)}}
        dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": item}}])
    messages: list[dict] = []
    wait_for(lambda: drain(sqs, seen, messages), lambda found: len(found) >= 3)
    ordered = sorted(messages, key=lambda each: int(each["Attributes"]["SentTimestamp"]))
    bodies = [json.loads(message["Body"]) for message in ordered]
    assert [body["event"] for body in bodies] == ["INSERT", "MODIFY", "MODIFY"]
    assert [body["image"]["n"]["N"] for body in bodies] == ["0", "1", "2"]
