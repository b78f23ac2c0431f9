"""Runs every pool once a minute."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.scaling import service

functions = Blueprint(__name__)


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="scale_pools")
def scale_pools(_event: CloudWatchEvent) -> None:
    """Make records and EC2 agree, then do the minute's one action, pool by pool."""
    ports, instances = wiring.scaling_ports(), wiring.instances()
    failed = blind = slow_ends = 0
    for settings in ports.store.list_pools():
        try:
            report = service.run_pool(ports, instances, settings)
        except Exception:
            # The other pools are not to wait for this one.
            get_logger().exception("pool not scaled", extra={"pool": settings.pool})
            failed += 1
            continue
        blind += report.blind
        slow_ends += report.slow_ends
        decision = report.plan.decision
        get_logger().info(
            "pool scaled",
            extra={
                "pool": report.pool,
                "decision": None if decision is None else decision.kind,
                "reason": report.plan.reason,
                "blind": report.blind,
            },
        )
        for alarm in report.alarms:
            get_logger().error("scaling needs a look", extra={"pool": report.pool, "what": alarm})
    put_metrics(wiring.settings().stage, pools_blind=blind, instances_not_ending=slow_ends)
    if failed:
        raise RuntimeError(f"{failed} pools were not scaled")
