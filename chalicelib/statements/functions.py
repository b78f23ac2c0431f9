"""Issues the statements of months that are over."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.statements import issuing

functions = Blueprint(__name__)

#: Nothing is begun after it; Lambda ends a run at 60 s (.chalice/config.json).
BUDGET_MS = 40_000


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="issue_statements")
def issue_statements(_event: CloudWatchEvent) -> None:
    """What is left when time runs out is for the next run."""
    deadline_ms = wiring.clock().now_ms() + BUDGET_MS
    done = issuing.issue_statements(wiring.statement_ports(), deadline_ms)
    put_metrics(wiring.settings().stage, statements_failed=len(done.failed))
    get_logger().info(
        "statements issued",
        extra={
            "issued": done.issued,
            "empty": done.empty,
            "failed": [list(each) for each in done.failed[:100]],
            "left": done.left,
        },
    )
