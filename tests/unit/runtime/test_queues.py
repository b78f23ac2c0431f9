"""A message is acknowledged only when its effect is stored or it stands in the dead-letter queue."""

import pytest

from chalicelib.runtime.queues import DeadLetters, Message, Rejected, consume, read_messages


class FakeSqs:
    def __init__(self, *, down=False):
        self.sent, self.down = [], down

    def send_message(self, **message):
        if self.down:
            raise ConnectionError
        # As AWS: a FIFO queue insists on a group, and any other refuses one.
        in_order = {"MessageGroupId", "MessageDeduplicationId"} & set(message)
        assert len(in_order) == (2 if message["QueueUrl"].endswith(".fifo") else 0)
        self.sent.append(message)


def build(count):
    return [Message(f"m{number}", f"body {number}", 0) for number in range(count)]


def run(count, outcomes, *, down=False, url="dead", messages=None):
    sqs = FakeSqs(down=down)
    handled = []

    def handle(message):
        handled.append(message.message_id)
        error = outcomes.get(message.message_id)
        if error is not None:
            raise error

    answer = consume(messages or build(count), handle, DeadLetters(sqs, url))
    return handled, [each["itemIdentifier"] for each in answer["batchItemFailures"]], sqs.sent


def test_the_sender_is_who_aws_says():
    def read(**attributes):
        record = {"messageId": "m", "body": "b", "attributes": {"SentTimestamp": "7"} | attributes}
        (message,) = read_messages({"Records": [record]})
        return message.sent_at_ms, message.sender_id, message.sender_session

    assert read(SenderId="AROAX:hst_1") == (7, "AROAX:hst_1", "hst_1")
    assert read(SenderId="123456789012") == (7, "123456789012", "")
    assert read() == (7, "", "")


def test_one_that_fails_comes_again_alone_and_the_others_are_handled():
    handled, failures, dead = run(4, {"m1": RuntimeError("store down")})
    assert (handled, failures, dead) == (["m0", "m1", "m2", "m3"], ["m1"], [])


def test_poison_is_a_dead_letter_with_its_reason_and_does_not_come_again():
    _, failures, dead = run(3, {"m2": Rejected("bad_json", "line 1")})
    assert failures == []
    (letter,) = dead
    assert letter["MessageBody"] == "body 2"
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes == {"reason": "bad_json", "detail": "line 1", "message_id": "m2"}


def test_poison_of_a_fifo_queue_keeps_its_group_and_is_put_aside_once():
    attributes = {"SentTimestamp": "7", "MessageGroupId": "acc_1"}
    records = [{"messageId": "m0", "body": "b", "attributes": attributes}]
    messages = [*read_messages({"Records": records}), Message("m1", "b", 0)]
    poison = {each.message_id: Rejected("unknown_rental", "") for each in messages}
    _, failures, dead = run(2, poison, url="https://sqs/1/charges-dlq.fifo", messages=messages)
    assert failures == []
    assert [(each["MessageGroupId"], each["MessageDeduplicationId"]) for each in dead] == [
        ("acc_1", "m0"),
        ("m1", "m1"),
    ]


def test_poison_that_cannot_be_put_aside_is_not_lost():
    _, failures, _ = run(2, {"m0": Rejected("bad_json", "")}, down=True)
    assert failures == ["m0"]


def test_a_detail_of_any_length_fits_and_an_empty_one_is_allowed():
    _, failures, dead = run(2, {"m0": Rejected("r", "x" * 10_000), "m1": Rejected("r", "")})
    assert failures == []
    details = [letter["MessageAttributes"]["detail"]["StringValue"] for letter in dead]
    assert [len(detail) for detail in details] == [512, 1]


def test_the_time_of_a_message_is_the_queues():
    record = {"messageId": "m", "body": "b", "attributes": {"SentTimestamp": "17"}}
    assert read_messages({"Records": [record]}) == [Message("m", "b", 17)]
    with pytest.raises(KeyError):
        read_messages({})
