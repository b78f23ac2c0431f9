"""The embedded cloud: MiniStack with the production template deployed, as one context manager."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.aws import Aws
from infra.local.deploy import deploy_stack
from infra.local.grid.server import PASSWORD, TOKEN, USERNAME, RunningGrid, run_grid
from infra.local.ministack import Server, run_ministack
from infra.local.paths import LOCAL
from infra.local.progress import Progress, StepFailed
from infra.local.stripe.server import Running, run_stripe
from infra.local.synth import Synthesis, build_local_context, synthesize

STACK_NAME = "local"
#: How often the simulator of Stripe does what is due, such as telling of a payment again.
PUMP_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class EmbeddedCloud:
    """``outputs`` are the stack's; ``api_url`` has no trailing slash."""

    server: Server
    aws: Aws
    outputs: dict[str, str]
    #: The folder of the template and the archives that were deployed.
    assembly: Path
    #: The simulator that is this stage's Stripe.
    stripe: Running
    #: The simulator of the providers of grid intensity.
    grid: RunningGrid

    @property
    def api_url(self) -> str:
        return f"{self.server.endpoint_url}/restapis/{self.outputs['RestApiIdOutput']}/api/_user_request_"

    def bootstrap(self, *, rotate: bool = False) -> dict[str, str | None]:
        """Invoke the bootstrap function, as an operator would with `aws lambda invoke`.

        Raises:
            StepFailed: the function failed.
        """
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.outputs["BootstrapFunctionName"],
            Payload=json.dumps({"rotate": rotate}).encode(),
        )
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer or "account_id" not in payload:
            raise StepFailed(f"bootstrap failed: {payload}", f"see {self.server.log}")
        outcome: dict[str, str | None] = payload
        return outcome


def connect_stripe(cloud: EmbeddedCloud) -> None:
    """Set the stage's Stripe keys, as an operator does, to those of the simulator, and have it tell us."""
    secret = f"whsec_{secrets.token_hex(16)}"
    keys = {
        "api_key": "_".join(("sk", "test", secrets.token_hex(12))),
        "webhook_secrets": [secret],
        "api_base": cloud.stripe.url,
    }
    cloud.aws.client("secretsmanager").put_secret_value(
        SecretId=f"{cloud.outputs['TablePrefix']}-stripe", SecretString=json.dumps(keys)
    )
    cloud.stripe.simulator.webhooks.register(f"{cloud.api_url}/v1/stripe/events", secret)


def connect_grid(cloud: EmbeddedCloud) -> None:
    """Set the stage's keys of the providers of grid intensity, as an operator does."""
    base = {"api_base": cloud.grid.url}
    keys = {
        "uk_carbon_intensity": base,
        "electricity_maps": {"token": TOKEN, **base},
        "watttime": {"username": USERNAME, "password": PASSWORD, **base},
    }
    cloud.aws.client("secretsmanager").put_secret_value(
        SecretId=f"{cloud.outputs['TablePrefix']}-grid", SecretString=json.dumps(keys)
    )


def name_address(cloud: EmbeddedCloud) -> None:
    """Set the address at which this machine reaches the API, in place of the one that it has on AWS."""
    cloud.aws.client("ssm").put_parameter(
        Name=f"/{cloud.outputs['TablePrefix']}/public-url", Value=cloud.api_url, Overwrite=True
    )


def verify_sender(cloud: EmbeddedCloud) -> None:
    """Let the address that writes to people send, as whoever owns it does at SES."""
    (handler,) = (
        each
        for page in cloud.aws.client("lambda").get_paginator("list_functions").paginate()
        for each in page["Functions"]
        if "-APIHandler-" in each["FunctionName"]
    )
    sender = handler["Environment"]["Variables"]["MAIL_FROM"]
    cloud.aws.client("sesv2").create_email_identity(EmailIdentity=sender)


@contextlib.contextmanager
def run_cloud(
    name: str,
    progress: Progress,
    *,
    heartbeat_interval_seconds: int = 10,
    telemetry_interval_seconds: int = 60,
) -> Iterator[EmbeddedCloud]:
    """Run a fresh cloud; its files are in ``.local/run/<name>``.

    Raises:
        StepFailed: a step could not be done.
    """
    state_dir: Path = LOCAL / "run" / name
    context = build_local_context(
        heartbeat_interval_seconds=str(heartbeat_interval_seconds),
        telemetry_interval_seconds=str(telemetry_interval_seconds),
    )
    assembly = synthesize(Synthesis(context), progress)
    with run_ministack(state_dir, progress) as server:
        aws = Aws(server.endpoint_url)
        try:
            outputs = deploy_stack(aws, assembly, STACK_NAME, progress, server.log)
            with run_stripe(pump_seconds=PUMP_SECONDS) as payments, run_grid() as grid:
                running = EmbeddedCloud(server, aws, outputs, assembly, payments, grid)
                connect_stripe(running)
                connect_grid(running)
                name_address(running)
                verify_sender(running)
                yield running
        finally:
            aws.close()
