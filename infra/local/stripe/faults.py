"""Faults that a test asks for, each met by the next requests that match."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "latency",
    "cut_before",
    "cut_after",
    "error_before",
    "error_after",
    "rate_limited",
    "conflict",
    "forbidden",
]
KINDS = get_args(Kind)


@dataclass(slots=True)
class Fault:
    """One fault. Before and after: the effect did not happen, or did. ``seconds`` is of latency alone.

    ``method`` and ``path`` are whole-match patterns; ``times`` is how many requests it still meets.
    """

    kind: Kind
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault is one of {', '.join(KINDS)}")


class Faults:
    """The faults that wait. The caller holds the lock."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def plan(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, method: str, path: str) -> list[Fault]:
        """Return the faults that this request meets: all its latencies and the first of the others."""
        met: list[Fault] = []
        for fault in self._waiting:
            taken = fault.kind != "latency" and any(one.kind != "latency" for one in met)
            if not taken and re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path):
                fault.times -= 1
                met.append(fault)
        self._waiting = [fault for fault in self._waiting if fault.times > 0]
        return met
