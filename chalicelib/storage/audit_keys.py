"""Keys of the chains of the audit trail (see `chalicelib.storage.keys`)."""

ENTRY = "ENTRY"
ANCHORS = "ANCHORS"
PROGRESS = "AUDIT"
SWEPT = "SWEPT"
VERIFIED = "VERIFIED"
#: Entries of an hour, and chains that moved, are listed under this many keys.
SHARDS = 4


def shard(account_id: str) -> int:
    return sum(account_id.encode()) % SHARDS


def links(account_id: str) -> str:
    return f"LINKS#{account_id}"


def sequence(number: int) -> str:
    return f"{number:012d}"


def linked_entry(audit_id: str) -> str:
    return f"ENTRY#{audit_id}"


def anchored(account_id: str) -> str:
    return f"ANCHORED#{account_id}"


def moved(number: int) -> str:
    """The chains of a shard that moved."""
    return f"MOVED#{number}"


def hour(hours: int, number: int) -> str:
    """Index key: a shard of the entries of an hour since the epoch."""
    return f"{hours}#{number}"


def read_entry_key(key: str) -> tuple[int, str]:
    """Return instant and id of an entry's sort key."""
    at_ms, _, audit_id = key.partition("#")
    return int(at_ms), audit_id
