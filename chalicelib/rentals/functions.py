"""Serves lines when GPUs become free and once a minute, and does what is due.

The stream of the fleet's table says when a host has room: it keeps trying until it was heard, so a crash
after a release loses nothing.
"""

import os
from collections.abc import Mapping
from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate

from chalicelib import wiring
from chalicelib.core.capacity import name_pool
from chalicelib.rentals import dispatch
from chalicelib.rentals.due import do_due
from chalicelib.rentals.reserving import clear_way
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)

_UNSET_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/unset/stream/2026-01-01T00:00:00.000"


@functions.on_dynamodb_record(
    stream_arn=os.environ.get("FLEET_STREAM_ARN", _UNSET_STREAM),
    batch_size=100,
    starting_position="TRIM_HORIZON",
    name="on_capacity_changed",
)
def on_capacity_changed(event: DynamoDBEvent) -> dict[str, list[dict[str, str]]]:
    """Serve the line of every pool in which a host has free GPUs now."""
    pools: dict[str, None] = {}
    for record in event.to_dict()["Records"]:
        pool = find_pool(record["dynamodb"].get("NewImage") or {})
        if pool is not None:
            pools[pool] = None
    for pool in pools:
        try:
            _dispatch(pool)
        except Exception:
            # The minute's sweep goes on where this one stopped: nothing is lost by going on.
            get_logger().exception("line not served", extra={"pool": pool})
    return {"batchItemFailures": []}


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="sweep_lines")
def sweep_lines(_event: CloudWatchEvent) -> None:
    """Serve every pool's line and do what is due, whatever was missed."""
    now_ms = wiring.clock().now_ms()
    done = do_due(wiring.rental_ports(), now_ms)
    told = clear_way(wiring.rental_ports(), wiring.reservation_ports(), now_ms)
    get_logger().info("due", extra={"rentals": done, "spot_told": told})
    oldest_since_ms = now_ms
    for gpu_type, region in wiring.list_pools():
        try:
            served = _dispatch(name_pool(gpu_type, region))
        except Exception:
            get_logger().exception("line not served", extra={"pool": name_pool(gpu_type, region)})
            continue
        if served.oldest_since_ms is not None:
            oldest_since_ms = min(oldest_since_ms, served.oldest_since_ms)
    put_metrics(wiring.settings().stage, oldest_wait_seconds=(now_ms - oldest_since_ms) // 1000)


def find_pool(image: Mapping[str, Any]) -> str | None:
    """Return the pool of a host's stream image that has room, else ``None``."""
    if image.get("sk", {}).get("S") != "HOST" or image.get("state", {}).get("S") != "active":
        return None
    if int(image.get("free_gpus", {}).get("N", "0")) <= 0:
        return None
    return name_pool(image["gpu_type"]["S"], image["region"]["S"])


def _dispatch(pool: str) -> dispatch.Dispatched:
    done = dispatch.dispatch_pool(wiring.rental_ports(), pool)
    if done.waiting or done.started or done.turned_away:
        get_logger().info(
            "line served",
            extra={
                "pool": pool,
                "started": done.started,
                "expired": done.expired,
                "turned_away": done.turned_away,
                "preempted": done.preempted,
                "waiting": done.waiting,
            },
        )
    return done
