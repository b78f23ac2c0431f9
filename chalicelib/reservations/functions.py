"""Writes down, each minute, which reservations have begun and ended, and sees that promises are kept."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.reservations.keeping import keep_promises
from chalicelib.reservations.upkeep import sweep
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="sweep_reservations")
def sweep_reservations(_event: CloudWatchEvent) -> None:
    """Safe to run twice, late, or not for an hour."""
    ports, now_ms = wiring.reservation_ports(), wiring.clock().now_ms()
    done = sweep(ports, now_ms)
    kept = keep_promises(ports, wiring.list_pools(), now_ms)
    put_metrics(wiring.settings().stage, reservations_at_risk=kept.waiting + kept.broken)
    get_logger().info(
        "reservations",
        extra={
            "begun": done.begun,
            "ended": done.ended,
            "moved": kept.moved,
            "broken": kept.broken,
            "at_risk": kept.waiting,
            "left": done.left + kept.left,
        },
    )
