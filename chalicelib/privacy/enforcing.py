"""Runs what was asked for, request by request; one that fails does not hold up the others."""

from dataclasses import dataclass, field

from chalicelib.core.errors import DomainError
from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.service import PrivacyPorts


@dataclass(slots=True)
class Run:
    """What a run did; ``left``: time ran out."""

    states: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    left: bool = False


def run_requests(ports: PrivacyPorts, deadline_ms: int) -> Run:
    run = Run()
    for account_id, request_id in ports.store.list_open():
        if ports.clock.now_ms() >= deadline_ms:
            run.left = True
            break
        try:
            state = run_request(ports, account_id, request_id, deadline_ms)
        except DomainError as error:
            run.failed.append((request_id, error.code))
            continue
        run.states[state] = run.states.get(state, 0) + 1
    return run
