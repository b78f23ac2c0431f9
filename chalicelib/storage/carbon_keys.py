"""Keys of the energy of sites, of grid intensity, removals and reports (see `chalicelib.storage.keys`)."""

BATCH = "BATCH"
FETCHES = "FETCHES"
LATE_SITES = "LATE"
DUE_REPORTS = "DUE"
PROGRESS = "PROGRESS"
#: The hosts of a day are listed under this many index keys.
DAY_SHARDS = 8
_SITE_PREFIX = "SITE#"


def site(host_id: str) -> str:
    """What a host's GPUs used by the hour, whoever had them."""
    return f"{_SITE_PREFIX}{host_id}"


def read_site(key: str) -> str:
    return key.removeprefix(_SITE_PREFIX)


def site_user(account_id: str, rental_id: str, segment: int) -> str:
    """Part of an attribute's name. No id has the sign in it."""
    return f"{account_id}#{rental_id}#{segment}"


def read_site_user(name: str) -> tuple[str, str, int]:
    account_id, rental_id, segment = name.split("#")
    return account_id, rental_id, int(segment)


def site_day(day: str, host_id: str) -> str:
    """Index key: from the id's random tail, so that load spreads evenly."""
    return f"{day}#{sum(host_id[-8:].encode()) % DAY_SHARDS}"


def list_site_days(day: str) -> list[str]:
    return [f"{day}#{shard}" for shard in range(DAY_SHARDS)]


def late_site(host_id: str, day: str) -> str:
    return f"{day}#{host_id}"


def read_late_site(key: str) -> tuple[str, str]:
    """Return host and day."""
    day, _, host_id = key.partition("#")
    return host_id, day


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


def report_energy(owner: str) -> str:
    """The days of an account's stays, or of a site's hosts."""
    return f"ENERGY#{owner}"


def host_day(day: str, host_id: str) -> str:
    return f"{day}#{host_id}"


def stay_day(day: str, host_id: str, rental_id: str, segment: int) -> str:
    return f"{day}#{host_id}#{rental_id}#{segment:06d}"


def reports(owner: str) -> str:
    return f"REPORTS#{owner}"


def report(kind: str, period: str, version: int | None = None) -> str:
    """Sorts by kind, period, version; without one, before every version."""
    return f"{kind}#{period}#" + ("" if version is None else f"{version:06d}")


def due_report(due_at_ms: int, owner: str, period: str) -> str:
    return f"{due_at_ms:013d}#{owner}#{period}"


def read_due_report(key: str) -> tuple[int, str, str]:
    """Return instant, owner and period."""
    due_at_ms, rest = key.split("#", 1)
    owner, _, period = rest.rpartition("#")
    return int(due_at_ms), owner, period
