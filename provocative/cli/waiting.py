"""Watches a rental until it runs, and shows on standard error where it stands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provocative.cli.failures import EXIT_UNAVAILABLE
from provocative.cli.session import Refused, Session
from provocative.cli.views import describe_line
from provocative.models import Rental

POLL_SECONDS = 2.0
_WAITS = frozenset({"queued", "allocating", "provisioning", "resuming", "stopping"})


def wait_until_running(session: Session, rental_id: str, at_most_seconds: int | None = None) -> Rental:
    """Return the rental when it runs, or can do so no more: stopped, ended.

    Raises:
        Refused: that took longer than ``at_most_seconds``. The rental goes on.
    """
    around = session.surroundings
    deadline = None if at_most_seconds is None else around.monotonic() + at_most_seconds
    with _open_progress(session) as tell:
        while True:
            rental = session.client.rentals.read(rental_id)
            tell(describe_progress(rental))
            if rental["state"] not in _WAITS:
                return rental
            if deadline is not None and around.monotonic() >= deadline:
                raise Refused(
                    f"{rental_id} is still {rental['state']}; it goes on without this wait.",
                    code="still_waiting",
                    hint=f"provocative show {rental_id}, or end it: provocative terminate {rental_id}",
                    exit_code=EXIT_UNAVAILABLE,
                )
            around.sleep(POLL_SECONDS)


def describe_progress(rental: Rental) -> str:
    """Return one line: ``rnt_…: queued (place 3, about 12m to go, no_capacity)``."""
    about = "" if rental["line"] is None else f" ({describe_line(rental)})"
    return f"{rental['rental_id']}: {rental['state']}{about}"


@contextmanager
def _open_progress(session: Session) -> Iterator[Callable[[str], None]]:
    """Give a function that shows a line: at a terminal in place, else each time it changes."""
    if session.as_json:
        yield lambda _line: None
        return
    from provocative.cli.output import open_console

    console = open_console(stderr=True)
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
        return
    last = ""

    def tell(line: str) -> None:
        nonlocal last
        if line != last:
            session.say(line)
        last = line

    yield tell
