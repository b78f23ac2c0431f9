"""Routes of scaling, for operators."""

import re

from chalicelib import wiring
from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.scaling import service
from chalicelib.scaling.schemas import (
    PlanListBody,
    PoolBody,
    PoolListBody,
    PoolRequest,
    read_settings,
    render_plan,
    render_pool,
)

api = Api(__name__, wiring.authenticate)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


@api.route("GET", "/v1/pools", permission="pools:read")
def list_pools(_call: Call) -> Answer[PoolListBody]:
    """List the pools that scale by themselves, with what was launched and has not ended."""
    return Answer(
        PoolListBody(items=[render_pool(view) for view in service.list_pools(wiring.scaling_ports())])
    )


@api.route("GET", "/v1/pools/{gpu_type}/{region}", permission="pools:read", tagged=True)
def read_pool(_call: Call, gpu_type: str, region: str) -> Answer[PoolBody]:
    """Show one pool."""
    return Answer(render_pool(service.read_pool(wiring.scaling_ports(), gpu_type, region)))


@api.route(
    "PUT", "/v1/pools/{gpu_type}/{region}", permission="pools:write", body=PoolRequest, conditional=True
)
def put_pool(call: Call, gpu_type: str, region: str) -> Answer[PoolBody]:
    """Say what a pool may buy, and what it is to keep."""
    body: PoolRequest = call.read_body(PoolRequest)
    if _NAME.fullmatch(gpu_type) is None:
        raise InvalidInput("A name has 1 to 64 letters, digits, dots and hyphens.")
    if region not in wiring.known_regions():
        raise InvalidInput("There is no such region.", code="unknown_region")
    settings = read_settings(body, gpu_type, region)
    check = call.match(render_pool)
    return Answer(render_pool(service.put_pool(wiring.scaling_ports(), call.principal, settings, check)))


@api.route("GET", "/v1/scaling/plan", permission="pools:read")
def show_plan(_call: Call) -> Answer[PlanListBody]:
    """Show what the next minute would do, pool by pool. Nothing is done, and EC2 is not asked."""
    ports = wiring.scaling_ports()
    views = [service.preview_plan(ports, settings) for settings in ports.store.list_pools()]
    return Answer(PlanListBody(items=[render_plan(view) for view in views]))
