"""``python -m infra.cdk.app``: synthesises one stage, named by the context (``stage``, ``architecture``)."""

import os
from pathlib import Path

from aws_cdk import App

from infra.cdk.stack import PlatformStack, Stage


def build_stage(app: App) -> Stage:
    """Read the stage from the context; ``dev`` and ``local`` lose their data with the stack."""

    def read(name: str, default: str) -> str:
        return str(app.node.try_get_context(name) or default)

    name = read("stage", "dev")
    return Stage(
        name=name,
        architecture=read("architecture", "arm64"),
        protected=name not in {"dev", "local"},
        enforce_tls=name != "local",
        heartbeat_interval_seconds=int(read("heartbeat_interval_seconds", "10")),
        telemetry_interval_seconds=int(read("telemetry_interval_seconds", "60")),
        seller_name=read("seller_name", "Provocative Cloud"),
        seller_address=read("seller_address", ""),
        seller_country=read("seller_country", ""),
        seller_tax_id=read("seller_tax_id", ""),
        outer_ring=name != "local",
        # One address is everybody there.
        rate_limit_factor=int(read("rate_limit_factor", "1000" if name == "local" else "1")),
        new_account_ramp=read("new_account_ramp", "off" if name == "local" else "on") == "on",
        public_url=read("public_url", "").rstrip("/"),
        allowed_origins=read("allowed_origins", ""),
        mail_from=read("mail_from", "accounts@provocative.example"),
    )


def main() -> None:
    # Chalice builds a session; without these it would ask the instance metadata service for a region.
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    app = App(outdir=os.environ.get("CDK_OUTDIR", str(Path.cwd() / "cdk.out")))
    PlatformStack(app, build_stage(app))
    app.synth()


if __name__ == "__main__":
    main()
