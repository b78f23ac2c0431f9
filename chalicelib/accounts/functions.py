"""The bootstrap function: invoked by an operator with ``lambda:InvokeFunction``, reachable by nobody else."""

from typing import Any

from chalice.app import Blueprint

from chalicelib import wiring
from chalicelib.accounts import service
from chalicelib.runtime.observability import get_logger

functions = Blueprint(__name__)


@functions.lambda_function(name="bootstrap_installation")
def bootstrap_installation(event: dict[str, Any], _context: Any) -> dict[str, str | None]:
    """Payload ``{}`` or ``{"rotate": true}``; answers ``{"account_id", "operator_key"}``."""
    rotate = event.get("rotate", False)
    if not isinstance(rotate, bool):
        raise TypeError("rotate must be true or false")
    outcome = service.bootstrap_installation(
        wiring.account_ports(), currency=wiring.settings().currency, rotate=rotate
    )
    get_logger().info("bootstrap", extra={"issued": outcome.operator_key is not None, "rotate": rotate})
    return {"account_id": outcome.account_id, "operator_key": outcome.operator_key}
