"""Does what was asked for of data, and ends what has been kept for long enough."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.privacy import enforcing
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)

#: Nothing is begun after it; Lambda ends a run at 300 s (.chalice/config.json).
BUDGET_MS = 240_000


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="run_privacy_requests")
def run_privacy_requests(_event: CloudWatchEvent) -> None:
    """What is left when time runs out is for the next run."""
    done = enforcing.Run()
    try:
        deadline_ms = wiring.clock().now_ms() + BUDGET_MS
        enforcing.run_requests(wiring.privacy_ports(), deadline_ms, done, _tell)
    finally:
        put_metrics(wiring.settings().stage, privacy_requests_failed=len(done.failed))
    get_logger().info(
        "privacy requests run",
        extra={
            "states": done.states,
            "failed": [list(each) for each in done.failed[:100]],
            "left": done.left,
        },
    )


def _tell(request_id: str) -> None:
    get_logger().exception("privacy request failed", extra={"request_id": request_id})
