"""Rentals in DynamoDB. Access: get by id; an account's rentals by ``by_account``, newest first."""

from dataclasses import asdict
from typing import Any, cast

from pynamodb.exceptions import PutError

from chalicelib.core.leases import Lease
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.workloads import Endpoint
from chalicelib.rentals.model import (
    BillingState,
    DesiredState,
    GpuWarning,
    Health,
    Interruption,
    LogExcerpt,
    Reason,
    Rental,
    State,
)
from chalicelib.storage import keys
from chalicelib.storage.tables.rentals import LogItem, RentalItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoRentalStore:
    def get_rental(self, rental_id: str) -> Rental | None:
        try:
            return _read(RentalItem.get(keys.rental(rental_id), keys.RENTAL, consistent_read=True))
        except RentalItem.DoesNotExist:
            return None

    def list_rentals(self, account_id: str, limit: int, start: str | None) -> Page[Rental]:
        condition = RentalItem.created_key < start if start is not None else None
        result = RentalItem.by_account.query(
            account_id, range_key_condition=condition, scan_index_forward=False, limit=limit
        )
        items = [_read(item) for item in result]
        more = result.last_evaluated_key is not None
        next_key = keys.created(items[-1].created_at_ms, items[-1].rental_id) if more else None
        return Page(items, next_key)

    def add_rental(self, tx: Transaction, rental: Rental) -> None:
        item = RentalItem(
            keys.rental(rental.rental_id),
            keys.RENTAL,
            rental_id=rental.rental_id,
            account_id=rental.account_id,
            created_key=keys.created(rental.created_at_ms, rental.rental_id),
            gpu_type=rental.gpu_type,
            region=rental.region,
            host_id=rental.host_id,
            leases=[[lease.gpu_uuid, lease.epoch] for lease in rental.leases],
            price_micros_per_gpu_hour=rental.price_micros_per_gpu_hour,
            currency=rental.currency,
            label=rental.label,
            state=rental.state,
            desired_state=rental.desired_state,
            health=rental.health,
            billing_state=rental.billing_state,
            created_at_ms=rental.created_at_ms,
            billed_seconds=0,
            charge_micros=0,
        )
        dynamo(tx).put(item, RentalItem.pk.does_not_exist(), unexpected("The rental"))

    def replace_rental(self, tx: Transaction, old: Rental, new: Rental) -> None:
        actions: list[Any] = [
            RentalItem.state.set(new.state),
            RentalItem.desired_state.set(new.desired_state),
            RentalItem.health.set(new.health),
            RentalItem.billing_state.set(new.billing_state),
        ]
        facts: tuple[tuple[Any, str | int | None], ...] = (
            (RentalItem.reason, new.reason),
            (RentalItem.running_at_ms, new.running_at_ms),
            (RentalItem.stop_requested_at_ms, new.stop_requested_at_ms),
            (RentalItem.terminated_at_ms, new.terminated_at_ms),
        )
        if new.endpoints != old.endpoints:
            actions.append(RentalItem.endpoints.set([asdict(each) for each in new.endpoints]))
        for attribute, value in facts:
            if value is not None:
                actions.append(attribute.set(value))
        dynamo(tx).update(
            RentalItem,
            (keys.rental(new.rental_id), keys.RENTAL),
            actions,
            RentalItem.state == old.state,
            unexpected("The rental"),
        )

    def replace_messages(self, tx: Transaction, old: Rental, new: Rental) -> None:
        interruption, warnings = new.interruption, new.warnings
        actions: list[Any] = [
            RentalItem.messages_version.set(old.messages_version + 1),
            RentalItem.warnings.set([asdict(warning) for warning in warnings]),
            RentalItem.interruption.remove()
            if interruption is None
            else RentalItem.interruption.set(asdict(interruption)),
        ]
        same = (
            RentalItem.messages_version == old.messages_version
            if old.messages_version
            else RentalItem.messages_version.does_not_exist()
        )
        key = (keys.rental(new.rental_id), keys.RENTAL)
        dynamo(tx).update(RentalItem, key, actions, same, unexpected("The rental"))

    def get_log(self, rental_id: str) -> LogExcerpt | None:
        try:
            item = LogItem.get(keys.rental(rental_id), keys.LOG, consistent_read=True)
        except LogItem.DoesNotExist:
            return None
        return LogExcerpt(item.taken_at_ms, item.text, item.truncated)

    def keep_log(self, rental_id: str, excerpt: LogExcerpt) -> None:
        item = LogItem(
            keys.rental(rental_id),
            keys.LOG,
            taken_at_ms=excerpt.taken_at_ms,
            text=excerpt.text,
            truncated=excerpt.truncated,
        )
        taken: Any = LogItem.taken_at_ms
        try:
            item.save(taken.does_not_exist() | (taken < excerpt.taken_at_ms))
        except PutError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise

    def record_charge(
        self, tx: Transaction, rental_id: str, *, billed_seconds: int, charge_micros: int, settled: bool
    ) -> None:
        actions: list[Any] = [
            RentalItem.billed_seconds.set(billed_seconds),
            RentalItem.charge_micros.set(charge_micros),
        ]
        if settled:
            actions.append(RentalItem.billing_state.set("settled"))
        dynamo(tx).update(
            RentalItem,
            (keys.rental(rental_id), keys.RENTAL),
            actions,
            RentalItem.pk.exists(),
            unexpected("The rental"),
        )


def _read(item: RentalItem) -> Rental:
    return Rental(
        rental_id=item.rental_id,
        account_id=item.account_id,
        gpu_type=item.gpu_type,
        region=item.region,
        host_id=item.host_id,
        leases=tuple(Lease(gpu_uuid, epoch) for gpu_uuid, epoch in item.leases),
        price_micros_per_gpu_hour=item.price_micros_per_gpu_hour,
        currency=item.currency,
        created_at_ms=item.created_at_ms,
        label=item.label,
        state=cast("State", item.state),
        desired_state=cast("DesiredState", item.desired_state),
        health=cast("Health", item.health),
        billing_state=cast("BillingState", item.billing_state),
        reason=cast("Reason | None", item.reason),
        running_at_ms=item.running_at_ms,
        stop_requested_at_ms=item.stop_requested_at_ms,
        terminated_at_ms=item.terminated_at_ms,
        billed_seconds=item.billed_seconds,
        charge_micros=item.charge_micros,
        endpoints=tuple(Endpoint(**each) for each in item.endpoints or []),
        interruption=None if item.interruption is None else Interruption(**item.interruption),
        warnings=tuple(GpuWarning(**warning) for warning in item.warnings or []),
        messages_version=item.messages_version or 0,
    )
