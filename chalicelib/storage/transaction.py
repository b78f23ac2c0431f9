"""One `TransactWriteItems`, built by several stores and committed once by a use case.

Invariants: all writes or none; a failed condition is read by the store that set it; a conflict or throttle
is retried with the same token, boundedly and with jitter; a lost reply is answered by the same token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError
from pynamodb.connection import Connection
from pynamodb.exceptions import CancellationReason, TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from chalicelib.core.errors import DomainError, TooMuchAtOnce, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.storage.failures import find_code

M = TypeVar("M", bound=Model)
#: Turns the item that stood in the way (``None``: there was none) into the error to raise.
OnFailure = Callable[[Any], DomainError]

MAX_ATTEMPTS = 6
#: Of one transaction. Source: Amazon DynamoDB, TransactWriteItems.
MAX_ITEMS = 100
_RETRYABLE = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_RETRYABLE_CALLS = frozenset(
    {
        "TransactionInProgressException",
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "InternalServerError",
        "RequestLimitExceeded",
    }
)


@dataclass(frozen=True, slots=True)
class _Write:
    model: type[Model]
    add: Callable[[TransactWrite], None]
    on_failure: OnFailure


@dataclass(frozen=True, slots=True)
class Retry:
    """Waits between attempts; injected so that tests neither sleep nor draw random numbers."""

    sleep_seconds: Callable[[float], None]
    draw_fraction: Callable[[], float]

    def wait(self, attempt: int) -> None:
        self.sleep_seconds(min(0.4, 0.01 * 2**attempt) * self.draw_fraction())


@dataclass(slots=True)
class DynamoTransaction:
    """`chalicelib.core.ports.Transaction` on DynamoDB. Use once."""

    connection: Connection
    token: str
    retry: Retry
    # TransactWrite sends checks, deletes, puts and updates in this order; reasons come back in it too.
    _checks: list[_Write] = field(default_factory=list)
    _deletes: list[_Write] = field(default_factory=list)
    _puts: list[_Write] = field(default_factory=list)
    _updates: list[_Write] = field(default_factory=list)

    def check(
        self, model: type[Model], pk: str, sk: str, condition: Condition, on_failure: OnFailure
    ) -> None:
        """Require ``condition`` of an item that this transaction does not write."""

        def add(write: TransactWrite) -> None:
            write.condition_check(model, pk, sk, condition)

        self._checks.append(_Write(model, add, on_failure))

    def delete(
        self, model: type[Model], key: tuple[str, str], condition: Condition | None, on_failure: OnFailure
    ) -> None:
        def add(write: TransactWrite) -> None:
            write.delete(model(*key), condition)

        self._deletes.append(_Write(model, add, on_failure))

    def put(self, item: Model, condition: Condition | None, on_failure: OnFailure) -> None:
        def add(write: TransactWrite) -> None:
            write.save(item, condition, return_values="ALL_OLD")

        self._puts.append(_Write(type(item), add, on_failure))

    def update(
        self,
        model: type[Model],
        key: tuple[str, str],
        actions: Sequence[Action],
        condition: Condition | None,
        on_failure: OnFailure,
    ) -> None:
        def add(write: TransactWrite) -> None:
            write.update(model(*key), list(actions), condition, return_values="ALL_OLD")

        self._updates.append(_Write(model, add, on_failure))

    def commit(self) -> None:
        """Raises DomainError: as the failed write asked, or ``Unavailable`` when attempts ran out.

        Raises:
            TooMuchAtOnce: more items than DynamoDB takes; nothing was written.
        """
        writes = [*self._checks, *self._deletes, *self._puts, *self._updates]
        if len(writes) > MAX_ITEMS:
            raise TooMuchAtOnce(f"This touches {len(writes)} records at once, and {MAX_ITEMS} is the most.")
        for attempt in range(MAX_ATTEMPTS):
            try:
                with TransactWrite(connection=self.connection, client_request_token=self.token) as write:
                    for each in writes:
                        each.add(write)
            except TransactWriteError as error:
                failure = _read_failure(error, writes)
                if failure is not None:
                    raise failure from error
                self.retry.wait(attempt)
            else:
                return
        raise Unavailable("Too much contention on the same records; try again.")


def _read_failure(error: TransactWriteError, writes: Sequence[_Write]) -> DomainError | None:
    """Return what to raise, or ``None`` to try again. Anything unexpected is raised as it is."""
    reasons: Sequence[CancellationReason | None] = error.cancellation_reasons or []
    for write, reason in zip(writes, reasons, strict=False):
        if reason is not None and reason.code == "ConditionalCheckFailed":
            old = write.model.from_raw_data(reason.raw_item) if reason.raw_item else None
            return write.on_failure(old)
    codes = {reason.code for reason in reasons if reason is not None}
    if codes and codes <= _RETRYABLE:
        return None
    if isinstance(error.cause, BotoCoreError) or find_code(error) in _RETRYABLE_CALLS:
        # A lost reply leaves the outcome unknown: the same token makes the next attempt the same attempt.
        return None
    raise error


def dynamo(tx: Transaction) -> DynamoTransaction:
    """Stores of this package can only add to a transaction of this package."""
    assert isinstance(tx, DynamoTransaction), f"{type(tx).__name__} is not a DynamoDB transaction"
    return tx


def unexpected(what: str) -> OnFailure:
    """For conditions that only contention can break: the caller may try again."""

    def fail(_old: Any) -> DomainError:
        return Unavailable(f"{what} changed at the same time; try again.")

    return fail
