"""Every PynamoDB model: what is stored where. One table per life cycle, see docs/architecture.md.

Tables and indexes are created by CDK from the same names (`infra.cdk.tables`); nothing here creates them.
Call `bind` once before the first use. Numbers are integers only: a float or a bool is refused on write.
"""

from typing import Any

from pynamodb.attributes import Attribute, BooleanAttribute, JSONAttribute, MapAttribute, UnicodeAttribute
from pynamodb.constants import NUMBER
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model


class IntegerAttribute(Attribute[int]):
    """A number that is an ``int``: money, energy and time never pass through a float."""

    attr_type = NUMBER

    def serialize(self, value: Any) -> str:
        if type(value) is not int:
            raise TypeError(f"an integer is needed, not {type(value).__name__}")
        return str(value)

    def deserialize(self, value: str) -> int:
        return int(value)


class _Meta:
    #: Named without the stage's prefix, which `chalicelib.storage.connection.bind` puts before it.
    table_name = ""
    logical_name = ""
    region = "us-east-1"
    # Well under API Gateway's 29 s for the sum of a request's calls.
    connect_timeout_seconds = 1
    read_timeout_seconds = 3
    max_retry_attempts = 2
    max_pool_connections = 32


class Table(Model):
    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)

    Meta = _Meta  # type: ignore[assignment]  # the metaclass fills in the rest


class ByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AccountsTable(Table):
    class Meta(_Meta):
        table_name = "accounts"


class InstallationItem(AccountsTable):
    account_id = UnicodeAttribute()
    operator_key_id = UnicodeAttribute()


class AccountItem(AccountsTable):
    name = UnicodeAttribute()
    currency = UnicodeAttribute()
    created_at_ms = IntegerAttribute()


class ApiKeyItem(AccountsTable):
    account_id = UnicodeAttribute()
    by_account = ByAccount()
    role = UnicodeAttribute()
    label = UnicodeAttribute()
    digest = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    host_id = UnicodeAttribute(null=True)
    revoked_at_ms = IntegerAttribute(null=True)


class CatalogTable(Table):
    class Meta(_Meta):
        table_name = "catalog"


class CatalogItem(CatalogTable):
    """A GPU type or a price, told apart by the sort key: the partition is read whole by one query."""

    gpu_type = UnicodeAttribute()
    architecture = UnicodeAttribute(null=True)
    memory_mib = IntegerAttribute(null=True)
    power_limit_watts = IntegerAttribute(null=True)
    region = UnicodeAttribute(null=True)
    price_micros_per_gpu_hour = IntegerAttribute(null=True)
    version = IntegerAttribute(null=True)


class ByPool(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_pool"
        projection = AllProjection()

    pool = UnicodeAttribute(hash_key=True)
    free_gpus = IntegerAttribute(range_key=True)


class FleetTable(Table):
    class Meta(_Meta):
        table_name = "fleet"


class EnrolmentItem(FleetTable):
    digest = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    expires_at_ms = IntegerAttribute()
    host_id = UnicodeAttribute()
    install_id = UnicodeAttribute(null=True)


class HostItem(FleetTable):
    """``free_leases`` maps the UUID of each free GPU to its epoch, so one index read is enough to place."""

    host_id = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    state = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    free_gpus = IntegerAttribute()
    free_leases: MapAttribute[str, Any] = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    install_id = UnicodeAttribute()
    agent_version = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    commands_queue_url = UnicodeAttribute()
    api_key_id = UnicodeAttribute()
    #: `keys.pool` while the host may be offered, `keys.closed_pool` while it drains.
    pool = UnicodeAttribute(null=True)
    by_pool = ByPool()
    notice: JSONAttribute = JSONAttribute(null=True)
    draining = BooleanAttribute(null=True)
    health_version = IntegerAttribute(null=True)


class GpuItem(FleetTable):
    gpu_uuid = UnicodeAttribute()
    pci_bus_id = UnicodeAttribute()
    model = UnicodeAttribute()
    memory_mib = IntegerAttribute()
    parent_uuid = UnicodeAttribute(null=True)
    slices = IntegerAttribute(null=True)
    lease_state = UnicodeAttribute()
    epoch = IntegerAttribute()
    rental_id = UnicodeAttribute(null=True)
    capabilities: JSONAttribute = JSONAttribute(null=True)
    capabilities_at_ms = IntegerAttribute(null=True)
    fault: JSONAttribute = JSONAttribute(null=True)
    #: Present while the fault is open: what a condition can ask.
    faulty = IntegerAttribute(null=True)


class HeartbeatItem(FleetTable):
    last_seen_at_ms = IntegerAttribute()
    boot_id = UnicodeAttribute()
    agent_version = UnicodeAttribute()
    gpus_ok = IntegerAttribute()
    spool_records = IntegerAttribute()
    records_lost = IntegerAttribute()
    conditions: JSONAttribute = JSONAttribute(null=True)
    #: GPUs of the host in the state ``withheld``; counted here because every heartbeat reads it.
    withheld_gpus = IntegerAttribute(null=True)
    announced = UnicodeAttribute(null=True)
    clock_offset_ms = IntegerAttribute(null=True)


class CommandItem(Table):
    """Outbox: the table's stream delivers each new item to the host's own queue."""

    class Meta(_Meta):
        table_name = "commands"

    command_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    command = UnicodeAttribute()
    expires_at = IntegerAttribute()


class RentalsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class RentalItem(Table):
    class Meta(_Meta):
        table_name = "rentals"

    rental_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    created_key = UnicodeAttribute()
    by_account = RentalsByAccount()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    host_id = UnicodeAttribute()
    leases: JSONAttribute = JSONAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    currency = UnicodeAttribute()
    label = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    desired_state = UnicodeAttribute()
    health = UnicodeAttribute()
    billing_state = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    created_at_ms = IntegerAttribute()
    running_at_ms = IntegerAttribute(null=True)
    stop_requested_at_ms = IntegerAttribute(null=True)
    terminated_at_ms = IntegerAttribute(null=True)
    billed_seconds = IntegerAttribute()
    charge_micros = IntegerAttribute()
    endpoints: JSONAttribute = JSONAttribute(null=True)
    interruption: JSONAttribute = JSONAttribute(null=True)
    warnings: JSONAttribute = JSONAttribute(null=True)
    messages_version = IntegerAttribute(null=True)


class LogItem(Table):
    """The end of a rental's log, as it was last asked for."""

    class Meta(_Meta):
        table_name = "rentals"

    taken_at_ms = IntegerAttribute()
    text = UnicodeAttribute()
    truncated = BooleanAttribute()


class ByOpen(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_open"
        projection = AllProjection()

    open_shard = UnicodeAttribute(hash_key=True)
    rental_id = UnicodeAttribute(range_key=True)


class MeteringTable(Table):
    class Meta(_Meta):
        table_name = "metering"


class MeterItem(MeteringTable):
    rental_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    region = UnicodeAttribute()
    leases: JSONAttribute = JSONAttribute()
    gpu_count = IntegerAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    state = UnicodeAttribute()
    started_at_ms = IntegerAttribute()
    alive_through_ms = IntegerAttribute()
    unproven_ms = IntegerAttribute()
    charge_seq = IntegerAttribute()
    charged_seconds = IntegerAttribute()
    charged_micros = IntegerAttribute()
    #: Sparse: present until the last charge is posted, so the index lists what is still to be charged.
    open_shard = UnicodeAttribute(null=True)
    by_open = ByOpen()


class EnergyItem(MeteringTable):
    gpu_uuid = UnicodeAttribute()
    hour = UnicodeAttribute()
    energy_millijoules = IntegerAttribute()
    estimated_millijoules = IntegerAttribute()
    intervals = IntegerAttribute()
    intervals_expected = IntegerAttribute(null=True)


class DuplicatesItem(MeteringTable):
    duplicates = IntegerAttribute()


class CaptureItem(MeteringTable):
    """One datapoint of a capture unit; written once and never changed."""

    value = IntegerAttribute()
    standard_deviation = IntegerAttribute()
    unit = UnicodeAttribute()
    received_at_ms = IntegerAttribute()


class TelemetryItem(Table):
    class Meta(_Meta):
        table_name = "telemetry"

    host_id = UnicodeAttribute()
    record = UnicodeAttribute()
    sha256 = UnicodeAttribute()
    sent_at_ms = IntegerAttribute()
    expires_at = IntegerAttribute()


class LedgerTable(Table):
    """Append only: the functions' roles may put and read here, never update or delete."""

    class Meta(_Meta):
        table_name = "ledger"


class JournalItem(LedgerTable):
    source = UnicodeAttribute()
    source_id = UnicodeAttribute()
    kind = UnicodeAttribute()
    fingerprint = UnicodeAttribute()
    legs: JSONAttribute = JSONAttribute()
    leg_version = IntegerAttribute()
    posted_at_ms = IntegerAttribute()


class LegItem(LedgerTable):
    ledger_account = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    currency = UnicodeAttribute()
    journal_key = UnicodeAttribute()
    posted_at_ms = IntegerAttribute()
    balance_after_micros = IntegerAttribute(null=True)


class BalancesTable(Table):
    class Meta(_Meta):
        table_name = "balances"


class BalanceItem(BalancesTable):
    currency = UnicodeAttribute()
    posted_micros = IntegerAttribute()
    held_micros = IntegerAttribute()
    #: Stored because a condition cannot subtract: always posted - held.
    available_micros = IntegerAttribute()
    leg_version = IntegerAttribute()


class HoldItem(BalancesTable):
    rental_id = UnicodeAttribute()
    amount_micros = IntegerAttribute()
    state = UnicodeAttribute()


class IdempotencyItem(Table):
    class Meta(_Meta):
        table_name = "idempotency"

    fingerprint = UnicodeAttribute()
    status = IntegerAttribute()
    body = UnicodeAttribute()
    expires_at = IntegerAttribute()


class AuditItem(Table):
    class Meta(_Meta):
        table_name = "audit"

    audit_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    actor = UnicodeAttribute()
    action = UnicodeAttribute()
    subject = UnicodeAttribute()
    at_ms = IntegerAttribute()
    details: JSONAttribute = JSONAttribute()
