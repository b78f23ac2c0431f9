"""Runs what was asked for, request by request; one that fails, however it does, does not hold up the others.

Who was tried longest ago is first: one that took all the time of a run, or ended it, comes last in the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.core.errors import DomainError
from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.service import PrivacyPorts


@dataclass(slots=True)
class Run:
    """What a run did so far; ``failed``: (request, code). ``left``: time ran out."""

    states: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    left: bool = False


def run_requests(ports: PrivacyPorts, deadline_ms: int, run: Run, tell: Callable[[str], None]) -> None:
    """Write into ``run`` as it goes, so that it is known also of a run that breaks off.

    ``tell`` is called with each request that failed, while its error is being handled.
    """
    for account_id, request_id in ports.store.list_open():
        if ports.clock.now_ms() >= deadline_ms:
            run.left = True
            break
        try:
            state = run_request(ports, account_id, request_id, deadline_ms)
        except Exception as error:
            tell(request_id)
            code = error.code if isinstance(error, DomainError) else type(error).__name__
            run.failed.append((request_id, code))
            continue
        run.states[state] = run.states.get(state, 0) + 1
