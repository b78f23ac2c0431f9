"""Every attribute of every table: what it is of a person, why it is there, what export and erasure do.

One `Row` to an item's model (`chalicelib.storage.tables`), by the names that attributes have in the table.
Keys (``pk``, ``sk``) are of opaque ids and stand in no row.
"""

from collections.abc import Iterator

from chalicelib.privacy.customer_rows import CUSTOMER_ROWS
from chalicelib.privacy.fields import Row
from chalicelib.privacy.machine_rows import MACHINE_ROWS
from chalicelib.privacy.people_rows import PEOPLE_ROWS

ROWS: tuple[Row, ...] = CUSTOMER_ROWS + PEOPLE_ROWS + MACHINE_ROWS


def find_row(item: str) -> Row:
    return next(row for row in ROWS if row.item == item)


def list_owned() -> Iterator[Row]:
    """What an account owns, in the order in which it is exported and erased."""
    return (row for row in ROWS if row.owned)
