"""A person's data key, as it is kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PersonKey:
    """``wrapped``: the data key as KMS encrypted it; ``None`` once it was destroyed, for ever."""

    user_id: str
    wrapped: bytes | None
    created_at_ms: int
    destroyed_at_ms: int | None = None


class BrokenSeal(Exception):
    """A sealed text was changed, or belongs to another person or field."""
