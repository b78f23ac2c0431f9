"""The schedule of the signing keys."""

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib import wiring
from chalicelib.oauth import signing
from chalicelib.runtime.observability import get_logger

functions = Blueprint(__name__)


# Looked at each hour, so that a new stage signs within one; a key is made when its time has come.
@functions.schedule(Rate(1, unit=Rate.HOURS), name="rotate_signing_keys")
def rotate_signing_keys(_event: CloudWatchEvent) -> None:
    """Make the next key, let it sign, and have the old one destroyed, each in its time."""
    turned = signing.rotate_signing_keys(wiring.oauth_ports())
    get_logger().info(
        "signing keys turned",
        extra={"made": turned.made, "dropped": turned.dropped, "published": turned.published},
    )
