"""What a caller knows of a thing when it asks for a change of it.

A use case that changes something takes a check and calls it with what it has read, right before it writes
under the condition that this is still what is stored. So what was checked holds at the time of the write.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Raises PreconditionFailed: this is not what the caller knew.
Check = Callable[[T], None]


def accept_any(_found: object) -> None:
    """The caller asks for the change whatever there is."""
