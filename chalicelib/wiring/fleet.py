"""Hosts: enrolment, credentials, maintenance windows; what a pool has."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.accounts import account_ports
from chalicelib.wiring.system import aws_client, bind_tables, settings, sqs_client

if TYPE_CHECKING:
    from chalicelib.catalog.service import CapacityReader
    from chalicelib.fleet.maintenance import MaintenancePorts
    from chalicelib.fleet.service import FleetPorts, FleetStore
    from chalicelib.fleet.watch_store import DynamoWatchStore


@cache
def fleet_store() -> "FleetStore":
    from chalicelib.fleet.store import DynamoFleetStore

    bind_tables()
    return DynamoFleetStore()


@cache
def watch_store() -> "DynamoWatchStore":
    from chalicelib.fleet.watch_store import DynamoWatchStore

    bind_tables()
    return DynamoWatchStore()


def capacity_reader() -> "CapacityReader":
    from chalicelib.fleet.capacity import FleetCapacity

    return FleetCapacity(fleet_store(), watch_store())


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
    return FleetPorts(fleet_store(), account_ports(), identities)


@cache
def maintenance_ports() -> "MaintenancePorts":
    from chalicelib.fleet.maintenance import MaintenancePorts
    from chalicelib.fleet.maintenance_store import DynamoMaintenanceStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return MaintenancePorts(
        DynamoMaintenanceStore(), fleet_store(), DynamoIdempotencyStore(), account_ports()
    )
