"""The platform as one stack per stage. The stack's id is the stage: Chalice names its stage after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import CfnOutput, DefaultStackSynthesizer, Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.cdk.alarms import Alarms
from infra.cdk.functions import Functions
from infra.cdk.log_groups import LogGroups
from infra.cdk.outer_ring import OuterRing, build_method_settings
from infra.cdk.permissions import Resources, build_host_statements
from infra.cdk.queues import Queues
from infra.cdk.table_access import TABLE_ACCESS
from infra.cdk.tables import Tables

APP_NAME = "provocative"
#: As long as books are kept.
SEALS_KEPT = Duration.days(3653)
#: Ten years from the end of the year.
STATEMENTS_KEPT = Duration.days(3653 + 366)


@dataclass(frozen=True, slots=True)
class Stage:
    """What differs between stages. ``protected`` keeps data when the stack goes."""

    name: str
    architecture: str = "arm64"
    protected: bool = True
    #: Off where everything is plain HTTP on loopback.
    enforce_tls: bool = True
    heartbeat_interval_seconds: int = 10
    telemetry_interval_seconds: int = 60
    #: Who bills, as statements name them; lines of the address are apart by ``|``.
    seller_name: str = "Provocative Cloud"
    seller_address: str = ""
    seller_country: str = ""
    seller_tax_id: str = ""
    #: A firewall and limits before the API; the embedded cloud has neither.
    outer_ring: bool = True
    #: Multiplies the rate limits of `chalicelib.core.throttling`.
    rate_limit_factor: int = 1
    #: Holds new accounts to less, see `chalicelib.rentals.ramp`.
    new_account_ramp: bool = True
    #: A domain of one's own for the API; empty: the address that API Gateway gives it.
    public_url: str = ""
    #: Sites whose pages may read answers, with spaces between them.
    allowed_origins: str = ""
    #: Who writes to people: an address, or one of a domain, that SES has verified.
    mail_from: str = "accounts@provocative.example"

    @property
    def person_key_alias(self) -> str:
        return f"alias/{self.prefix}-persons"

    @property
    def public_url_parameter(self) -> str:
        return f"/{self.prefix}/public-url"

    @property
    def prefix(self) -> str:
        return f"{APP_NAME}-{self.name}"


class PlatformStack(Stack):
    """Tables, queues, functions, the host role, alarms, outputs."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        synthesizer = DefaultStackSynthesizer(generate_bootstrap_version_rule=stage.name != "local")
        # CloudFormation takes a megabyte, and two fifths of the template would be blanks.
        super().__init__(scope, stage.name, synthesizer=synthesizer, suppress_template_indentation=True)
        self.stage = stage
        self.tables = Tables(self, "Tables", prefix=stage.prefix, protected=stage.protected)
        self.queues = Queues(self, "Queues", prefix=stage.prefix, enforce_tls=stage.enforce_tls)
        self.pepper = secretsmanager.Secret(
            self,
            "Pepper",
            secret_name=f"{stage.prefix}-pepper",
            description="Keys the digests of API keys and derives the hosts' signing keys",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
        )
        self.stripe = secretsmanager.Secret(
            self,
            "Stripe",
            secret_name=f"{stage.prefix}-stripe",
            description="api_key and webhook_secrets, set by an operator: docs/payments.md",
            # Empty: the stage takes no payments until somebody sets them.
            secret_string_value=SecretValue.unsafe_plain_text("{}"),
        )
        secretsmanager.Secret(
            self,
            "Grid",
            secret_name=f"{stage.prefix}-grid",
            description="keys of the providers of grid intensity, set by an operator: docs/runbook.md",
            # Empty: no provider is asked, and annual figures stand in.
            secret_string_value=SecretValue.unsafe_plain_text("{}"),
        )
        self.person_key = self._add_person_key()
        secretsmanager.Secret(
            self,
            "IdentityProviders",
            secret_name=f"{stage.prefix}-identity-providers",
            description="issuer, client_id and client_secret by name, set by an operator: docs/sign-in.md",
            # Empty: people sign in here alone.
            secret_string_value=SecretValue.unsafe_plain_text("{}"),
        )
        self.documents = self._add_documents()
        self.seals = self._add_seals()
        self.resources = Resources(
            tables=self.tables,
            documents_arn=self.documents.bucket_arn,
            seals_arn=self.seals.bucket_arn,
            queues=self.queues,
            # Secrets Manager adds six characters to the name.
            secret_arn=self.format_service_arn("secretsmanager", f"secret:{stage.prefix}-pepper-??????"),
            stripe_secret_arn=self.format_service_arn(
                "secretsmanager", f"secret:{stage.prefix}-stripe-??????"
            ),
            person_key_arn=self.person_key.key_arn,
            identity_providers_secret_arn=self.format_service_arn(
                "secretsmanager", f"secret:{stage.prefix}-identity-providers-??????"
            ),
            mail_identity_arn=self.format_service_arn("ses", "identity/*"),
            mail_from=stage.mail_from,
            public_url_arn=self.format_service_arn("ssm", f"parameter{stage.public_url_parameter}"),
            keys_arn=self.format_service_arn("kms", "key/*"),
            grid_secret_arn=self.format_service_arn("secretsmanager", f"secret:{stage.prefix}-grid-??????"),
            # By name: the role trusts the API's role, whose policy names this one.
            host_role_arn=f"arn:{self.partition}:iam::{self.account}:role/{stage.prefix}-host",
            command_queues_arn=self.format_service_arn("sqs", f"{stage.prefix}-commands-*"),
            logs_arn_prefix=self.format_service_arn("logs", f"log-group:/aws/lambda/{stage.name}"),
            stage=stage.name,
            ec2_arn_prefix=f"arn:{self.partition}:ec2:*:{self.account}",
            images_arn=f"arn:{self.partition}:ec2:*::image/*",
            snapshots_arn=f"arn:{self.partition}:ec2:*::snapshot/*",
            host_profile_role_arn=f"arn:{self.partition}:iam::{self.account}:role/{stage.prefix}-host-profile",
        )
        self.functions = Functions(
            self,
            "Functions",
            environment=self._build_environment(),
            architecture=stage.architecture,
            resources=self.resources,
        )
        function_names = {name: self.functions.get_resource(name).ref for name in TABLE_ACCESS}
        LogGroups(self, "LogGroups", names=function_names, protected=stage.protected)
        # Of this function alone: the API's own functions cannot name the API.
        self.functions.get_resource("ScalePools").add_property_override(
            "Environment.Variables.PUBLIC_API_URL", self._build_api_url()
        )
        for name in ("OnEventRecorded", "DeliverDueEvents"):
            # They resolve names that renters choose: the C library alone can end that (resolv.conf(5)).
            self.functions.get_resource(name).add_property_override(
                "Environment.Variables.RES_OPTIONS", "timeout:1 attempts:2"
            )
        self._add_host_role()
        # By name, as functions cannot name the API that calls them. A domain of one's own goes in here.
        ssm.StringParameter(
            self,
            "PublicUrl",
            parameter_name=stage.public_url_parameter,
            string_value=stage.public_url or self._build_api_url(),
            description="Where the API is reached from outside: links in mails, and the issuer of tokens",
        )
        if stage.outer_ring:
            self._add_outer_ring()
        self.alarms = Alarms(
            self,
            "Alarms",
            dead=self.queues.dead_letter_queues,
            stage=stage.name,
            prefix=stage.prefix,
            enforce_tls=stage.enforce_tls,
            functions=function_names,
        )
        self._add_outputs()

    def format_service_arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"

    def _build_api_url(self) -> str:
        rest_api = self.functions.get_resource("RestAPI").ref
        return f"https://{rest_api}.execute-api.{self.region}.{self.url_suffix}/api"

    def _build_environment(self) -> dict[str, str]:
        stage, queues = self.stage, self.queues
        stream_arn = self.tables.by_name["commands"].table_stream_arn
        fleet_stream_arn = self.tables.by_name["fleet"].table_stream_arn
        webhooks_stream_arn = self.tables.by_name["webhooks"].table_stream_arn
        ledger_stream_arn = self.tables.by_name["ledger"].table_stream_arn
        assert ledger_stream_arn is not None
        audit_stream_arn = self.tables.by_name["audit"].table_stream_arn
        assert audit_stream_arn is not None
        assert stream_arn is not None
        assert webhooks_stream_arn is not None
        assert fleet_stream_arn is not None
        return {
            "STAGE": stage.name,
            "TABLE_PREFIX": stage.prefix,
            "CURRENCY": "USD",
            "LOG_LEVEL": "INFO",
            "POWERTOOLS_SERVICE_NAME": APP_NAME,
            "HEARTBEATS_QUEUE_ARN": queues.heartbeats.queue_arn,
            "HEARTBEATS_QUEUE_URL": queues.heartbeats.queue_url,
            "HEARTBEATS_DLQ_URL": queues.heartbeats_dead.queue_url,
            "TELEMETRY_QUEUE_ARN": queues.telemetry.queue_arn,
            "TELEMETRY_QUEUE_URL": queues.telemetry.queue_url,
            "TELEMETRY_DLQ_URL": queues.telemetry_dead.queue_url,
            "CHARGES_QUEUE_ARN": queues.charges.queue_arn,
            "CHARGES_QUEUE_URL": queues.charges.queue_url,
            "CHARGES_DLQ_URL": queues.charges_dead.queue_url,
            "PAYMENTS_QUEUE_ARN": queues.payments.queue_arn,
            "PAYMENTS_QUEUE_URL": queues.payments.queue_url,
            "PAYMENTS_DLQ_URL": queues.payments_dead.queue_url,
            "STRIPE_SECRET_ID": f"{stage.prefix}-stripe",
            "IDENTITY_PROVIDERS_SECRET_ID": f"{stage.prefix}-identity-providers",
            "MAIL_FROM": stage.mail_from,
            "GRID_SECRET_ID": f"{stage.prefix}-grid",
            "PERSON_KEY_ID": self.person_key.key_arn,
            "DOCUMENTS_BUCKET": self.documents.bucket_name,
            "SEALS_BUCKET": self.seals.bucket_name,
            "SELLER_NAME": stage.seller_name,
            "SELLER_ADDRESS": stage.seller_address,
            "SELLER_COUNTRY": stage.seller_country,
            "SELLER_TAX_ID": stage.seller_tax_id,
            "WATCHES_QUEUE_ARN": queues.watches.queue_arn,
            "WATCHES_QUEUE_URL": queues.watches.queue_url,
            "WATCHES_DLQ_URL": queues.watches_dead.queue_url,
            "COMMANDS_STREAM_ARN": stream_arn,
            "FLEET_STREAM_ARN": fleet_stream_arn,
            "WEBHOOKS_STREAM_ARN": webhooks_stream_arn,
            "LEDGER_STREAM_ARN": ledger_stream_arn,
            "AUDIT_STREAM_ARN": audit_stream_arn,
            "COMMAND_QUEUE_PREFIX": f"{stage.prefix}-commands-",
            "HOST_ROLE_ARN": self.resources.host_role_arn,
            "ALLOWED_ORIGINS": stage.allowed_origins,
            "PUBLIC_URL_PARAMETER": stage.public_url_parameter,
            "PEPPER_SECRET_ID": f"{stage.prefix}-pepper",
            "NEW_ACCOUNT_RAMP": str(stage.new_account_ramp).lower(),
            "RATE_LIMIT_FACTOR": str(stage.rate_limit_factor),
            "HEARTBEAT_INTERVAL_SECONDS": str(stage.heartbeat_interval_seconds),
            "TELEMETRY_INTERVAL_SECONDS": str(stage.telemetry_interval_seconds),
        }

    def _add_person_key(self) -> kms.Key:
        """Wraps the data keys of persons; they alone are ever encrypted with it."""
        return kms.Key(
            self,
            "PersonKey",
            alias=self.stage.person_key_alias,
            description="Wraps the data key of each person: docs/compliance.md",
            enable_key_rotation=True,
            pending_window=Duration.days(30),
            removal_policy=RemovalPolicy.RETAIN if self.stage.protected else RemovalPolicy.DESTROY,
        )

    def _add_documents(self) -> s3.Bucket:
        """Statements, carbon reports, and drafts and exports that nobody needs on the next day."""
        stage = self.stage
        day = Duration.days(1)
        # Versions too: what has expired would be kept as one.
        passing = [
            s3.LifecycleRule(prefix=prefix, expiration=day, noncurrent_version_expiration=day)
            for prefix in ("drafts/", "exports/")
        ]
        # As their rows: `statements.store`.
        passing.append(
            s3.LifecycleRule(
                prefix="statements/", expiration=STATEMENTS_KEPT, noncurrent_version_expiration=day
            )
        )
        return s3.Bucket(
            self,
            "Documents",
            bucket_name=f"{stage.prefix}-documents-{self.account}",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=stage.enforce_tls,
            versioned=True,
            lifecycle_rules=passing,
            removal_policy=RemovalPolicy.RETAIN if stage.protected else RemovalPolicy.DESTROY,
        )

    def _add_seals(self) -> s3.Bucket:
        """Seals of the ledger; where data is protected nobody can shorten their time, nor the root user."""
        stage = self.stage
        locked = s3.ObjectLockRetention.compliance(SEALS_KEPT) if stage.protected else None
        bucket = s3.Bucket(
            self,
            "Seals",
            bucket_name=f"{stage.prefix}-seals-{self.account}",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=stage.enforce_tls,
            versioned=True,
            object_lock_enabled=stage.protected,
            object_lock_default_retention=locked,
            removal_policy=RemovalPolicy.RETAIN if stage.protected else RemovalPolicy.DESTROY,
        )
        if stage.protected:
            # A lock keeps versions; these keep others, and marks of deletion, from being put over them.
            documents = bucket.arn_for_objects("*")
            unconditional = {"Null": {"s3:if-none-match": "true"}}
            bucket.add_to_resource_policy(_deny(("s3:PutObject",), documents, unconditional))
            bucket.add_to_resource_policy(_deny(("s3:DeleteObject", "s3:DeleteObjectVersion"), documents))
        return bucket

    def _add_host_role(self) -> None:
        document = iam.PolicyDocument.from_json(
            {"Version": "2012-10-17", "Statement": build_host_statements(self.resources)}
        )
        iam.Role(
            self,
            "HostRole",
            role_name=f"{self.stage.prefix}-host",
            assumed_by=iam.ArnPrincipal(self.functions.get_role("APIHandler").attr_arn),
            inline_policies={"queues": document},
        )

    def _add_outer_ring(self) -> None:
        rest_api = self.functions.get_resource("RestAPI")
        rest_api.add_property_override("MethodSettings", build_method_settings())
        # The transform puts the stage that it makes in the place of this reference, so it is there before.
        stage_name = {"Ref": "RestAPI.Stage"}
        path = [f"arn:{self.partition}:apigateway:{self.region}::/restapis/", rest_api.ref, "/stages/"]
        OuterRing(
            self,
            "OuterRing",
            prefix=self.stage.prefix,
            stage_arn={"Fn::Join": ["", [*path, stage_name]]},
        )

    def _add_outputs(self) -> None:
        rest_api = self.functions.get_resource("RestAPI").ref
        outputs = {
            "ApiUrl": self._build_api_url(),
            "RestApiId": rest_api,
            "TablePrefix": self.stage.prefix,
            "HeartbeatsQueueUrl": self.queues.heartbeats.queue_url,
            "HeartbeatsDlqUrl": self.queues.heartbeats_dead.queue_url,
            "TelemetryQueueUrl": self.queues.telemetry.queue_url,
            "TelemetryDlqUrl": self.queues.telemetry_dead.queue_url,
            "ChargesQueueUrl": self.queues.charges.queue_url,
            "CommandQueuePrefix": f"{self.stage.prefix}-commands-",
            "HostRoleArn": self.resources.host_role_arn,
            "AlarmsTopicArn": self.alarms.topic.topic_arn,
            "BootstrapFunctionName": self.functions.get_resource("BootstrapInstallation").ref,
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value).override_logical_id(
                f"{name}Output" if name == "RestApiId" else name
            )


def _deny(
    actions: Sequence[str], resource: str, conditions: Mapping[str, Any] | None = None
) -> iam.PolicyStatement:
    """Refuse it to everybody, whatever their own policies allow."""
    return iam.PolicyStatement(
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=list(actions),
        resources=[resource],
        conditions=conditions,
    )
