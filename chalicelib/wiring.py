"""One factory per port: which adapter serves it in a function. Adapters are imported inside.

Only `api.py` and `functions.py` import this module. Nothing here runs at import.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.core.principal import Principal
from chalicelib.runtime.settings import Settings, get_settings
from chalicelib.runtime.system import SystemClock, SystemIds

if TYPE_CHECKING:
    from chalicelib.accounts.service import AccountPorts
    from chalicelib.billing.service import BillingPorts
    from chalicelib.catalog.offers import AccountStanding, OfferPorts
    from chalicelib.catalog.service import CachedCatalog, CapacityReader, CatalogPorts
    from chalicelib.catalog.templates import TemplatePorts
    from chalicelib.core.ports import Transaction
    from chalicelib.fleet.maintenance import MaintenancePorts
    from chalicelib.fleet.operations import OperationPorts
    from chalicelib.fleet.service import FleetPorts, FleetStore
    from chalicelib.fleet.watch import WatchPorts
    from chalicelib.metering.ports import MeterPorts
    from chalicelib.rentals.ports import RentalPorts
    from chalicelib.reservations.ports import ReservationPorts
    from chalicelib.runtime.queues import DeadLetters
    from chalicelib.runtime.secrets import CachedSecret
    from chalicelib.scaling.ports import Instances, ScalingPorts

CATALOG_TTL_MS = 60_000
#: A function's calls to other services: fail well before API Gateway's 29 s.
CONNECT_TIMEOUT_SECONDS = 1
READ_TIMEOUT_SECONDS = 5


def settings() -> Settings:
    return get_settings()


@cache
def clock() -> SystemClock:
    return SystemClock()


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
def aws_client(service: str, region: str | None = None) -> Any:
    """A botocore client, of our own region unless another is named.

    boto3 would double what PynamoDB has loaded.
    """
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 3, "mode": "standard"},
    )
    return get_session().create_client(service, region_name=region or settings().aws_region, config=config)


def sqs_client() -> Any:
    return aws_client("sqs")


@cache
def _pepper() -> "CachedSecret":
    from chalicelib.runtime.secrets import CachedSecret

    return CachedSecret(aws_client("secretsmanager"), settings().pepper_secret_id, clock())


def read_pepper() -> bytes:
    return _pepper().read()


def read_signing_key(host_id: str) -> bytes:
    from chalicelib.fleet.model import derive_signing_key

    return derive_signing_key(host_id, read_pepper())


@cache
def account_ports() -> "AccountPorts":
    from chalicelib.accounts.service import AccountPorts
    from chalicelib.accounts.store import DynamoAccountStore
    from chalicelib.compliance.store import DynamoAuditTrail

    bind_tables()
    return AccountPorts(
        DynamoAccountStore(), DynamoAuditTrail(), start_transaction, clock(), ids(), read_pepper
    )


def authenticate(token: str) -> Principal:
    from chalicelib.accounts.service import authenticate as check

    return check(account_ports(), token)


def account_exists(account_id: str) -> bool:
    return account_ports().store.get_account(account_id) is not None


def find_operator_account() -> str | None:
    """The account whose audit trail tells what the platform does by itself; ``None`` before the bootstrap."""
    installation = account_ports().store.get_installation()
    return None if installation is None else installation.account_id


@cache
def catalog_ports() -> "CatalogPorts":
    from chalicelib.catalog.service import CatalogPorts
    from chalicelib.catalog.store import DynamoCatalogStore
    from chalicelib.compliance.store import DynamoAuditTrail

    bind_tables()
    return CatalogPorts(DynamoCatalogStore(clock()), DynamoAuditTrail(), start_transaction, clock(), ids())


@cache
def cached_catalog() -> "CachedCatalog":
    from chalicelib.catalog.service import CachedCatalog

    return CachedCatalog(catalog_ports().store.read_catalog, clock(), CATALOG_TTL_MS)


def list_pools() -> "list[tuple[str, str]]":
    """Every pool that has a price, once."""
    return cached_catalog().get(fresh=True).list_pools()


def known_regions() -> frozenset[str]:
    from chalicelib.carbon.grid import REGIONS

    return REGIONS


@cache
def _fleet_store() -> "FleetStore":
    from chalicelib.fleet.store import DynamoFleetStore

    bind_tables()
    return DynamoFleetStore()


def capacity_reader() -> "CapacityReader":
    from chalicelib.fleet.service import FleetCapacity

    return FleetCapacity(_fleet_store())


def read_standing(account_id: str) -> "AccountStanding":
    """What an account may still take."""
    from chalicelib.billing.store import DynamoLedgerStore
    from chalicelib.catalog.offers import AccountStanding

    bind_tables()
    balance = DynamoLedgerStore().get_balance(account_id)
    quota = rental_ports().scheduling.get_quota(account_id)
    return AccountStanding(quota.available_gpus, 0 if balance is None else balance.available_micros)


def offer_ports() -> "OfferPorts":
    from chalicelib.carbon.grid import read_intensity
    from chalicelib.catalog.offers import OfferPorts
    from chalicelib.rentals.model import RUNWAY_SECONDS

    return OfferPorts(capacity_reader(), read_standing, read_intensity, RUNWAY_SECONDS)


@cache
def template_ports() -> "TemplatePorts":
    from chalicelib.catalog.template_store import DynamoTemplateStore
    from chalicelib.catalog.templates import TemplatePorts
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    catalog = catalog_ports()
    return TemplatePorts(
        DynamoTemplateStore(),
        catalog.store,
        DynamoIdempotencyStore(),
        catalog.audit,
        catalog.transactions,
        catalog.clock,
        catalog.ids,
    )


@cache
def fleet_ports() -> "FleetPorts":
    from chalicelib.fleet.aws_gateway import AwsHostIdentities
    from chalicelib.fleet.service import FleetPorts

    identities = AwsHostIdentities(
        sqs=sqs_client(),
        sts=aws_client("sts"),
        command_queue_prefix=settings().command_queue_prefix,
        host_role_arn=settings().host_role_arn,
        ingest_queue_arns=(settings().heartbeats_queue_arn, settings().telemetry_queue_arn),
    )
    return FleetPorts(_fleet_store(), account_ports(), identities)


@cache
def watch_ports() -> "WatchPorts":
    from chalicelib.fleet.watch import WatchPorts
    from chalicelib.fleet.watch_store import DynamoWatchStore
    from chalicelib.metering.failover import RentalFailover
    from chalicelib.scaling.fleet_hosts import LaunchedInstances
    from chalicelib.scaling.store import DynamoScalingStore

    bind_tables()
    store = DynamoWatchStore()
    failover = RentalFailover(meter_ports(), store, reservation_ports())
    states = LaunchedInstances(DynamoScalingStore(), instances())
    return WatchPorts(store, _fleet_store(), store, account_ports(), failover, states)


def give_up_stays(host_id: str, rental_ids: Sequence[str]) -> None:
    """End the stays whose wipe an operator has given up."""
    from chalicelib.metering.failover import give_up_stays as give_up

    give_up(meter_ports(), host_id, rental_ids, "operator_forced", clock().now_ms())


@cache
def operation_ports() -> "OperationPorts":
    from chalicelib.fleet.operations import OperationPorts

    watch = watch_ports()
    return OperationPorts(fleet_ports(), watch.watch, watch.incidents)


@cache
def maintenance_ports() -> "MaintenancePorts":
    from chalicelib.fleet.maintenance import MaintenancePorts
    from chalicelib.fleet.maintenance_store import DynamoMaintenanceStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return MaintenancePorts(
        DynamoMaintenanceStore(), _fleet_store(), DynamoIdempotencyStore(), account_ports()
    )


@cache
def rental_ports() -> "RentalPorts":
    from chalicelib.billing.store import DynamoLedgerStore
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.rentals.ports import RentalPorts
    from chalicelib.rentals.scheduling_store import DynamoSchedulingStore
    from chalicelib.rentals.store import DynamoRentalStore
    from chalicelib.reservations.store import DynamoReservationStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return RentalPorts(
        store=DynamoRentalStore(),
        scheduling=DynamoSchedulingStore(),
        reservations=DynamoReservationStore(),
        fleet=_fleet_store(),
        catalog=catalog_ports().store,
        cached_catalog=cached_catalog(),
        wallets=DynamoLedgerStore(),
        idempotency=DynamoIdempotencyStore(),
        audit=DynamoAuditTrail(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        currency=settings().currency,
    )


@cache
def reservation_ports() -> "ReservationPorts":
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.reservations.ports import ReservationPorts
    from chalicelib.reservations.store import DynamoReservationStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return ReservationPorts(
        store=DynamoReservationStore(),
        fleet=_fleet_store(),
        catalog=catalog_ports().store,
        cached_catalog=cached_catalog(),
        idempotency=DynamoIdempotencyStore(),
        audit=DynamoAuditTrail(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        currency=settings().currency,
    )


def keep_for_reservations(principal: Principal, host_id: str, *, reservable: bool) -> None:
    """For the fleet's routes, which know nothing of reservations."""
    from chalicelib.reservations.hosts import make_reservable, make_shared

    change = make_reservable if reservable else make_shared
    change(reservation_ports(), principal, host_id)


@cache
def meter_ports() -> "MeterPorts":
    from chalicelib.billing.queue_gateway import SqsChargeQueue
    from chalicelib.metering.ports import MeterPorts
    from chalicelib.metering.store import DynamoMeterStore

    charges = SqsChargeQueue(sqs_client(), settings().charges_queue_url)
    return MeterPorts(DynamoMeterStore(), rental_ports(), charges)


@cache
def billing_ports() -> "BillingPorts":
    from chalicelib.billing.service import BillingPorts
    from chalicelib.billing.store import DynamoLedgerStore

    meters = meter_ports()
    return BillingPorts(DynamoLedgerStore(), meters.store, meters.rentals, meters.charges)


@cache
def scaling_ports() -> "ScalingPorts":
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.scaling.demands import RentalDemands
    from chalicelib.scaling.ec2_gateway import build_user_data
    from chalicelib.scaling.fleet_hosts import FleetHosts
    from chalicelib.scaling.ports import ScalingPorts
    from chalicelib.scaling.store import DynamoScalingStore

    bind_tables()
    return ScalingPorts(
        store=DynamoScalingStore(),
        hosts=FleetHosts(fleet_ports(), _fail_over_gone, watch_ports().watch.drop_watch),
        demands=RentalDemands(rental_ports()),
        audit=DynamoAuditTrail(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        read_account=_read_installation_account,
        read_intensity=_read_intensity,
        build_user_data=lambda token, _region: build_user_data(token, settings().public_api_url),
    )


@cache
def instances() -> "Instances":
    """EC2. A region's client is made at its first call: the API, which makes none, loads no description."""
    from chalicelib.scaling.ec2_gateway import Ec2Instances

    return Ec2Instances(lambda region: aws_client("ec2", region), settings().stage)


def _fail_over_gone(host_id: str, now_ms: int) -> int:
    from chalicelib.metering.failover import fail_over_host

    return fail_over_host(meter_ports(), host_id, "host_lost", now_ms)


def _read_installation_account() -> str:
    installation = account_ports().store.get_installation()
    assert installation is not None, "bootstrap the installation first"
    return installation.account_id


def _read_intensity(region: str) -> int:
    from chalicelib.carbon.grid import find_intensity

    return find_intensity(region).mg_co2e_per_kwh


def dead_letters(name: Literal["heartbeats", "telemetry", "charges", "watches"]) -> "DeadLetters":
    """The dead letters of a queue."""
    from chalicelib.runtime.queues import DeadLetters

    return DeadLetters(sqs_client(), getattr(settings(), f"{name}_dlq_url"))
