"""The gates before every guess: counted first, looked at then."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.identity.model import DAY_MS, hash_secret
from chalicelib.identity.ports import IdentityPorts
from chalicelib.identity.service import Browser
from chalicelib.identity.throttling import RULES, Gate, forgive, give_back, take, wait_ms

#: Two tries at once meet at the same counter; more than that many are not honest.
ATTEMPTS = 3
DEVICE_MS = 180 * DAY_MS


@dataclass(frozen=True, slots=True)
class Passed:
    """The gates that let a guess through, to be told whether it was right."""

    gates: tuple[tuple[Gate, str], ...]


def pass_gates(ports: IdentityPorts, gates: Sequence[tuple[Gate, str]]) -> Passed:
    """Count a try at each gate.

    Raises:
        Conflict: ``too_many_attempts`` with ``retry_after_seconds``: one of them is shut for now.
        Unavailable: too many tries at the same moment.
    """
    for gate, key in gates:
        _take_one(ports, gate, key)
    return Passed(tuple(gates))


def tell_right(ports: IdentityPorts, passed: Passed) -> None:
    """Take the try back: it was right. What is counted by browser is forgotten, the rest less this one."""
    for gate, key in passed.gates:
        stored = _name(gate, key)
        before = ports.store.get_tries(stored)
        after = forgive(before) if gate in {"device", "pair", "code"} else give_back(before)
        ports.store.replace_tries(stored, before, after, ports.clock.now_ms() + RULES[gate].quiet_ms)


def choose_gates(ports: IdentityPorts, email_key: str, browser: Browser) -> list[tuple[Gate, str]]:
    """Return what a sign-in is counted by.

    A browser that this person signed in from before is counted by itself alone, so that nobody who guesses
    elsewhere shuts the person out.
    """
    if browser.device is not None:
        token = ports.store.get_token(hash_secret(browser.device))
        good = token is not None and token.is_good("device", ports.clock.now_ms())
        if good and token is not None and token.data.get("email_key") == email_key:
            return [("device", token.digest)]
    return [
        ("address", browser.address),
        ("pair", f"{email_key}#{browser.address}"),
        ("account", email_key),
    ]


def _take_one(ports: IdentityPorts, gate: Gate, key: str) -> None:
    rule, stored = RULES[gate], _name(gate, key)
    for _ in range(ATTEMPTS):
        now_ms = ports.clock.now_ms()
        before = ports.store.get_tries(stored)
        after = take(before, rule, now_ms)
        if after is None:
            seconds = -(-wait_ms(before, now_ms) // 1000)
            raise Conflict(
                f"There were too many attempts. Try again in {describe_wait(seconds)}.",
                code="too_many_attempts",
                extra={"retry_after_seconds": seconds},
            )
        if ports.store.replace_tries(stored, before, after, now_ms + rule.quiet_ms):
            return
    raise Unavailable("Too many attempts at once; try again.")


def describe_wait(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"  # noqa: PLR2004


def _name(gate: Gate, key: str) -> str:
    return f"{gate}#{key}"
