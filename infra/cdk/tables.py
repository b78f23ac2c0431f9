"""Tables: keys, indexes, streams and expiry stand in one list. Names match `chalicelib.storage.tables`."""

from dataclasses import dataclass

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

STRING = dynamodb.AttributeType.STRING
NUMBER = dynamodb.AttributeType.NUMBER
AFTER = dynamodb.StreamViewType.NEW_IMAGE


@dataclass(frozen=True, slots=True)
class IndexSpec:
    name: str
    hash_key: str
    range_key: str
    range_type: dynamodb.AttributeType = STRING
    keys_only: bool = False
    #: All that is kept beside the keys, where not everything is: who writes the rest pays no index write.
    includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSpec:
    """``append_only`` tables give no role an update or a delete (see `permissions`)."""

    name: str
    indexes: tuple[IndexSpec, ...] = ()
    streamed: dynamodb.StreamViewType | None = None
    expires: bool = False
    append_only: bool = False
    #: Off where the past must not come back: a restored key would open what was erased.
    restorable: bool = True


TABLES = (
    TableSpec("accounts", (IndexSpec("by_account", "account_id", "sk"),)),
    TableSpec(
        "organisations",
        (IndexSpec("by_user", "user_id", "pk"), IndexSpec("by_account", "account_id", "sk")),
        expires=True,
    ),
    TableSpec("catalog"),
    TableSpec("fleet", (IndexSpec("by_pool", "pool", "free_rank", NUMBER),), streamed=AFTER),
    TableSpec("prices", append_only=True),
    TableSpec(
        "templates",
        (
            IndexSpec("by_account", "account_id", "created_key"),
            IndexSpec("by_public", "public", "created_key"),
        ),
        expires=True,
    ),
    TableSpec("liveness", (IndexSpec("by_silence", "watch_key", "last_seen_at_ms", NUMBER, keys_only=True),)),
    TableSpec("incidents", (IndexSpec("by_host", "host_id", "sk"),), expires=True),
    TableSpec(
        "maintenance",
        (IndexSpec("by_host", "host_id", "window_id"), IndexSpec("by_open", "open_key", "due_at_ms", NUMBER)),
    ),
    TableSpec("commands", streamed=AFTER, expires=True),
    TableSpec(
        "rentals",
        (
            IndexSpec("by_account", "account_id", "created_key"),
            IndexSpec("by_due", "due_shard", "due_at_ms", NUMBER),
            IndexSpec("by_kept", "kept_shard", "rental_id", keys_only=True),
        ),
        expires=True,
    ),
    TableSpec("scheduling"),
    TableSpec("scaling", expires=True),
    TableSpec(
        "reservations",
        (
            IndexSpec("by_account", "account_id", "created_key"),
            IndexSpec("by_boundary", "boundary_shard", "boundary_at_ms", NUMBER),
            IndexSpec("by_host", "open_host_id", "ends_at_ms", NUMBER),
        ),
        expires=True,
    ),
    # No figure expires; forecasts do.
    TableSpec("grid", expires=True),
    TableSpec(
        "metering",
        (
            IndexSpec("by_open", "open_shard", "rental_id", includes=("account_id",)),
            IndexSpec("by_day", "day_shard", "pk", keys_only=True),
        ),
    ),
    TableSpec("telemetry", expires=True),
    TableSpec("removals"),
    TableSpec("reports"),
    TableSpec("marks"),
    TableSpec("register", append_only=True),
    # What it was tells a person what somebody did. A stream costs by the read, which is free for Lambda.
    TableSpec("ledger", streamed=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES, append_only=True),
    TableSpec("balances", (IndexSpec("by_due", "due_shard", "due_at_ms", NUMBER),)),
    TableSpec("budgets"),
    TableSpec("usage"),
    TableSpec("statements", (IndexSpec("by_pending", "pending_shard", "sk", keys_only=True),), expires=True),
    TableSpec(
        "payments",
        (
            IndexSpec("by_account", "account_id", "created_key"),
            IndexSpec("by_order", "order_shard", "sk", keys_only=True),
        ),
        expires=True,
    ),
    TableSpec("people", (IndexSpec("by_user", "session_user_id", "created_at_ms", NUMBER),), expires=True),
    TableSpec("idempotency", (IndexSpec("by_account", "account_id", "pk", keys_only=True),), expires=True),
    TableSpec("limits", expires=True),
    # Codes, grants, clients, the list of signing keys: by their own key; a person's grants by index.
    TableSpec(
        "oauth",
        (IndexSpec("by_account", "account_id", "sk"), IndexSpec("by_user", "user_id", "sk")),
        expires=True,
    ),
    TableSpec(
        "webhooks",
        (IndexSpec("by_due", "due_shard", "due_at_ms", NUMBER, keys_only=True),),
        streamed=AFTER,
        expires=True,
    ),
    TableSpec(
        "audit",
        (
            IndexSpec("by_subject", "subject", "sk"),
            IndexSpec("by_actor", "indexed_actor", "sk"),
            IndexSpec("by_hour", "hour_shard", "sk", keys_only=True),
        ),
        streamed=AFTER,
        append_only=True,
    ),
    TableSpec("chain", append_only=True),
    # No copy of a key outlives the key: no recovery, no stream.
    TableSpec("person-keys", restorable=False),
    TableSpec("privacy", (IndexSpec("by_open", "open_shard", "created_key"),)),
)


class Tables(Construct):
    """Every table, by name in ``by_name``."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, protected: bool) -> None:
        super().__init__(scope, construct_id)
        self.by_name = {spec.name: self._build(spec, prefix=prefix, protected=protected) for spec in TABLES}

    def _build(self, spec: TableSpec, *, prefix: str, protected: bool) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            spec.name.capitalize(),
            table_name=f"{prefix}-{spec.name}",
            partition_key=dynamodb.Attribute(name="pk", type=STRING),
            sort_key=dynamodb.Attribute(name="sk", type=STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=spec.restorable
            ),
            deletion_protection=protected,
            removal_policy=RemovalPolicy.RETAIN if protected else RemovalPolicy.DESTROY,
            stream=spec.streamed,
            time_to_live_attribute="expires_at" if spec.expires else None,
        )
        for index in spec.indexes:
            table.add_global_secondary_index(
                index_name=index.name,
                partition_key=dynamodb.Attribute(name=index.hash_key, type=STRING),
                sort_key=dynamodb.Attribute(name=index.range_key, type=index.range_type),
                projection_type=_choose_projection(index),
                non_key_attributes=list(index.includes) or None,
            )
        return table


def _choose_projection(index: IndexSpec) -> dynamodb.ProjectionType:
    if index.includes:
        return dynamodb.ProjectionType.INCLUDE
    return dynamodb.ProjectionType.KEYS_ONLY if index.keys_only else dynamodb.ProjectionType.ALL
