"""Rolls up the days that are over and makes the reports that are due."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.reporting import building, rolling
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)

#: Nothing is begun after it; Lambda ends a run at 60 s (.chalice/config.json).
BUDGET_MS = 40_000


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="roll_up_energy")
def roll_up_energy(_event: CloudWatchEvent) -> None:
    """What is left when time runs out is for the next run."""
    done = rolling.roll_up(wiring.report_ports(), wiring.clock().now_ms() + BUDGET_MS)
    get_logger().info(
        "energy rolled up",
        extra={
            "hosts": done.hosts,
            "changed": done.changed,
            "failed": [list(each) for each in done.failed[:100]],
            "left": done.left,
        },
    )


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="make_carbon_reports")
def make_carbon_reports(_event: CloudWatchEvent) -> None:
    """What is left when time runs out is for the next run."""
    done = building.build_reports(wiring.report_ports(), wiring.clock().now_ms() + BUDGET_MS)
    put_metrics(wiring.settings().stage, carbon_reports_failed=len(done.failed))
    get_logger().info(
        "carbon reports made",
        extra={
            "made": done.made,
            "same": done.same,
            "failed": [list(each) for each in done.failed[:100]],
            "left": done.left,
        },
    )
