"""Verbs of the fleet: hosts, what operators do to them, incidents."""

from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.fleet_views import show_host, show_hosts, show_incidents
from provocative.cli.output import format_instant, print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.fleet_models import Enrolment, Host
from provocative.requests import HostAction

_States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATE", help="active, draining, lost, … Repeatable.")
]
_Gpus = Annotated[list[str], typer.Argument(metavar="GPU...", help="GPU UUIDs that are stuck in wiping.")]
_OfHost = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Of this host only.")]


def register(app: typer.Typer) -> None:
    nested = group(app, "hosts", "Machines of the fleet: list, look, close, open, retire.", hosts)
    for function in (
        show,
        cordon,
        uncordon,
        retire,
        force_release,
        clear_faults,
        make_reservable,
        make_shared,
    ):
        verb(nested)(function)
    verb(app)(incidents)
    verb(app)(enrol_token)


def hosts(
    session: Session,
    *,
    state: _States = None,
    gpu_type: options.GpuType = None,
    region: options.Region = None,
) -> None:
    """List the hosts: state, free GPUs, when they were seen, what closes them."""
    body = session.client.fleet.list_hosts()
    kept = [
        host
        for host in body["items"]
        if (not state or host["state"] in state)
        and gpu_type in {None, host["gpu_type"]}
        and region in {None, host["region"]}
    ]
    now = session.surroundings.now()
    body["items"] = kept
    session.show(body, lambda found: show_hosts(found["items"], now))


def show(session: Session, host_id: options.HostId) -> None:
    """Show one host with its GPUs, leases and faults."""
    _show(session, session.client.fleet.read_host(host_id))


def _show(session: Session, host: Host) -> None:
    session.show(host, lambda body: show_host(body, session.surroundings.now()))


def _act(session: Session, host_id: str, action: HostAction, reason: str | None = None) -> None:
    host = session.client.fleet.act_on_host(host_id, action, reason=reason)

    def render(body: Host) -> None:
        why = "" if body["cordoned_reason"] is None else f", cordoned: {body['cordoned_reason']}"
        free = f"{body['free_gpus']} of {body['gpu_count']} GPUs free"
        print_line(f"{body['host_id']} is {body['state']}{why}; {free}.")

    session.show(host, render)


def cordon(session: Session, host_id: options.HostId, *, reason: options.Reason) -> None:
    """Place nothing new on a host; what runs there goes on until it ends."""
    _act(session, host_id, "cordon", reason)


def uncordon(session: Session, host_id: options.HostId) -> None:
    """Offer a cordoned host again."""
    _act(session, host_id, "uncordon")


def retire(
    session: Session, host_id: options.HostId, *, reason: options.Reason, yes: options.Yes = False
) -> None:
    """Take a host out of the fleet for good; it must be free of work."""
    session.confirm(f"Take {host_id} out of the fleet for good?", yes=yes)
    _act(session, host_id, "retire", reason)


def force_release(
    session: Session,
    host_id: options.HostId,
    gpu_uuids: _Gpus,
    *,
    reason: options.Reason,
    yes: options.Yes = False,
) -> None:
    """Free GPUs whose wipe was never acknowledged. You vouch that nothing of the last tenant is left."""
    session.confirm(f"Free {len(gpu_uuids)} GPUs of {host_id} without an acknowledged wipe?", yes=yes)
    fleet = session.client.fleet
    _show(session, fleet.act_on_host(host_id, "force_release", reason=reason, gpu_uuids=gpu_uuids))


def clear_faults(session: Session, host_id: options.HostId) -> None:
    """Offer GPUs again that were taken out for a hardware fault, after a repair."""
    _act(session, host_id, "clear_faults")


def make_reservable(session: Session, host_id: options.HostId) -> None:
    """Keep a host for reservations; on demand nothing is placed on it any more."""
    _act(session, host_id, "make_reservable")


def make_shared(session: Session, host_id: options.HostId) -> None:
    """Offer a host to everybody again."""
    _act(session, host_id, "make_shared")


def incidents(
    session: Session,
    *,
    host: _OfHost = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what went wrong in the fleet, newest first."""
    page = fetch_page(
        session.client.fleet.list_incidents, limit=limit, cursor=cursor, everything=everything, host_id=host
    )
    show_page(session, page, show_incidents)


def enrol_token(session: Session, gpu_type: options.GpuTypeName, region: options.RegionName) -> None:
    """Make a one-time token with which a machine becomes a host. It is shown once."""
    enrolment = session.client.fleet.create_enrolment(gpu_type, region)

    def render(body: Enrolment) -> None:
        # Alone on standard output, so that it can go straight into the machine's configuration.
        session.say(f"For one host of {body['gpu_type']} in {body['region']}; valid until "
                    f"{format_instant(body['expires_at'])}. It is shown once:")  # fmt: skip
        print_line(body["token"])

    session.show(enrolment, render)
