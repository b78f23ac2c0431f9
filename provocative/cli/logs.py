"""The verb that fetches the end of a workload's log: the host is asked, and sends it with a heartbeat."""

import sys
from typing import Annotated, Any

import typer

from provocative.cli import options
from provocative.cli.failures import EXIT_UNAVAILABLE
from provocative.cli.output import format_instant
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import verb
from provocative.models import Log

#: Hosts beat every 10 s.
WAIT_SECONDS = 60
POLL_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    verb(app)(logs)


def logs(
    session: Session,
    rental_id: options.RentalId,
    *,
    last: Annotated[bool, typer.Option("--last", help="What was fetched before; ask no host.")] = False,
    wait_at_most: options.WaitAtMost = None,
) -> None:
    """Print the end of a workload's log, fetched from its host now."""
    if last:
        session.show(session.client.rentals.read_log(rental_id), _print)
        return
    before = _read_taken_at(session, rental_id)
    session.client.rentals.request_log(rental_id)
    session.say("Asking the host; it answers with its next heartbeat.")
    session.show(_await(session, rental_id, before, wait_at_most or WAIT_SECONDS), _print)


def _read_taken_at(session: Session, rental_id: str) -> str | None:
    log = _find(session, rental_id)
    return None if log is None else log["taken_at"]


def _find(session: Session, rental_id: str) -> Log | None:
    from provocative.errors import NotFound

    try:
        return session.client.rentals.read_log(rental_id)
    except NotFound as error:
        if error.code != "log_not_fetched":
            raise
        return None


def _await(session: Session, rental_id: str, before: str | None, at_most_seconds: int) -> Log:
    around = session.surroundings
    deadline = around.monotonic() + at_most_seconds
    while True:
        log = _find(session, rental_id)
        if log is not None and log["taken_at"] != before:
            return log
        if around.monotonic() >= deadline:
            raise Refused(
                f"The host has not sent the log for {at_most_seconds} s.",
                code="no_log_yet",
                hint=f"Look again with: provocative logs {rental_id} --last",
                exit_code=EXIT_UNAVAILABLE,
            )
        around.sleep(POLL_SECONDS)


def _print(log: Any) -> None:
    if log["truncated"]:
        typer.echo(f"[the end of the log, as it was at {format_instant(log['taken_at'])}]", err=True)
    # As it is: no wrapping, no colours of ours, and no newline that it has not.
    sys.stdout.write(log["text"])
    if log["text"] and not log["text"].endswith("\n") and sys.stdout.isatty():
        sys.stdout.write("\n")
