"""Verbs of pools that buy and end hosts by themselves."""

from pathlib import Path
from typing import Annotated, cast

import typer

from provocative.cli import options
from provocative.cli.fleet_views import show_plans, show_pool, show_pools
from provocative.cli.session import Session, read_json_file
from provocative.cli.verbs import group, verb
from provocative.requests import PoolRequest

_File = Annotated[
    Path, typer.Argument(metavar="FILE", help="JSON, as 'pools show --json' has it; see docs/cli.md.")
]
#: Members of a pool that are the API's to say.
_TOLD = frozenset({"gpu_type", "region", "version", "launches"})


def register(app: typer.Typer) -> None:
    nested = group(app, "pools", "What pools may buy by themselves: list, look, set, plan.", pools)
    verb(nested)(show)
    verb(nested, "set")(set_pool)
    verb(nested)(plan)


def pools(session: Session) -> None:
    """List the pools that scale by themselves."""
    session.show(session.client.pools.list(), lambda body: show_pools(body["items"]))


def show(session: Session, gpu_type: options.GpuTypeName, region: options.RegionName) -> None:
    """Show one pool: its bounds, what it may buy, what it has under way."""
    session.show(session.client.pools.read(gpu_type, region), show_pool)


def set_pool(
    session: Session, gpu_type: options.GpuTypeName, region: options.RegionName, file: _File
) -> None:
    """Set the bounds of a pool and what it may buy, all of it."""
    members = read_json_file(file)
    request = {name: value for name, value in members.items() if name not in _TOLD}
    pool = session.client.pools.put(gpu_type, region, cast("PoolRequest", request))
    session.show(pool, show_pool)


def plan(session: Session) -> None:
    """Show what each pool would do next, and why; nothing is done."""
    session.show(session.client.pools.show_plan(), lambda body: show_plans(body["items"]))
