"""Who is asking, and what they may do."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["operator", "renter", "host"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``host_id`` is set for hosts only; ``permissions`` decides every route."""

    account_id: str
    role: Role
    key_id: str
    permissions: frozenset[str]
    host_id: str | None = None
