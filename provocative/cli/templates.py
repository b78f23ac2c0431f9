"""Verbs of templates: workloads that are kept under a name."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.output import print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.cli.views import show_template, show_templates
from provocative.cli.workloads import read_workload
from provocative.requests import TemplateRequest

_Id = Annotated[str, typer.Argument(metavar="TEMPLATE", help="As templates shows it, tpl_….")]
_Name = Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is called.")]
_Public = Annotated[bool, typer.Option("--public", help="Everybody may read and use it, its env too.")]


def register(app: typer.Typer) -> None:
    nested = group(app, "templates", "Workloads kept under a name: list, create, replace.", templates)
    for function in (create, show, replace, remove):
        verb(nested)(function)


def templates(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the account's templates and the public ones."""
    page = fetch_page(
        session.client.catalog.list_templates, limit=limit, cursor=cursor, everything=everything
    )
    show_page(session, page, show_templates)


def create(
    session: Session,
    command: options.Command = None,
    *,
    name: _Name,
    public: _Public = False,
    gpu_type: options.GpuType = None,
    gpus: options.GpuCount = None,
    image: options.Image = None,
    env: options.Env = None,
    port: options.Ports = None,
    ssh_key: options.SshKeys = None,
    volume: options.VolumeText = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Keep a workload: templates create --name train --image pytorch/pytorch -- python train.py"""
    request: TemplateRequest = given(
        **read_workload(image=image, command=command, env=env, ports=port, ssh_keys=ssh_key, volume=volume),
        name=name,
        visibility="public" if public else None,
        gpu_type=gpu_type,
        gpu_count=gpus,
    )
    made = session.client.catalog.create_template(request, idempotency_key=idempotency_key)
    session.show(made, show_template)


def show(session: Session, template_id: _Id) -> None:
    """Show one template."""
    session.show(session.client.catalog.read_template(template_id), show_template)


def replace(
    session: Session,
    template_id: _Id,
    command: options.Command = None,
    *,
    name: _Name,
    public: _Public = False,
    gpu_type: options.GpuType = None,
    gpus: options.GpuCount = None,
    image: options.Image = None,
    env: options.Env = None,
    port: options.Ports = None,
    ssh_key: options.SshKeys = None,
    volume: options.VolumeText = None,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="Refuse if it is no longer this one.")
    ] = None,
) -> None:
    """Put a whole new content in its place; what runs keeps the old one."""
    request: TemplateRequest = given(
        **read_workload(image=image, command=command, env=env, ports=port, ssh_keys=ssh_key, volume=volume),
        name=name,
        visibility="public" if public else None,
        gpu_type=gpu_type,
        gpu_count=gpus,
    )
    catalog = session.client.catalog
    known = catalog.read_template(template_id)["version"] if version is None else version
    session.show(catalog.replace_template(template_id, request, version=known), show_template)


def remove(session: Session, template_id: _Id, *, yes: options.Yes = False) -> None:
    """Remove a template; what was started with it is not touched."""
    session.confirm(f"Remove {template_id}?", yes=yes)
    session.client.catalog.remove_template(template_id)
    session.show(
        {"template_id": template_id, "removed": True}, lambda _: print_line(f"{template_id} is gone.")
    )
