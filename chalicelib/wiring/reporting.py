"""Carbon reports: energy by the day, figures of the grid, documents."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.carbon import grid_ports
from chalicelib.wiring.catalog import cached_catalog
from chalicelib.wiring.removals import removal_ports
from chalicelib.wiring.rentals import meter_ports
from chalicelib.wiring.statements import statement_ports
from chalicelib.wiring.system import bind_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.carbon.model import RegionFigures
    from chalicelib.reporting.model import Content, Report
    from chalicelib.reporting.ports import ReportPorts


def _connect_printer() -> "Callable[[Content, Report], bytes]":
    from chalicelib.reporting.pdf_gateway import print_report

    return print_report


def _read_figures(region: str, hours: Collection[int]) -> "RegionFigures":
    from chalicelib.carbon.service import read_figures

    return read_figures(grid_ports().store, region, hours)


def _read_power_limits() -> dict[str, int]:
    types = cached_catalog().get().gpu_types.values()
    return {each.name: each.power_limit_watts for each in types}


class _Purchases:
    """`reporting.ports.PurchaseReader`."""

    def find_purchased(self, account_id: str, month: str) -> Mapping[str, int]:
        from chalicelib.payments.purchase_store import DynamoPurchaseStore
        from chalicelib.payments.purchasing import find_purchased_mg

        found = find_purchased_mg(DynamoPurchaseStore(), account_id, month)
        masses = {"ordered": found.open_mg, "confirmed": found.confirmed_mg, "delivered": found.delivered_mg}
        return {state: mass for state, mass in masses.items() if mass}


@cache
def report_ports() -> "ReportPorts":
    from chalicelib.reporting.content_gateway import JsonContents
    from chalicelib.reporting.ports import ReportPorts
    from chalicelib.reporting.store import DynamoReportStore

    bind_tables()
    meters = meter_ports()
    rentals = meters.rentals
    return ReportPorts(
        store=DynamoReportStore(),
        energy=meters.store,
        rentals=rentals.store,
        hosts=rentals.fleet,
        shares=removal_ports().store,
        purchases=_Purchases(),
        files=statement_ports().documents,
        codec=JsonContents(),
        read_figures=_read_figures,
        read_power_limits=_read_power_limits,
        connect_printer=_connect_printer,
        transactions=rentals.transactions,
        clock=rentals.clock,
    )
