"""The Chalice application as a construct: bytecode, one role per function, real partial batches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws_cdk import CfnResource
from aws_cdk import aws_iam as iam
from chalice.cdk import Chalice
from constructs import Construct

from chalicelib.billing.tampering import CHANGES
from chalicelib.runtime.problems import SECURITY_HEADERS
from infra.cdk.bytecode import prepare_archive
from infra.cdk.layer import LayerUnusable, check_layer
from infra.cdk.permissions import Resources, build_statements
from infra.cdk.table_access import TABLE_ACCESS

ROOT = Path(__file__).resolve().parents[2]
#: SAM event of each queue or stream consumer -> properties that Chalice cannot express (aws/chalice#2029).
_BATCH = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
STREAM_RETRIES = 10
#: A posting is an insert: it matches nothing, and what matches nothing invokes nothing.
TAMPERING_PATTERN = json.dumps({"eventName": list(CHANGES)})
#: The stage's limit is by the second.
_CAME_TOO_OFTEN = {"THROTTLED": {"Retry-After": "1"}}
_GATEWAY_HEADERS = {"Content-Type": "application/problem+json", "Vary": "Origin"}
#: What stands for each method that a path does not name. Source: AWS, OpenAPI extensions for API Gateway.
ANY_METHOD = "x-amazon-apigateway-any-method"
API_HANDLER = "chalicelib.entrance.app"
#: What all functions share: their packages.
LAYER = "layer-deployment.zip"
#: The most that Lambda offers.
LANES = 10


CONSUMERS = (
    "OnHeartbeat",
    "OnTelemetry",
    "OnCharge",
    "OnStripeEvent",
    "OnWatch",
    "OnCommandRecorded",
    "OnCapacityChanged",
    "OnEventRecorded",
    "OnLedgerTampered",
    "OnAuditRecorded",
)


class FastChalice(Chalice):
    """Chalice's construct, with bytecode in the archives before they become assets."""

    def _package_app(self) -> None:
        super()._package_app()
        folder = Path(self._sam_package_dir)
        assert self.stage_config is not None
        try:
            check_layer(
                folder / LAYER,
                (ROOT / "requirements.txt").read_text(),
                self.stage_config["lambda_architecture"],
            )
        except LayerUnusable:
            # Chalice would take it again, even when it was the index that did not answer.
            for kept in (ROOT / ".chalice" / "deployments").glob("managed-layer-*"):
                kept.unlink()
            raise
        for name in ("deployment.zip", LAYER):
            prepare_archive(folder / name)

    def read_sam(self) -> dict[str, Any]:
        """Return the template as Chalice wrote it."""
        sam: dict[str, Any] = json.loads((Path(self._sam_package_dir) / "sam.json").read_text())
        return sam


class Functions(Construct):
    """Every Lambda function and the REST API."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Mapping[str, str],
        architecture: str,
        resources: Resources,
    ) -> None:
        super().__init__(scope, construct_id)
        self.chalice = FastChalice(
            scope,
            "Chalice",
            source_dir=str(ROOT),
            stage_config={
                "environment_variables": dict(environment),
                "lambda_architecture": architecture,
                "api_gateway_stage": "api",
            },
        )
        self._resources = resources
        for function in TABLE_ACCESS:
            self._replace_policy(function)
        # Chalice names `app.py`, which imports every slice; see `chalicelib.entrance`.
        self.get_resource("APIHandler").add_property_override("Handler", API_HANDLER)
        self._override_sources()
        self._pass_other_methods()
        self._add_gateway_responses(environment.get("ALLOWED_ORIGINS", ""))

    def get_resource(self, name: str) -> CfnResource:
        found: CfnResource = self.chalice.get_resource(name)
        return found

    def get_role(self, function: str) -> iam.CfnRole:
        role = self.chalice.get_resource(name_role(function))
        assert isinstance(role, iam.CfnRole)
        return role

    def _replace_policy(self, function: str) -> None:
        # Inline in the role, not beside it: an event source mapping is refused while its role lacks rights.
        document = {"Version": "2012-10-17", "Statement": build_statements(function, self._resources)}
        self.get_role(function).add_property_override(
            "Policies", [{"PolicyName": "least-privilege", "PolicyDocument": document}]
        )

    def _override_sources(self) -> None:
        for function in CONSUMERS:
            resource = self.get_resource(function)
            (event,) = self.chalice.read_sam()["Resources"][function]["Properties"]["Events"]
            overrides: dict[str, Any] = dict(_BATCH)
            dead = {
                "OnCommandRecorded": self._resources.queues.commands_dead,
                "OnEventRecorded": self._resources.queues.webhooks_dead,
                "OnAuditRecorded": self._resources.queues.audit_dead,
            }
            if function in {"OnEventRecorded", "OnAuditRecorded"}:
                # By account: who waits for a slow endpoint holds up one lane of a shard.
                overrides["ParallelizationFactor"] = LANES
            if function == "OnLedgerTampered":
                overrides["FilterCriteria"] = {"Filters": [{"Pattern": TAMPERING_PATTERN}]}
            if function in dead:
                destination = {"Type": "SQS", "Destination": dead[function].queue_arn}
                overrides |= {
                    "BisectBatchOnFunctionError": True,
                    "MaximumRetryAttempts": STREAM_RETRIES,
                    "DestinationConfig": {"OnFailure": destination},
                }
            for name, value in overrides.items():
                resource.add_property_override(f"Events.{event}.Properties.{name}", value)

    def _pass_other_methods(self) -> None:
        """Let a method that a path does not have reach the function: it says 405 and what there is.

        The gateway itself says 403, and that a token is missing.
        """
        api = self.get_resource("RestAPI")
        paths = self.chalice.read_sam()["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
        for path, methods in paths.items():
            operation = dict(next(iter(methods.values())))
            operation.pop("summary", None)
            escaped = path.replace(".", "\\.")
            api.add_property_override(f"DefinitionBody.paths.{escaped}.{ANY_METHOD}", operation)

    def _add_gateway_responses(self, allowed_origins: str) -> None:
        """What the gateway answers itself (unknown path, too large, throttled) is a problem document too."""
        template = {
            "type": "urn:provocative:problem:gateway",
            "title": "$context.error.responseType",
            "code": "gateway_$context.error.responseType",
            "detail": "$context.error.message",
            "request_id": "$context.requestId",
        }
        # The gateway says the same to everybody: with more than one origin it can name none.
        origins = allowed_origins.split()
        cross_origin = {"Access-Control-Allow-Origin": origins[0]} if len(origins) == 1 else {}
        for response_type in ("DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED"):
            CfnResource(
                self,
                response_type.title().replace("_", ""),
                type="AWS::ApiGateway::GatewayResponse",
                properties={
                    "RestApiId": self.get_resource("RestAPI").ref,
                    "ResponseType": response_type,
                    "ResponseTemplates": {"application/json": json.dumps(template)},
                    "ResponseParameters": {
                        f"gatewayresponse.header.{name}": f"'{value}'"
                        for name, value in {
                            **SECURITY_HEADERS,
                            **cross_origin,
                            **_GATEWAY_HEADERS,
                            **_CAME_TOO_OFTEN.get(response_type, {}),
                        }.items()
                    },
                },
            )


def name_role(function: str) -> str:
    return "ApiHandlerRole" if function == "APIHandler" else f"{function}Role"
