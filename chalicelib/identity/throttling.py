"""How fast guesses may be made. Every guess is counted before it is looked at, so that none run side by side.

Invariant: past the gate come at most `MAX_GUESSES_AN_HOUR` guesses at one account in any hour, however many
addresses take part; and who comes with a browser that signed in here before is counted apart from them all.
"""

from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.identity.model import DAY_MS, HOUR_MS, MINUTE_MS

#: account: all that come from no known device; pair: account and address; device: one browser.
Gate = Literal["account", "address", "pair", "device", "code", "mail", "mails"]
MAX_GUESSES_AN_HOUR = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """``free`` tries, then a delay that doubles from ``first_ms`` to ``longest_ms``; quiet forgets all."""

    free: int
    first_ms: int
    longest_ms: int
    quiet_ms: int


RULES: dict[Gate, Rule] = {
    # 10 at once, then after 1, 2, 4, 8, 15, 15, 15 minutes: 17 in the first hour and 4 in each that follows.
    "account": Rule(10, MINUTE_MS, 15 * MINUTE_MS, DAY_MS),
    "pair": Rule(5, MINUTE_MS, 15 * MINUTE_MS, DAY_MS),
    "device": Rule(5, MINUTE_MS, 15 * MINUTE_MS, DAY_MS),
    # Many people may share an address: it is slowed to about one try a minute and never shut.
    "address": Rule(60, 10_000, MINUTE_MS, HOUR_MS),
    "code": Rule(5, MINUTE_MS, 15 * MINUTE_MS, DAY_MS),
    # Mails to one address, and by one address.
    "mail": Rule(3, 5 * MINUTE_MS, HOUR_MS, DAY_MS),
    "mails": Rule(20, MINUTE_MS, 15 * MINUTE_MS, HOUR_MS),
}


@dataclass(frozen=True, slots=True)
class Tries:
    """``count`` since it was quiet; none before ``next_at_ms``."""

    count: int = 0
    last_at_ms: int = 0
    next_at_ms: int = 0
    version: int = 0


def take(tries: Tries, rule: Rule, now_ms: int) -> Tries | None:
    """Return the counter with one more try, or ``None``: it is too early for one."""
    if now_ms < tries.next_at_ms:
        return None
    if now_ms - tries.last_at_ms >= rule.quiet_ms:
        tries = replace(tries, count=0)
    count = tries.count + 1
    past = count - rule.free
    delay_ms = 0 if past < 0 else min(rule.longest_ms, rule.first_ms * 2 ** min(past, 20))
    return Tries(count, now_ms, now_ms + delay_ms, tries.version + 1)


def forgive(tries: Tries) -> Tries:
    """Return the counter after a try that was right."""
    return Tries(0, tries.last_at_ms, 0, tries.version + 1)


def give_back(tries: Tries) -> Tries:
    """Return the counter without its last try, which was right; what others tried stays counted."""
    return replace(tries, count=max(0, tries.count - 1), version=tries.version + 1)


def wait_ms(tries: Tries, now_ms: int) -> int:
    return max(0, tries.next_at_ms - now_ms)
