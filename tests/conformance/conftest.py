"""A bare MiniStack, without our stack, and small things made in it."""

import io
import json
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local.aws import Aws
from infra.local.ministack import ACCOUNT_ID, Server, run_ministack
from infra.local.paths import LOCAL
from infra.local.progress import Progress

ASSUME_ANY = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role"


@pytest.fixture(scope="session")
def ministack() -> Iterator[Server]:
    with run_ministack(LOCAL / "run" / "conformance", Progress()) as server:
        yield server


@pytest.fixture(scope="session")
def aws(ministack: Server) -> Iterator[Aws]:
    clients = Aws(ministack.endpoint_url)
    yield clients
    clients.close()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def table(aws: Aws, name: str) -> str:
    """A table with string keys pk and sk, a number index, a stream of new images and an expiry attribute."""
    types = {"pk": "S", "sk": "S", "pool": "S", "free_gpus": "N"}
    aws.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in types.items()],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_pool",
                "KeySchema": [
                    {"AttributeName": "pool", "KeyType": "HASH"},
                    {"AttributeName": "free_gpus", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    aws.client("dynamodb").update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    return name


@pytest.fixture
def create_role(aws: Aws) -> Callable[..., str]:
    """``create_role(name, *statements)`` returns the ARN of a role that may do just that."""

    def create(role: str, *statements: dict[str, Any]) -> str:
        iam = aws.client("iam")
        trust = {"Version": "2012-10-17", "Statement": [ASSUME_ANY]}
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName=role, PolicyName="only", PolicyDocument=json.dumps(policy))
        return f"{ROLE_ARN}/{role}"

    return create


@pytest.fixture
def create_function(aws: Aws, create_role: Callable[..., str]) -> Callable[..., str]:
    """``create_function(name, source)`` deploys one file that has ``handler`` and may use SQS and streams."""

    def create(function: str, source: str, **environment: str) -> str:
        everything = {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:*", "logs:*"], "Resource": "*"}
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("main.py", source)
        aws.client("lambda").create_function(
            FunctionName=function,
            Runtime="python3.12",
            Handler="main.handler",
            Role=create_role(f"{function}-role", everything),
            Code={"ZipFile": archive.getvalue()},
            Environment={"Variables": environment},
            Timeout=10,
        )
        return function

    return create


def run_threads(count: int, work: Callable[[int], object]) -> list[BaseException]:
    """Run ``work(n)`` in ``count`` threads that start together; return what they raised."""
    gate = threading.Barrier(count)
    raised: list[BaseException] = []

    def run(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except Exception as error:  # the caller judges
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
