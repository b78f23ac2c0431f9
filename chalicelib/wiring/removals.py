"""Removals: statements of capture, batches and certificates."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.carbon import grid_ports
from chalicelib.wiring.rentals import meter_ports
from chalicelib.wiring.system import bind_tables

if TYPE_CHECKING:
    from chalicelib.removals.ports import RemovalPorts


@cache
def removal_ports() -> "RemovalPorts":
    from chalicelib.removals.certificate_store import DynamoCertificateStore
    from chalicelib.removals.ports import RemovalPorts
    from chalicelib.removals.store import DynamoRemovalStore

    bind_tables()
    meters = meter_ports()
    rentals = meters.rentals
    return RemovalPorts(
        store=DynamoRemovalStore(),
        certificates=DynamoCertificateStore(),
        records=meters.store,
        hosts=rentals.fleet,
        grid=grid_ports().store,
        idempotency=rentals.idempotency,
        audit=rentals.audit,
        transactions=rentals.transactions,
        clock=rentals.clock,
        ids=rentals.ids,
    )
