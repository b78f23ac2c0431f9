"""What stays were billed, in DynamoDB: one item a stay and UTC day, one partition an account and month."""

from collections.abc import Iterator, Sequence
from typing import Any

from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from chalicelib.billing.ports import UsageLine
from chalicelib.billing.rating import UsageHour
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import UsageItem
from chalicelib.storage.transaction import dynamo, unexpected

HOURS = range(24)


class DynamoUsageStore:
    def add_usage(self, tx: Transaction, line: UsageLine, hours: Sequence[UsageHour]) -> None:
        # Plain additions are safe here alone: the journal in the same transaction makes them once only.
        actions: list[Action] = [
            UsageItem.gpu_type.set(line.gpu_type),
            UsageItem.gpu_count.set(line.gpu_count),
            UsageItem.region.set(line.region),
            UsageItem.price_micros_per_gpu_hour.set(line.price_micros_per_gpu_hour),
            UsageItem.seconds.add(sum(each.seconds for each in hours)),
            UsageItem.micros.add(sum(each.micros for each in hours)),
        ]
        if line.label is not None:
            actions.append(UsageItem.label.set(line.label))
        for each in hours:
            actions.append(Path(f"h{each.hour}s").add(each.seconds))
            actions.append(Path(f"h{each.hour}m").add(each.micros))
        key = (
            keys.usage(line.account_id, line.day[:7]),
            keys.usage_line(line.day, line.rental_id, line.segment),
        )
        dynamo(tx).update(UsageItem, key, actions, None, unexpected("The usage"))

    def list_usage(self, account_id: str, first_day: str, last_day: str) -> Iterator[UsageLine]:
        connection = UsageItem._get_connection()  # noqa: SLF001
        start: Any = None
        while True:
            # As it comes: a model for each of 10,000 lines costs more than the query.
            answer = connection.query(
                keys.usage(account_id, first_day[:7]),
                range_key_condition=UsageItem.sk.between(first_day, f"{last_day}~"),
                exclusive_start_key=start,
                consistent_read=True,
            )
            for row in answer["Items"]:
                yield _read(account_id, row)
            start = answer.get("LastEvaluatedKey")
            if not start:
                return


def _read(account_id: str, row: dict[str, dict[str, str]]) -> UsageLine:
    day, rental_id, segment = keys.read_usage_line(row["sk"]["S"])
    hours = [
        (hour, int(row[f"h{hour}s"]["N"]), int(row[f"h{hour}m"]["N"])) for hour in HOURS if f"h{hour}s" in row
    ]
    return UsageLine(
        account_id=account_id,
        day=day,
        rental_id=rental_id,
        segment=segment,
        gpu_type=row["gpu_type"]["S"],
        gpu_count=int(row["gpu_count"]["N"]),
        region=row["region"]["S"],
        label=row["label"]["S"] if "label" in row else None,
        price_micros_per_gpu_hour=int(row["price_micros_per_gpu_hour"]["N"]),
        seconds=int(row["seconds"]["N"]),
        micros=int(row["micros"]["N"]),
        hours=tuple(hours),
    )
