"""Keys of grid intensity and of removals (see `chalicelib.storage.keys`)."""

BATCH = "BATCH"
FETCHES = "FETCHES"


def removal(host_id: str, unit_id: str) -> str:
    """The statements of a capture unit."""
    return f"REMOVAL#{host_id}#{unit_id}"


def revision(day: str, number: int) -> str:
    """Sorts by day, then revision."""
    return f"{day}#{number:04d}"


def share(day: str, host_id: str, unit_id: str, number: int) -> str:
    """Sorts by day. No id has the sign in it."""
    return f"{day}#{host_id}#{unit_id}#{number:04d}"


def read_share(key: str) -> tuple[str, str, str, int]:
    """Return day, host, unit and revision of a key of `share`."""
    day, host_id, rest = key.split("#", 2)
    unit_id, _, number = rest.rpartition("#")
    return day, host_id, unit_id, int(number)


def batch(serial: str) -> str:
    return f"BATCH#{serial}"


def certificate(serial: str) -> str:
    return f"CERTIFICATE#{serial}"


def grid_series(provider: str, zone: str, signal: str, accounting: str, kind: str, month: str) -> str:
    """``month`` is ``yyyy-mm``: in which an interval begins, or a forecast was made."""
    return f"GRID#{provider}#{zone}#{signal}#{accounting}#{kind}#{month}"


def grid_interval(from_ms: int, revision: int | None = None) -> str:
    """Sorts by instant, then revision; without one, before every revision of that instant."""
    return f"{from_ms:013d}" if revision is None else f"{from_ms:013d}#{revision:06d}"


def grid_fetch(provider: str, zone: str, signal: str, accounting: str, kind: str) -> str:
    return f"{provider}#{zone}#{signal}#{accounting}#{kind}"
