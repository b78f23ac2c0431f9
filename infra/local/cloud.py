"""The embedded cloud: MiniStack with the production template deployed, as one context manager."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.aws import Aws
from infra.local.deploy import deploy_stack
from infra.local.ministack import Server, run_ministack
from infra.local.paths import LOCAL
from infra.local.progress import Progress, StepFailed
from infra.local.synth import Synthesis, build_local_context, synthesize

STACK_NAME = "local"


@dataclass(frozen=True, slots=True)
class EmbeddedCloud:
    """``outputs`` are the stack's; ``api_url`` has no trailing slash."""

    server: Server
    aws: Aws
    outputs: dict[str, str]

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
            yield EmbeddedCloud(server, aws, outputs)
        finally:
            aws.close()
