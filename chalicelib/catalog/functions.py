"""The schedule of the spot rule."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.catalog import service
from chalicelib.runtime.observability import get_logger

functions = Blueprint(__name__)


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="move_spot_prices")
def move_spot_prices(_event: CloudWatchEvent) -> None:
    """As often as the rule has steps; once more or less does no harm."""
    account_id = wiring.find_operator_account()
    if account_id is None:
        return
    count = service.move_spot_prices(wiring.catalog_ports(), wiring.capacity_reader(), account_id)
    get_logger().info("spot prices moved", extra={"prices": count})
