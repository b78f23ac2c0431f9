"""Lines, spot stays, quotas and spread groups in DynamoDB.

Access: a line's tickets by one query in their order; everything else by key. Counters that parallel calls
share change by arithmetic under a condition.
"""

from collections.abc import Sequence
from typing import Any, cast

from pynamodb.exceptions import UpdateError

from chalicelib.core.capacity import DEFAULT_MAX_GPUS, BillingClass, Quota
from chalicelib.core.errors import DomainError
from chalicelib.core.ports import Transaction
from chalicelib.rentals.ports import LineAhead, SpreadTaken, explain_quota
from chalicelib.rentals.preemption import SpotStay
from chalicelib.rentals.queue import Line, Ticket
from chalicelib.rentals.ramp import Allowance
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.scheduling import LineItem, QuotaItem, SpotStayItem, SpreadItem, TicketItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoSchedulingStore:
    def list_tickets(self, pool: str, limit: int) -> list[Ticket]:
        rows = TicketItem.query(
            keys.line(pool), TicketItem.sk.startswith(keys.TICKET_PREFIX), consistent_read=True, limit=limit
        )
        return [_read_ticket(row) for row in rows]

    def get_line(self, pool: str) -> Line:
        try:
            item = LineItem.get(keys.line(pool), keys.LINE, consistent_read=True)
        except LineItem.DoesNotExist:
            return Line()
        return Line(item.tickets or 0, item.interval_ms, item.last_dispatch_at_ms)

    def count_ahead(self, pool: str, ticket_key: str, limit: int) -> int:
        between = TicketItem.sk.between(keys.TICKET_PREFIX, keys.ticket(ticket_key))
        found = TicketItem.query(
            keys.line(pool), between, consistent_read=True, limit=limit + 1, attributes_to_get=["sk"]
        )
        return sum(row.sk != keys.ticket(ticket_key) for row in found)

    def note_dispatch(self, pool: str, line: Line) -> None:
        told = (
            (LineItem.last_dispatch_at_ms, line.last_dispatch_at_ms),
            (LineItem.interval_ms, line.interval_ms),
        )
        actions: list[Any] = [attribute.set(value) for attribute, value in told if value is not None]
        LineItem(keys.line(pool), keys.LINE).update(actions)

    def mark_preempting(self, ticket: Ticket, until_ms: int) -> None:
        for pool in ticket.pools:
            item = TicketItem(keys.line(pool), keys.ticket(ticket.ticket_key))
            try:
                item.update([TicketItem.preempting_until_ms.set(until_ms)], TicketItem.pk.exists())
            except UpdateError as error:
                if not is_condition_failure(error):
                    raise

    def add_ticket(self, tx: Transaction, ticket: Ticket) -> None:
        for pool in ticket.pools:
            item = TicketItem(
                keys.line(pool),
                keys.ticket(ticket.ticket_key),
                ticket_id=ticket.ticket_id,
                rental_ids=list(ticket.rental_ids),
                account_id=ticket.account_id,
                gpu_type=ticket.gpu_type,
                pools=list(ticket.pools),
                gpu_count=ticket.gpu_count,
                billing_class=ticket.billing_class,
                priority=ticket.priority,
                since_ms=ticket.since_ms,
                max_price_micros_per_gpu_hour=ticket.max_price_micros_per_gpu_hour,
                deadline_at_ms=ticket.deadline_at_ms,
                pinned_host_id=ticket.pinned_host_id,
                fabric_id=ticket.fabric_id,
                preempting_until_ms=ticket.preempting_until_ms,
            )
            dynamo(tx).put(item, TicketItem.pk.does_not_exist(), unexpected("The line"))
            self._count(tx, pool, 1)

    def remove_ticket(self, tx: Transaction, pools: Sequence[str], ticket_key: str) -> None:
        for pool in pools:
            key = (keys.line(pool), keys.ticket(ticket_key))
            dynamo(tx).delete(TicketItem, key, TicketItem.pk.exists(), unexpected("The line"))
            self._count(tx, pool, -1)

    def _count(self, tx: Transaction, pool: str, change: int) -> None:
        # Safe to add: the ticket in the same transaction is written, or removed, once only.
        key = (keys.line(pool), keys.LINE)
        dynamo(tx).update(LineItem, key, [LineItem.tickets.add(change)], None, unexpected("The line"))

    def require_no_line(self, tx: Transaction, pool: str) -> None:
        def ahead(_old: Any) -> DomainError:
            return LineAhead("Others wait for this pool.")

        tickets: Any = LineItem.tickets
        nobody = tickets.does_not_exist() | (tickets <= 0)
        dynamo(tx).check(LineItem, keys.line(pool), keys.LINE, nobody, ahead)

    def list_stays(self, pool: str, limit: int) -> list[SpotStay]:
        rows = SpotStayItem.query(keys.spot_stays(pool), limit=limit)
        return [
            SpotStay(
                row.rental_id, row.host_id, row.gpu_count, row.price_micros_per_gpu_hour, row.started_at_ms
            )
            for row in rows
        ]

    def add_stay(self, tx: Transaction, pool: str, stay: SpotStay) -> None:
        item = SpotStayItem(
            keys.spot_stays(pool),
            keys.spot_stay(stay.host_id, stay.rental_id),
            rental_id=stay.rental_id,
            host_id=stay.host_id,
            gpu_count=stay.gpu_count,
            price_micros_per_gpu_hour=stay.price_micros_per_gpu_hour,
            started_at_ms=stay.started_at_ms,
        )
        dynamo(tx).put(item, SpotStayItem.pk.does_not_exist(), unexpected("The spot stay"))

    def remove_stay(self, tx: Transaction, pool: str, host_id: str, rental_id: str) -> None:
        key = (keys.spot_stays(pool), keys.spot_stay(host_id, rental_id))
        dynamo(tx).delete(SpotStayItem, key, SpotStayItem.pk.exists(), unexpected("The spot stay"))

    def get_quota(self, account_id: str) -> Quota:
        try:
            item = QuotaItem.get(keys.account(account_id), keys.QUOTA, consistent_read=True)
        except QuotaItem.DoesNotExist:
            return Quota(DEFAULT_MAX_GPUS, 0)
        # Before it was written down who set a quota, one of another size than the default was set.
        is_set = bool(item.is_set) or item.max_gpus != DEFAULT_MAX_GPUS
        return Quota(item.max_gpus, item.max_gpus - item.available_gpus, is_set)

    def put_quota(self, tx: Transaction, account_id: str, old: Quota, max_gpus: int) -> None:
        item = QuotaItem(
            keys.account(account_id),
            keys.QUOTA,
            max_gpus=max_gpus,
            available_gpus=max_gpus - old.used_gpus,
            is_set=1,
        )
        same = (QuotaItem.max_gpus == old.max_gpus) & (
            QuotaItem.available_gpus == old.max_gpus - old.used_gpus
        )
        dynamo(tx).put(item, QuotaItem.pk.does_not_exist() | same, unexpected("The quota"))

    def take_quota(
        self, tx: Transaction, account_id: str, gpus: int, allowance: Allowance | None = None
    ) -> None:
        # What of the default quota a new account does not have yet. Whose quota was set has no allowance.
        kept_back = 0 if allowance is None else max(0, DEFAULT_MAX_GPUS - allowance.max_gpus)

        def refuse(old: Any) -> DomainError:
            maximum = (DEFAULT_MAX_GPUS if old is None else old.max_gpus) - kept_back
            available = (DEFAULT_MAX_GPUS if old is None else old.available_gpus) - kept_back
            return explain_quota(maximum, available, gpus, allowance)

        # An account without a record has the default: the first start writes it.
        available: Any = QuotaItem.available_gpus
        condition = available >= gpus + kept_back
        if gpus + kept_back <= DEFAULT_MAX_GPUS:
            condition |= available.does_not_exist()
        actions: list[Any] = [
            available.set((available | DEFAULT_MAX_GPUS) - gpus),
            QuotaItem.max_gpus.set(QuotaItem.max_gpus | DEFAULT_MAX_GPUS),
        ]
        dynamo(tx).update(QuotaItem, (keys.account(account_id), keys.QUOTA), actions, condition, refuse)

    def give_back_quota(self, tx: Transaction, account_id: str, gpus: int) -> None:
        available: Any = QuotaItem.available_gpus
        key = (keys.account(account_id), keys.QUOTA)
        actions: list[Any] = [available.set(available + gpus)]
        dynamo(tx).update(QuotaItem, key, actions, QuotaItem.pk.exists(), unexpected("The quota"))

    def take_spread(self, tx: Transaction, account_id: str, group: str, host_id: str, rental_id: str) -> None:
        def taken(_old: Any) -> DomainError:
            return SpreadTaken("Another rental of the spread group is on this host.")

        item = SpreadItem(keys.spread(account_id, group), keys.host(host_id), rental_id=rental_id)
        dynamo(tx).put(item, SpreadItem.pk.does_not_exist(), taken)

    def give_back_spread(self, tx: Transaction, account_id: str, group: str, host_id: str) -> None:
        key = (keys.spread(account_id, group), keys.host(host_id))
        dynamo(tx).delete(SpreadItem, key, SpreadItem.pk.exists(), unexpected("The spread group"))


def _read_ticket(row: TicketItem) -> Ticket:
    return Ticket(
        ticket_id=row.ticket_id,
        ticket_key=row.sk.removeprefix(keys.TICKET_PREFIX),
        rental_ids=tuple(row.rental_ids),
        account_id=row.account_id,
        gpu_type=row.gpu_type,
        pools=tuple(row.pools),
        gpu_count=row.gpu_count,
        billing_class=cast("BillingClass", row.billing_class),
        priority=row.priority,
        since_ms=row.since_ms,
        max_price_micros_per_gpu_hour=row.max_price_micros_per_gpu_hour,
        deadline_at_ms=row.deadline_at_ms,
        pinned_host_id=row.pinned_host_id,
        fabric_id=row.fabric_id,
        preempting_until_ms=row.preempting_until_ms,
    )
