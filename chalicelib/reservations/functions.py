"""Writes down, each minute, which reservations have begun and which have ended."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.reservations.upkeep import sweep
from chalicelib.runtime.observability import get_logger

functions = Blueprint(__name__)


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="sweep_reservations")
def sweep_reservations(_event: CloudWatchEvent) -> None:
    """Safe to run twice, late, or not for an hour."""
    done = sweep(wiring.reservation_ports(), wiring.clock().now_ms())
    get_logger().info("reservations", extra={"begun": done.begun, "ended": done.ended, "left": done.left})
