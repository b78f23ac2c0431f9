"""The deployed functions' own wiring, in the test's process: same environment, same tables, root credentials.

Lets a test run a thousand starts without the cost of a thousand HTTP calls, on the real stores.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib import wiring
from chalicelib.runtime import observability, settings
from chalicelib.storage import connection
from infra.local.cloud import EmbeddedCloud
from infra.local.ministack import REGION
from tests.fakes.wiring import MODULES

_CACHED = [value for module in MODULES for value in vars(module).values() if hasattr(value, "cache_clear")]


@contextmanager
def wire_to(cloud: EmbeddedCloud) -> Iterator[None]:
    """Point `chalicelib.wiring` at the deployed stack."""
    configuration = cloud.aws.client("lambda").get_function_configuration(
        FunctionName=cloud.outputs["APIHandlerName"]
    )
    added = {
        **configuration["Environment"]["Variables"],
        "LOG_LEVEL": "WARNING",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": cloud.server.endpoint_url,
        "AWS_ACCESS_KEY_ID": cloud.aws.access_key_id,
        "AWS_SECRET_ACCESS_KEY": cloud.aws.secret_access_key,
    }
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    forget()
    try:
        yield
    finally:
        close_clients()
        forget()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def close_clients() -> None:
    for service in ("sqs", "sts", "secretsmanager"):
        wiring.aws_client(service).close()
    connection.bind(wiring.settings().table_prefix, wiring.settings().aws_region).client.close()


def forget() -> None:
    """Drop what a process caches, as a cold start would."""
    for cached in _CACHED:
        cached.cache_clear()
    settings.get_settings.cache_clear()
    observability.get_logger.cache_clear()
    connection.bind.cache_clear()
