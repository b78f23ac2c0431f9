"""Keys of the months of accounts' books: lines of days in thirds of a month, beside them all else."""

#: Days of a month that its second and third thirds begin with.
_LATER_THIRDS = ("11", "21")


def third(account_id: str, month: str, day: str) -> str:
    """Where the lines of ``day`` stand that were posted in ``month``: a third of it, as they are many.

    What was posted late is of a day before the month, and stands in its first third.
    """
    number = 1 + sum(day >= f"{month}-{each}" for each in _LATER_THIRDS)
    return f"{entries(account_id, month)}#{number}"


def list_thirds(account_id: str, month: str, first_day: str = "", last_day: str = "~") -> list[str]:
    """Return the keys of `third` for all days from one to another, by day."""
    later = (f"{month}-{each}" for each in _LATER_THIRDS)
    days = [first_day, *(each for each in later if first_day < each <= last_day)]
    return list(dict.fromkeys(third(account_id, month, day) for day in days))


def entries(account_id: str, month: str) -> str:
    """``month`` is ``yyyy-mm``: what was posted in it to an account and is no charge for time."""
    return f"USAGE#{account_id}#{month}"


def line(day: str, rental_id: str, segment: int) -> str:
    return f"{day}#{rental_id}#{segment:04d}"


def read_line(key: str) -> tuple[str, str, int]:
    """Return day, rental and segment of a key of `line`."""
    day, rental_id, segment = key.split("#")
    return day, rental_id, int(segment)
