"""Deaths at every call that leaves the process: to the database, to a queue, to Stripe.

Every call is a crash point of its own, once before it was sent and once when it had been answered.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import stripe

from chalicelib import wiring
from chalicelib.billing.posting import find_balance
from chalicelib.billing.service import check_chain
from chalicelib.storage import keys
from chalicelib.storage.connection import bind
from chalicelib.storage.tables.ledger import JournalItem, LegItem


class Died(BaseException):
    """Not an Exception: no code may catch it and go on."""


@contextmanager
def dying(point: int, *, answered: bool) -> Iterator[list[str]]:
    """Die at the call with this number, counted from 0: before it is sent, or once it was ``answered``."""
    calls: list[str] = []

    def before(name: str) -> None:
        calls.append(name)
        if not answered and len(calls) == point + 1:
            raise Died

    def after(**_: Any) -> None:
        if answered and len(calls) == point + 1:
            raise Died

    def before_aws(model: Any, **_: Any) -> None:
        before(model.name)

    ask_stripe = stripe.RequestsClient.request

    def ask(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        before(f"{method} {url}")
        answer = ask_stripe(self, method, url, *arguments, **named)
        after()
        return answer

    database = bind(wiring.settings().table_prefix, wiring.settings().aws_region).client
    clients = (("dynamodb", database), ("sqs", wiring.sqs_client()))
    for service, client in clients:
        client.meta.events.register(f"before-call.{service}", before_aws)
        client.meta.events.register(f"after-call.{service}", after)
    try:
        with mock.patch.object(stripe.RequestsClient, "request", ask):
            yield calls
    finally:
        for service, client in clients:
            client.meta.events.unregister(f"before-call.{service}", before_aws)
            client.meta.events.unregister(f"after-call.{service}", after)


def enumerate_crashes(prepare: Callable[[], Callable[[], object]], check: Callable[[], None]) -> list[str]:
    """Let the act of ``prepare`` die at each of its calls and run again to its end.

    Return the calls of an act that lived.
    """
    for answered in (False, True):
        point = 0
        while True:
            act = prepare()
            try:
                with dying(point, answered=answered) as calls:
                    act()
            except Died:
                act()
            check()
            if len(calls) <= point:
                break
            point += 1
    return calls


def list_legs(account_id: str) -> list[LegItem]:
    return list(LegItem.query(keys.chain(account_id), consistent_read=True))


def check_account(account_id: str, expected_micros: int, kinds: list[str]) -> None:
    balance = find_balance(wiring.billing_ports(), account_id)
    assert balance.posted_micros == expected_micros
    assert balance.available_micros == balance.posted_micros - balance.held_micros
    assert check_chain(wiring.billing_ports(), account_id) is None
    journals = [
        JournalItem.get(keys.journal_of(leg.journal_key), keys.JOURNAL) for leg in list_legs(account_id)
    ]
    assert [journal.kind for journal in journals] == kinds
    for journal in journals:
        legs = wiring.billing_ports().ledger.read_legs(journal.source, journal.source_id)
        assert len(legs) == len(journal.legs)
        assert sum(leg.amount_micros for leg in legs) == 0
