"""Keys of the table ``oauth``: ``KIND#id`` / ``KIND#id``."""


def record(kind: str, key: str) -> tuple[str, str]:
    """Return both keys of a record; ``key`` is an id, or the digest of a code."""
    return f"{kind}#{key}", f"{kind}#{key}"


def read_id(sort_key: str) -> str:
    """Return the id in a sort key of `record`."""
    return sort_key.partition("#")[2]
