"""Balances and holds as DynamoDB has them: each charge reads one of each, too often for a model of each."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.billing.model import CHAIN_START, Balance, Grant, Hold
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BalancesTable

Row = Mapping[str, Mapping[str, Any]]


def get_row(account_id: str, sk: str) -> Row | None:
    """Return an item of the account's wallet, read consistently."""
    connection = BalancesTable._get_connection()  # noqa: SLF001
    found: Row | None = connection.get_item(keys.account(account_id), sk, consistent_read=True).get("Item")
    return found


def read_balance(account_id: str, row: Row) -> Balance:
    """Raises KeyError: an attribute that every balance has is not there."""
    return Balance(
        account_id,
        row["currency"]["S"],
        int(row["posted_micros"]["N"]),
        int(row["held_micros"]["N"]),
        int(row["available_micros"]["N"]),
        read_number(row, "leg_version") or 0,
        row["chain_hash"]["S"] if "chain_hash" in row else CHAIN_START,
        tuple(Grant(*each) for each in json.loads(row["grants"]["S"])) if "grants" in row else (),
        int(row["burn_micros_per_hour"]["N"]),
        read_number(row, "spend_limit_micros_per_hour"),
        read_number(row, "alert_level") or 0,
        row["month"]["S"] if "month" in row else "",
        read_number(row, "exhausted_at_ms"),
        read_number(row, "paid_since_ms"),
    )


def read_hold(hold_id: str, row: Row) -> Hold:
    """Raises KeyError: an attribute that every hold has is not there."""
    return Hold(
        hold_id,
        int(row["amount_micros"]["N"]),
        row["state"]["S"],
        int(row["rate_micros_per_hour"]["N"]),
        row["rental_id"]["S"],
        row["gpu_type"]["S"],
        row["label"]["S"] if "label" in row else None,
        int(row["captured_micros"]["N"]),
        tuple(json.loads(row["budget_ids"]["S"])) if "budget_ids" in row else (),
    )


def read_number(row: Row, name: str) -> int | None:
    return int(row[name]["N"]) if name in row else None
