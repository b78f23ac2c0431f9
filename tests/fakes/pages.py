"""What a listing has after a key, in the order that is asked for."""


def cut_page(rows, start, name, *, oldest_first):
    """Return the rows behind ``start``; ``name`` gives the key of one."""
    ordered = sorted(rows, key=name, reverse=not oldest_first)
    if start is None:
        return ordered
    return [row for row in ordered if (name(row) > start if oldest_first else name(row) < start)]
