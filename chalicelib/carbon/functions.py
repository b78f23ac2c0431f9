"""The schedule of grid intensity."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.carbon import fetching
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)

#: Nothing is begun after it: one reply may take 8 s, after a login that may too. Lambda ends a run at 60 s.
FETCH_BUDGET_MS = 35_000


@functions.schedule(Rate(15, unit=Rate.MINUTES), name="fetch_grid_intensity")
def fetch_grid_intensity(_event: CloudWatchEvent) -> None:
    """For the regions that have a price; what is left when time runs out is for the next run."""
    ports = wiring.grid_ports()
    deadline_ms = wiring.clock().now_ms() + FETCH_BUDGET_MS
    fetched = fetching.fetch_intensities(ports, {region for _, region in wiring.list_pools()}, deadline_ms)
    put_metrics(wiring.settings().stage, grid_series_failing=fetching.count_failing(ports))
    get_logger().info(
        "grid intensity fetched",
        extra={
            "stored": fetched.stored,
            "refused": fetched.refused,
            "failed": [list(each) for each in fetched.failed],
            "left": fetched.left,
        },
    )
