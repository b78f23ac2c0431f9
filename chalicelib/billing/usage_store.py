"""Months of accounts' books in DynamoDB: three partitions for the days of each, one for all else.

An item a stay and UTC day, and one for each journal of another kind.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from chalicelib.billing.model import Entry
from chalicelib.billing.ports import UsageLine
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys, usage_keys
from chalicelib.storage.tables.ledger import EntryItem, UsageItem
from chalicelib.storage.transaction import dynamo, unexpected

_Row = dict[str, dict[str, str]]
HOURS = range(24)
#: More would wait for each other longer than a read may take, where one process serves all tables.
_AT_ONCE = 2
_WITHOUT_HOURS = ["sk", "facts", "label", "seconds", "micros", "promo_micros", "overrun_micros"]


class DynamoUsageStore:
    def add_usage(self, tx: Transaction, line: UsageLine) -> None:
        # Plain additions are safe here alone: the journal in the same transaction makes them once only.
        actions: list[Action] = [
            UsageItem.facts.set([line.gpu_type, line.gpu_count, line.region, line.price_micros_per_gpu_hour]),
            UsageItem.seconds.add(line.seconds),
            UsageItem.micros.add(line.micros),
        ]
        if line.promo_micros:
            actions.append(UsageItem.promo_micros.add(line.promo_micros))
        if line.overrun_micros:
            actions.append(UsageItem.overrun_micros.add(line.overrun_micros))
        if line.label is not None:
            actions.append(UsageItem.label.set(line.label))
        for hour, seconds, micros in line.hours:
            actions.append(Path(f"h{hour}s").add(seconds))
            actions.append(Path(f"h{hour}m").add(micros))
        key = (
            usage_keys.third(line.account_id, line.month, line.day),
            usage_keys.line(line.day, line.rental_id, line.segment),
        )
        dynamo(tx).update(UsageItem, key, actions, None, unexpected("The usage"))

    def add_entry(self, tx: Transaction, entry: Entry) -> None:
        row = EntryItem(
            usage_keys.entries(entry.account_id, entry.month),
            keys.entry(entry.leg_version),
            facts={
                "journal_key": entry.journal_key,
                "kind": entry.kind,
                "posted_at_ms": entry.posted_at_ms,
                "paid_micros": entry.paid_micros,
                "promo_micros": entry.promo_micros,
                "details": dict(entry.details),
            },
        )
        dynamo(tx).put(row, EntryItem.pk.does_not_exist(), unexpected("The account"))

    def list_usage(self, account_id: str, month: str, first_day: str, last_day: str) -> Iterator[UsageLine]:
        thirds = usage_keys.list_thirds(account_id, month, first_day, last_day)
        for row in _query(thirds, UsageItem.sk.between(first_day, f"{last_day}~")):
            yield _read_line(account_id, month, row, _read_hours(row))

    def list_month(self, account_id: str, month: str) -> Iterator[UsageLine | Entry]:
        thirds = usage_keys.list_thirds(account_id, month)
        for row in _query([*thirds, usage_keys.entries(account_id, month)], names=_WITHOUT_HOURS):
            is_entry = row["sk"]["S"].startswith(keys.ENTRY_PREFIX)
            yield _read_entry(account_id, month, row) if is_entry else _read_line(account_id, month, row, ())


def _query(
    partitions: Sequence[str], condition: Condition | None = None, names: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield rows in the order of ``partitions``: a model for each of 10,000 lines costs more than the query.

    A page is on its way while one is read, and another behind it.
    """
    connection = UsageItem._get_connection()  # noqa: SLF001

    def ask(partition: str, start: Any = None) -> Any:
        return connection.query(
            partition,
            range_key_condition=condition,
            attributes_to_get=names,
            exclusive_start_key=start,
            consistent_read=True,
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for partition, coming in [(each, pool.submit(ask, each)) for each in partitions]:
            page: Future[Any] | None = coming
            while page is not None:
                answer = page.result()
                start = answer.get("LastEvaluatedKey")
                page = pool.submit(ask, partition, start) if start else None
                yield from answer["Items"]


def _read_entry(account_id: str, month: str, row: dict[str, Any]) -> Entry:
    version = keys.read_entry(row["sk"]["S"])
    return Entry(account_id, month, version, **json.loads(row["facts"]["S"]))


def _read_hours(row: _Row) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (hour, int(row[f"h{hour}s"]["N"]), int(row[f"h{hour}m"]["N"])) for hour in HOURS if f"h{hour}s" in row
    )


@lru_cache(1024)
def _read_facts(text: str) -> tuple[str, int, str, int]:
    """All days of a stay have the same: its GPU type, GPU count, region and price."""
    gpu_type, gpu_count, region, price_micros_per_gpu_hour = json.loads(text)
    return gpu_type, gpu_count, region, price_micros_per_gpu_hour


def _read_line(account_id: str, month: str, row: _Row, hours: tuple[tuple[int, int, int], ...]) -> UsageLine:
    day, rental_id, segment = usage_keys.read_line(row["sk"]["S"])
    gpu_type, gpu_count, region, price_micros_per_gpu_hour = _read_facts(row["facts"]["S"])
    return UsageLine(
        account_id=account_id,
        month=month,
        day=day,
        rental_id=rental_id,
        segment=segment,
        gpu_type=gpu_type,
        gpu_count=gpu_count,
        region=region,
        label=row["label"]["S"] if "label" in row else None,
        price_micros_per_gpu_hour=price_micros_per_gpu_hour,
        seconds=int(row["seconds"]["N"]),
        micros=int(row["micros"]["N"]),
        promo_micros=int(row["promo_micros"]["N"]) if "promo_micros" in row else 0,
        overrun_micros=int(row["overrun_micros"]["N"]) if "overrun_micros" in row else 0,
        hours=hours,
    )
