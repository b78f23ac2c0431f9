"""What looks after the fleet by itself: the watch over hosts, operations on them, scaling."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.accounts import account_ports
from chalicelib.wiring.fleet import fleet_ports, fleet_store, watch_store
from chalicelib.wiring.rentals import meter_ports, rental_ports, reservation_ports
from chalicelib.wiring.system import bind_tables, clock, ids, instances, settings, start_transaction

if TYPE_CHECKING:
    from chalicelib.fleet.operations import OperationPorts
    from chalicelib.fleet.watch import WatchPorts
    from chalicelib.reservations.keeping import HostBookings
    from chalicelib.scaling.ports import ScalingPorts


@cache
def watch_ports() -> "WatchPorts":
    from chalicelib.fleet.watch import WatchPorts
    from chalicelib.metering.failover import RentalFailover
    from chalicelib.scaling.fleet_hosts import LaunchedInstances
    from chalicelib.scaling.store import DynamoScalingStore

    store = watch_store()
    failover = RentalFailover(meter_ports(), store, reservation_ports())
    states = LaunchedInstances(DynamoScalingStore(), instances())
    return WatchPorts(store, fleet_store(), store, account_ports(), failover, states)


@cache
def operation_ports() -> "OperationPorts":
    from chalicelib.fleet.operations import OperationPorts

    watch = watch_ports()
    return OperationPorts(fleet_ports(), watch.watch, watch.incidents, _host_bookings())


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
        hosts=FleetHosts(fleet_ports(), _host_bookings(), _fail_over_gone, watch_store().drop_watch),
        demands=RentalDemands(rental_ports(), _count_starting),
        audit=DynamoAuditTrail(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        read_account=_read_installation_account,
        read_intensity=_read_intensity,
        build_user_data=lambda token, _region: build_user_data(token, settings().public_api_url),
    )


def _host_bookings() -> "HostBookings":
    from chalicelib.reservations.keeping import HostBookings

    return HostBookings(reservation_ports())


def _count_starting(gpu_type: str, region: str, until_ms: int) -> dict[str, int]:
    from chalicelib.reservations.upkeep import count_starting

    return count_starting(reservation_ports(), gpu_type, region, until_ms)


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
