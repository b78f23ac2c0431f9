"""The machine that a function runs on: settings, time, ids, transactions, AWS clients, secrets, queues."""

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.runtime.settings import Settings, get_settings
from chalicelib.runtime.system import SystemClock, SystemIds

if TYPE_CHECKING:
    from chalicelib.core.ports import Transaction
    from chalicelib.runtime.parameters import CachedParameter
    from chalicelib.runtime.queues import DeadLetters
    from chalicelib.runtime.secrets import CachedSecret
    from chalicelib.scaling.ports import Instances

#: A function's calls to other services: fail well before API Gateway's 29 s.
CONNECT_TIMEOUT_SECONDS = 1
READ_TIMEOUT_SECONDS = 5


def settings() -> Settings:
    return get_settings()


@cache
def clock() -> SystemClock:
    return SystemClock()


def find_clock() -> SystemClock:
    """For those who ask at each request: a test may put another in place."""
    return clock()


@cache
def ids() -> SystemIds:
    return SystemIds()


def start_transaction() -> "Transaction":
    from chalicelib.runtime.system import draw_fraction, sleep_seconds
    from chalicelib.storage.connection import bind
    from chalicelib.storage.transaction import DynamoTransaction, Retry

    connection = bind(settings().table_prefix, settings().aws_region)
    return DynamoTransaction(connection, ids().new_id("tx"), Retry(sleep_seconds, draw_fraction))


def bind_tables() -> None:
    from chalicelib.storage.connection import bind

    bind(settings().table_prefix, settings().aws_region)


@cache
def aws_client(service: str, region: str | None = None, signature: str | None = None) -> Any:
    """A botocore client, of our own region unless another is named.

    boto3 would double what PynamoDB has loaded.
    """
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        signature_version=signature,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 3, "mode": "standard"},
        # So that links name the region: newer ones are not served under S3's global address.
        s3={"addressing_style": "virtual"},
    )
    return get_session().create_client(service, region_name=region or settings().aws_region, config=config)


def sqs_client() -> Any:
    return aws_client("sqs")


@cache
def instances() -> "Instances":
    """EC2. A region's client is made at its first call: the API, which makes none, loads no description."""
    from chalicelib.scaling.ec2_gateway import Ec2Instances

    return Ec2Instances(lambda region: aws_client("ec2", region), settings().stage)


@cache
def _pepper() -> "CachedSecret":
    from chalicelib.runtime.secrets import CachedSecret

    return CachedSecret(aws_client("secretsmanager"), settings().pepper_secret_id, clock())


def read_pepper() -> bytes:
    return _pepper().read()


@cache
def _public_url() -> "CachedParameter":
    from chalicelib.runtime.parameters import CachedParameter

    return CachedParameter(aws_client("ssm"), settings().public_url_parameter, clock())


def public_url() -> str:
    """Where the API is reached from outside, without a slash at its end: links, and the issuer of tokens."""
    return _public_url().read()


def read_signing_key(host_id: str) -> bytes:
    from chalicelib.fleet.model import derive_signing_key

    return derive_signing_key(host_id, read_pepper())


def dead_letters(name: Literal["heartbeats", "telemetry", "charges", "watches", "payments"]) -> "DeadLetters":
    """The dead letters of a queue."""
    from chalicelib.runtime.queues import DeadLetters

    return DeadLetters(sqs_client(), getattr(settings(), f"{name}_dlq_url"))
