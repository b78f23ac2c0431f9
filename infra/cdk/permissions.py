"""What each function may touch: one statement list per function, nothing shared, no wildcard actions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.fleet.aws_gateway import SEND_ACTIONS
from chalicelib.oauth.kms_gateway import PURPOSE, PURPOSE_TAG, STAGE_TAG
from infra.cdk.queues import Queues
from infra.cdk.table_access import TABLE_ACCESS, Access
from infra.cdk.tables import TABLES, Tables

_APPEND_ONLY = frozenset(spec.name for spec in TABLES if spec.append_only)

_READ = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:ConditionCheckItem")
_WRITE = (*_READ, "dynamodb:PutItem", "dynamodb:UpdateItem")
#: Books and audit: a put is conditional on absence, and no role can change or remove what stands there.
_APPEND = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem")

#: Lines, notes of who may be preempted, spread groups and marks of reports are taken away when they have
#: served; a launch that has ended changes its key; a member who is removed is one no longer.
_DELETABLE = frozenset({"scheduling", "scaling", "budgets", "marks", "organisations", "people"})
#: Who revokes keys of people and programs: with a key goes the note of who issued it, and nothing else.
FORGETS_ISSUED_KEYS = ("APIHandler", "RunPrivacyRequests")
READS_SECRET = (
    "APIHandler",
    "BootstrapInstallation",
    "OnHeartbeat",
    "OnTelemetry",
    "OnCommandRecorded",
    "OnEventRecorded",
    "DeliverDueEvents",
    "ScalePools",
)


#: The API writes drafts; what is issued is written by one function and nobody else.
KEEPS_DOCUMENTS: Mapping[str, tuple[str, ...]] = {
    "APIHandler": ("drafts",),
    "IssueStatements": ("statements",),
    "MakeCarbonReports": ("carbon",),
    "RunPrivacyRequests": ("exports",),
}
#: Reader of the bucket of seals -> its folders.
READS_SEALS: Mapping[str, tuple[str, ...]] = {
    "APIHandler": ("heads", "audit"),
    "SealLedger": ("seals", "heads"),
    "VerifySeals": ("seals", "heads"),
    "AnchorAudit": ("audit",),
    "VerifyAudit": ("audit",),
}
#: Each adds to its own folders alone.
KEEPS_SEALS = ("SealLedger", "AnchorAudit")
#: A month is made of its days; what is bought for one follows from it.
READS_REPORTS = ("MakeCarbonReports", "BuyRemovals")
#: Consumer -> the table whose stream it reads.
READS_STREAM: Mapping[str, str] = {
    "OnCommandRecorded": "commands",
    "OnEventRecorded": "webhooks",
    "OnCapacityChanged": "fleet",
    "OnLedgerTampered": "ledger",
    "OnAuditRecorded": "audit",
}
#: Who seals and opens what is personal.
USES_PERSON_KEY = ("APIHandler", "RunPrivacyRequests")
#: The stage of the embedded cloud.
LAPTOP_STAGE = "local"
#: Who writes to people.
SENDS_MAIL = ("APIHandler",)
READS_IDENTITY_PROVIDERS = ("APIHandler",)
READS_GRID_SECRET = ("FetchGridIntensity",)
READS_STRIPE_SECRET = (
    "APIHandler",
    "OnStripeEvent",
    "HealPayments",
    "ReconcilePayments",
    "RefillWallets",
    "BuyRemovals",
)


@dataclass(frozen=True, slots=True)
class Resources:
    """ARNs that statements name."""

    tables: Tables
    documents_arn: str
    seals_arn: str
    queues: Queues
    secret_arn: str
    stripe_secret_arn: str
    grid_secret_arn: str
    identity_providers_secret_arn: str
    mail_identity_arn: str
    #: The one address that mails may come from.
    mail_from: str
    public_url_arn: str
    person_key_arn: str
    #: Of all keys of KMS here; which of them, conditions say.
    keys_arn: str
    host_role_arn: str
    command_queues_arn: str
    #: Of a function's log group up to what CloudFormation adds to its name: its own name is not known to
    #: its role, which is made before it.
    logs_arn_prefix: str
    stage: str
    #: ``arn:aws:ec2:*:account``: a pool may be in any region.
    ec2_arn_prefix: str
    images_arn: str
    snapshots_arn: str
    #: The role of the instance profile that launch templates name.
    host_profile_role_arn: str


def build_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    """Return the whole policy of one function's role."""
    statements = [
        allow(("logs:CreateLogStream", "logs:PutLogEvents"), [f"{resources.logs_arn_prefix}-{function}-*"]),
        *_build_table_statements(function, resources.tables, resources.stage),
        *_build_queue_statements(function, resources),
    ]
    for readers, secret_arn in (
        (READS_SECRET, resources.secret_arn),
        (READS_STRIPE_SECRET, resources.stripe_secret_arn),
        (READS_GRID_SECRET, resources.grid_secret_arn),
        (READS_IDENTITY_PROVIDERS, resources.identity_providers_secret_arn),
    ):
        if function in readers:
            statements.append(allow(("secretsmanager:GetSecretValue",), [secret_arn]))
    statements.extend(_build_document_statements(function, resources))
    statements.extend(_build_people_statements(function, resources))
    if function == "APIHandler":
        statements.append(allow(("sts:AssumeRole",), [resources.host_role_arn]))
        statements.append(allow(("ssm:GetParameter",), [resources.public_url_arn]))
        statements.append(allow(("sqs:CreateQueue",), [resources.command_queues_arn]))
    if function == "OnCommandRecorded":
        statements.append(allow(("sqs:SendMessage",), [resources.command_queues_arn]))
    if function == "OnWatch":
        statements.append(allow(("ec2:DescribeInstances",), ["*"]))
    if function == "ScalePools":
        statements.extend(_build_instance_statements(resources))
    if function in READS_STREAM:
        statements.extend(_build_stream_statements(resources.tables, READS_STREAM[function]))
    return statements


def _build_people_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    """What is sealed for people, sent to them, and signed in their name."""
    statements = []
    if function in USES_PERSON_KEY:
        statements.append(allow(("kms:GenerateDataKey", "kms:Decrypt"), [resources.person_key_arn]))
    if function in SENDS_MAIL:
        statements.append(_build_mail_statement(resources))
    if function in ("APIHandler", "RotateSigningKeys"):
        statements.extend(_build_key_statements(function, resources))
    return statements


def build_host_statements(resources: Resources) -> list[dict[str, Any]]:
    """Return what a host may do at most; the session policy narrows it to its own command queue."""
    ingest = [resources.queues.heartbeats.queue_arn, resources.queues.telemetry.queue_arn]
    receive = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
    return [allow(SEND_ACTIONS, ingest), allow(receive, [resources.command_queues_arn])]


def allow(
    actions: Sequence[str],
    resources: Sequence[str],
    condition: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement if condition is None else statement | {"Condition": condition}


def _build_instance_statements(resources: Resources) -> list[dict[str, Any]]:
    """Instances of this stage only, by the tag that they get when they are made and cannot get later."""
    prefix, stage = resources.ec2_arn_prefix, resources.stage

    def name(*kinds: str) -> list[str]:
        return [f"{prefix}:{kind}/*" for kind in kinds]

    made = name("instance", "volume", "network-interface", "spot-instances-request")
    tagged = {"StringEquals": {"aws:RequestTag/provocative:stage": stage}}
    of_stage = {"StringEquals": {"aws:ResourceTag/provocative:stage": stage}}
    # What the template names, and nothing that an order would put in its place.
    by_template = {"Bool": {"ec2:IsLaunchTemplateResource": "true"}}
    used = name("subnet", "security-group", "key-pair", "placement-group")
    images = [resources.images_arn, resources.snapshots_arn]
    return [
        allow(("ec2:RunInstances",), made, tagged),
        allow(("ec2:RunInstances",), name("launch-template", "capacity-reservation"), of_stage),
        allow(("ec2:RunInstances",), [*used, *images], by_template),
        allow(("ec2:CreateTags",), made, {"StringEquals": {"ec2:CreateAction": "RunInstances"}}),
        allow(("ec2:TerminateInstances",), name("instance"), of_stage),
        # EC2 knows no resource for it.
        allow(("ec2:DescribeInstances",), ["*"]),
        allow(
            ("iam:PassRole",),
            [resources.host_profile_role_arn],
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
    ]


def _build_key_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    """Keys that sign tokens, told by the tags that they get when they are made: the API signs and no more."""
    keys, ours = [resources.keys_arn], {STAGE_TAG: resources.stage, PURPOSE_TAG: PURPOSE}
    tagged = {f"aws:ResourceTag/{name}": value for name, value in ours.items()}
    made = {f"aws:RequestTag/{name}": value for name, value in ours.items()}
    kind = {"kms:KeySpec": "ECC_NIST_P256", "kms:KeyUsage": "SIGN_VERIFY"}
    signs = {"kms:SigningAlgorithm": "ECDSA_SHA_256"}
    if resources.stage == LAPTOP_STAGE:
        # The emulator knows neither the tags of a key nor the conditions of KMS, and would refuse for them.
        tagged, kind, signs = {}, {}, {}
    if function == "APIHandler":
        return [allow(("kms:Sign",), keys, _equal({**tagged, **signs}))]
    kept = ("kms:GetPublicKey", "kms:ScheduleKeyDeletion")
    return [
        # KMS knows no resource for what is yet to be made; tags are given while it is.
        allow(("kms:CreateKey",), ["*"], _equal({**made, **kind})),
        allow(("kms:TagResource",), keys, _equal(made)),
        allow(kept, keys, _equal(tagged)),
    ]


def _equal(values: Mapping[str, str]) -> Mapping[str, Mapping[str, str]] | None:
    return {"StringEquals": values} if values else None


def _build_mail_statement(resources: Resources) -> dict[str, Any]:
    if resources.stage == LAPTOP_STAGE:
        # The embedded cloud names neither the identity nor the address to whoever decides.
        return allow(("ses:SendEmail",), ["*"])
    # Whether the address or its domain is the identity, SES knows; the condition is what holds.
    ours = {"StringEquals": {"ses:FromAddress": resources.mail_from}}
    return allow(("ses:SendEmail",), [resources.mail_identity_arn], ours)


def _build_document_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    statements = []
    if function in KEEPS_DOCUMENTS:
        kept = [f"{resources.documents_arn}/{folder}/*" for folder in KEEPS_DOCUMENTS[function]]
        statements.append(allow(("s3:PutObject",), kept))
    if function == "APIHandler":
        # What it links is fetched in its name.
        statements.append(allow(("s3:GetObject",), [f"{resources.documents_arn}/*"]))
    if function == "RunPrivacyRequests":
        # What an erasure takes away, in every version.
        erased = [f"{resources.documents_arn}/{folder}/*" for folder in ("exports", "carbon/account")]
        statements.append(allow(("s3:DeleteObject", "s3:DeleteObjectVersion"), erased))
        # An export that is gone on with is read again; that its day is over only who may list can tell.
        statements.append(allow(("s3:GetObject",), [f"{resources.documents_arn}/exports/*"]))
        statements.append(allow(("s3:ListBucketVersions", "s3:ListBucket"), [resources.documents_arn]))
    if function in READS_REPORTS:
        statements.append(allow(("s3:GetObject",), [f"{resources.documents_arn}/carbon/*"]))
        # Without it a document that is not there looks like one that may not be read.
        statements.append(allow(("s3:ListBucket",), [resources.documents_arn]))
    statements.extend(_build_seal_statements(function, resources))
    return statements


def _build_seal_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    """Readers list the versions of a name and read the first: what is not there is not in the list."""
    if function not in READS_SEALS:
        return []
    own = [f"{resources.seals_arn}/{folder}/*" for folder in READS_SEALS[function]]
    actions = ("s3:GetObjectVersion", "s3:PutObject") if function in KEEPS_SEALS else ("s3:GetObjectVersion",)
    return [allow(actions, own), allow(("s3:ListBucket", "s3:ListBucketVersions"), [resources.seals_arn])]


def _build_table_statements(function: str, tables: Tables, stage: str) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, ...], list[str]] = {}
    for name, access in TABLE_ACCESS[function].items():
        actions = _choose_actions(name, access)
        if access == "erase" or (access == "write" and name in _DELETABLE):
            actions = (*actions, "dynamodb:DeleteItem")
        arn = tables.by_name[name].table_arn
        grouped.setdefault(actions, []).append(arn)
        if access != "add" and any(spec.name == name and spec.indexes for spec in TABLES):
            grouped.setdefault(("dynamodb:Query",), []).append(f"{arn}/index/*")
    statements = [allow(actions, arns) for actions, arns in grouped.items()]
    if function in FORGETS_ISSUED_KEYS:
        statements.append(_build_note_statement(tables.by_name["accounts"].table_arn, stage))
    return statements


def _build_note_statement(accounts_arn: str, stage: str) -> dict[str, Any]:
    if stage == LAPTOP_STAGE:
        # The embedded cloud does not tell whoever decides which keys a call touches.
        return allow(("dynamodb:DeleteItem",), [accounts_arn])
    notes = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "ISSUER#*"}}
    return allow(("dynamodb:DeleteItem",), [accounts_arn], notes)


def _choose_actions(name: str, access: Access) -> tuple[str, ...]:
    if access == "add":
        return ("dynamodb:PutItem",)
    if access == "read":
        return _READ
    return _APPEND if name in _APPEND_ONLY else _WRITE


def _build_queue_statements(function: str, resources: Resources) -> list[dict[str, Any]]:
    queues = resources.queues
    consume = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
    consumed = {
        "OnHeartbeat": queues.heartbeats,
        "OnTelemetry": queues.telemetry,
        "OnCharge": queues.charges,
        "OnWatch": queues.watches,
        "OnStripeEvent": queues.payments,
    }
    sent = {
        # An operator gives up a wipe: the stay is over, and charged for the last time.
        "APIHandler": [queues.payments, queues.charges],
        "OnStripeEvent": [queues.payments_dead],
        "OnHeartbeat": [queues.heartbeats_dead, queues.charges],
        "OnTelemetry": [queues.telemetry_dead, queues.charges],
        # The minute's charge ends a stay whose host went as it was announced.
        "OnCharge": [queues.charges_dead, queues.charges],
        "DispatchCharges": [queues.charges],
        "ScalePools": [queues.charges],
        "ScheduleWatches": [queues.watches],
        "OnWatch": [queues.watches_dead, queues.charges],
        "OnCommandRecorded": [queues.commands_dead],
        "OnEventRecorded": [queues.webhooks_dead],
        "OnAuditRecorded": [queues.audit_dead],
    }
    statements = []
    if function in consumed:
        statements.append(allow(consume, [consumed[function].queue_arn]))
    if function in sent:
        # AWS asks for the first alone, the embedded cloud for the name of the call.
        send = ("sqs:SendMessage", "sqs:SendMessageBatch")
        statements.append(allow(send, [queue.queue_arn for queue in sent[function]]))
    return statements


def _build_stream_statements(tables: Tables, name: str) -> list[dict[str, Any]]:
    stream = tables.by_name[name].table_stream_arn
    assert stream is not None, f"{name} has no stream"
    read = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
    # DynamoDB knows no resource for the list, which Lambda asks of a role before it reads in its name.
    return [allow(read, [stream]), allow(("dynamodb:ListStreams",), ["*"])]
