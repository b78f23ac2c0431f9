"""What calls to DynamoDB cost, in capacity units, from the items that they touch: as published.

Sources, Amazon DynamoDB Developer Guide: "Item sizes and formats", "Read and write operations" (a strongly
consistent read of 4 KB is a unit, an eventually consistent one half, a write of 1 KB is one), "Transactions:
capacity management" (two writes of each item, those that are only checked too), "Global secondary indexes:
write capacity" (an entry that changes is a write, one whose key changes is two; never doubled).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

#: An item as the API has it: attribute -> {type: value}.
Item = Mapping[str, Mapping[str, Any]]

_READ_BYTES, _WRITE_BYTES = 4096, 1024


def compute_item_bytes(item: Item) -> int:
    """Return the size of an item: its names and values."""
    return sum(len(name.encode()) + _compute_value_bytes(value) for name, value in item.items())


def compute_read_units(items: Iterable[Item], *, consistent: bool) -> float:
    """Return what a GetItem or Query costs that has read ``items``: their sizes together, rounded up once."""
    whole = max(1, -(-sum(map(compute_item_bytes, items)) // _READ_BYTES))
    return float(whole) if consistent else whole / 2


def compute_write_units(before: Item | None, after: Item | None, *, transactional: bool) -> int:
    """Return what writing an item of a table costs: the larger of what was and what is."""
    size = max(compute_item_bytes(item) if item else 0 for item in (before, after))
    return max(1, -(-size // _WRITE_BYTES)) * (2 if transactional else 1)


def compute_index_units(before: Item | None, after: Item | None, key: Sequence[str]) -> int:
    """Return what a change costs an index with all attributes; ``key`` names the index's own key."""
    old, new = (item if item and all(name in item for name in key) else None for item in (before, after))
    if old == new:
        return 0
    if old is not None and new is not None and all(old[name] == new[name] for name in key):
        return compute_write_units(old, new, transactional=False)
    # Taken out under the old key, put in under the new one.
    return sum(
        compute_write_units(each, None, transactional=False) for each in (old, new) if each is not None
    )


def _compute_value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, held),) = value.items()
    return _SIZES[kind](held)


def _compute_number_bytes(number: str) -> int:
    """A byte for two significant digits, and one more; zeros at either end are not kept."""
    digits = number.lstrip("-+0.").replace(".", "").rstrip("0")
    return (len(digits) + 1) // 2 + 1 + number.startswith("-")


#: A map or list takes three bytes and one for each element.
_SIZES: dict[str, Callable[[Any], int]] = {
    "S": lambda held: len(held.encode()),
    "N": _compute_number_bytes,
    "B": len,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "M": lambda held: 3 + len(held) + compute_item_bytes(held),
    "L": lambda held: 3 + sum(1 + _compute_value_bytes(each) for each in held),
    "SS": lambda held: sum(len(each.encode()) for each in held),
    "NS": lambda held: sum(map(_compute_number_bytes, held)),
    "BS": lambda held: sum(map(len, held)),
}
