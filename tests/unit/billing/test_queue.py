"""Charges are asked for in batches; what the queue refuses is sent again, and never taken for sent."""

import json

import pytest

from chalicelib.billing.queue_gateway import MAX_ATTEMPTS, SqsChargeQueue
from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import ChargeRequest


class Sqs:
    """Answers as SQS does; refuses the ids in ``refused`` so many times."""

    def __init__(self, refused=0):
        self.refused, self.calls = refused, []

    def send_message_batch(self, *, QueueUrl, Entries):  # noqa: N803
        assert QueueUrl == "charges"
        self.calls.append(Entries)
        if self.refused:
            self.refused -= 1
            return {"Successful": [], "Failed": [{"Id": Entries[-1]["Id"]}]}
        return {"Successful": [{"Id": each["Id"]} for each in Entries]}


def ask(sqs, count):
    requests = (ChargeRequest(f"acc_{n % 3}", f"rnt_{n}", f"rnt_{n}:7") for n in range(count))
    return SqsChargeQueue(sqs, "charges").request_charges(requests)


@pytest.mark.parametrize(("count", "calls"), [(0, 0), (1, 1), (10, 1), (11, 2), (205, 21)])
def test_ten_go_in_a_call_and_each_once_in_its_accounts_group(count, calls):
    sqs = Sqs()
    assert ask(sqs, count) == count
    assert len(sqs.calls) == calls
    sent = [entry for entries in sqs.calls for entry in entries]
    assert {entry["MessageDeduplicationId"] for entry in sent} == {f"rnt_{n}:7" for n in range(count)}
    for entry in sent:
        number = int(json.loads(entry["MessageBody"])["rental_id"].removeprefix("rnt_"))
        assert entry["MessageGroupId"] == f"acc_{number % 3}"


def test_what_was_refused_goes_again_alone():
    sqs = Sqs(refused=1)
    assert ask(sqs, 3) == 3
    assert [len(entries) for entries in sqs.calls] == [3, 1]


def test_a_queue_that_does_not_take_it_is_an_error_and_not_a_loss():
    with pytest.raises(Unavailable):
        ask(Sqs(refused=MAX_ATTEMPTS), 3)
