"""Keys of removals that accounts buy (see `chalicelib.storage.keys`)."""

SETTINGS = "SETTINGS"
PURCHASE_PREFIX = "PURCHASE#"
_REMOVALS_PREFIX = "REMOVALS#"


def removals(account_id: str) -> str:
    """An account's settings and purchases."""
    return f"{_REMOVALS_PREFIX}{account_id}"


def read_removals(key: str) -> str:
    """Return the account of a key of `removals`."""
    return key.removeprefix(_REMOVALS_PREFIX)


def purchase(month: str) -> str:
    """Sorts by month."""
    return f"{PURCHASE_PREFIX}{month}"


def read_purchase(key: str) -> str:
    """Return the month of a key of `purchase`."""
    return key.removeprefix(PURCHASE_PREFIX)
