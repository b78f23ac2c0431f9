"""Verbs of rentals: look, act, change, log in."""

import shlex
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from provocative.cli import options
from provocative.cli.output import print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given, parse_duration, parse_instant
from provocative.cli.rent import read_idle_policy
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import verb
from provocative.cli.views import show_rental, show_rentals
from provocative.cli.waiting import wait_until_running
from provocative.models import Rental
from provocative.requests import RentalAction, RentalChange

_ENDED = frozenset({"terminated", "failed"})
_SSH_PORT = 22
_SSH_USER = "root"
Option = typer.Option


def register(app: typer.Typer) -> None:
    for function in (ps, show, stop, resume, restart, terminate, lock, unlock, change, ssh):
        verb(app)(function)


def ps(
    session: Session,
    *,
    ended: Annotated[bool, Option("--ended", "-a", help="Those that are over too, newest first.")] = False,
    state: Annotated[list[str] | None, Option("--state", metavar="STATE", help="Repeatable.")] = None,
    label: options.Label = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the rentals that are not over, however old they are."""
    fetch = session.client.rentals.list
    if ended and not state and label is None:
        page: Any = fetch_page(fetch, limit=limit, cursor=cursor, everything=everything)
    else:
        # Whatever still costs money is shown: every page is read.
        page = fetch_page(fetch, limit=None, cursor=cursor, everything=True)
        kept = [each for each in page["items"] if _matches(each, state, label, ended=ended)]
        page = {**page, "items": kept[:limit]}
    show_page(session, page, lambda items: show_rentals(items, session.surroundings.now()))


def _matches(rental: Rental, states: list[str] | None, label: str | None, *, ended: bool) -> bool:
    if label is not None and rental["label"] != label:
        return False
    if states:
        return rental["state"] in states
    return ended or rental["state"] not in _ENDED


def show(session: Session, rental_id: options.RentalId) -> None:
    """Show one rental: state, place in line, cost, endpoints, what you may do now."""
    _show(session, session.client.rentals.read(rental_id))


def _show(session: Session, rental: Rental) -> None:
    session.show(rental, lambda body: show_rental(body, session.surroundings.now()))


def _act(session: Session, rental_id: str, action: RentalAction, *, wait: bool = False) -> Rental:
    return session.client.rentals.act(rental_id, action, wait=wait)


def stop(session: Session, rental_id: options.RentalId) -> None:
    """Stop the workload and give the GPUs back; the volume stays."""
    _tell(session, _act(session, rental_id, "stop"))


def resume(
    session: Session,
    rental_id: options.RentalId,
    *,
    queue: Annotated[bool, Option("--queue", help="Stand in line when there is no room now.")] = False,
    wait: Annotated[bool, Option("--wait", "-w", help="Return when it runs.")] = False,
    wait_at_most: options.WaitAtMost = None,
) -> None:
    """Start a stopped rental again, where its volume is."""
    rental = _act(session, rental_id, "resume", wait=queue)
    if wait:
        rental = wait_until_running(session, rental_id, wait_at_most)
        if rental["state"] != "running":
            raise Refused(f"{rental_id} is {rental['state']}: {rental['reason']}.", code="not_running")
    _tell(session, rental)


def restart(session: Session, rental_id: options.RentalId) -> None:
    """Start the workload anew on the same GPUs."""
    _tell(session, _act(session, rental_id, "restart"))


def terminate(session: Session, rental_id: options.RentalId, *, yes: options.Yes = False) -> None:
    """End a rental for good; its volume is wiped."""
    session.confirm(f"End {rental_id} for good? Its volume is wiped.", yes=yes)
    _tell(session, _act(session, rental_id, "terminate"))


def lock(session: Session, rental_id: options.RentalId) -> None:
    """Refuse to stop, restart or end a rental."""
    _tell(session, session.client.rentals.change(rental_id, {"locked": True}))


def unlock(session: Session, rental_id: options.RentalId) -> None:
    """Take the lock away."""
    _tell(session, session.client.rentals.change(rental_id, {"locked": False}))


def _tell(session: Session, rental: Rental) -> None:
    def render(body: Rental) -> None:
        locked = ", locked" if body["locked"] else ""
        wanted = "" if body["state"] == body["desired_state"] else f", on its way to {body['desired_state']}"
        print_line(f"{body['rental_id']} is {body['state']}{wanted}{locked}.")

    session.show(rental, render)


def _or_none(parse: Any) -> Any:
    def read(text: str) -> Any:
        return text if text == "none" else parse(text)

    return read


def change(
    session: Session,
    rental_id: options.RentalId,
    *,
    label: options.Label = None,
    max_duration: Annotated[
        Any, Option(metavar="DURATION", parser=_or_none(parse_duration), help="Ends after that; or none.")
    ] = None,
    idle_stop: Annotated[
        Any, Option(metavar="DURATION", parser=_or_none(parse_duration), help="Unused that long; or none.")
    ] = None,
    idle_below: options.IdleBelow = None,
    idle_action: options.IdleAction = None,
    start_at: Annotated[
        Any, Option(metavar="INSTANT", parser=_or_none(parse_instant), help="Not before; or none.")
    ] = None,
    stop_at: Annotated[
        Any, Option(metavar="INSTANT", parser=_or_none(parse_instant), help="Stops then; or none.")
    ] = None,
) -> None:
    """Change label and policies; 'none' takes one away, what is left out stays."""
    idle = "none" if idle_stop == "none" else read_idle_policy(idle_stop, idle_below, idle_action)
    members = given(
        label=label,
        max_duration_seconds=max_duration,
        idle_policy=idle,
        start_at=start_at,
        stop_at=stop_at,
    )
    if not members:
        raise typer.BadParameter("What is to change? See --help.")
    wanted = {name: None if value == "none" else value for name, value in members.items()}
    _show(session, session.client.rentals.change(rental_id, cast("RentalChange", wanted)))


def ssh(
    session: Session,
    rental_id: options.RentalId,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]")] = None,
    *,
    identity: Annotated[
        str | None, Option("--identity", "-i", metavar="FILE", help="Private key, as for ssh.")
    ] = None,
    only_print: Annotated[bool, Option("--print", help="Print the command, do not run it.")] = False,
) -> None:
    """Log in to a rental that was started with --ssh-key."""
    rental = session.client.rentals.read(rental_id)
    words = build_ssh_command(rental, identity, command or [])
    if session.as_json:
        session.print_json({"rental_id": rental_id, "command": words})
    elif only_print:
        print_line(shlex.join(words))
    else:
        session.surroundings.execute(words[0], words)


def build_ssh_command(rental: Rental, identity: str | None, command: list[str]) -> list[str]:
    """Raises Refused: the rental has no SSH entry now."""
    entry = next(
        (
            each
            for each in rental["endpoints"]
            if each["container_port"] == _SSH_PORT and each["protocol"] == "tcp"
        ),
        None,
    )
    if entry is None:
        hint = "Start it with --ssh-key FILE to have one."
        if rental["state"] != "running":
            hint = f"It is {rental['state']}; wait until it runs: provocative show {rental['rental_id']}"
        raise Refused(f"{rental['rental_id']} has no SSH entry.", code="no_ssh_entry", hint=hint)
    key = [] if identity is None else ["-i", str(Path(identity).expanduser())]
    place = ["-p", str(entry["host_port"]), f"{_SSH_USER}@{entry['address']}"]
    return ["ssh", *key, *place, *command]
