"""A function that dies at any of its calls to the database: whoever comes next finishes what it began."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.billing.charging import charge_rental
from chalicelib.billing.crediting import (
    GrantCredit,
    ReversePosting,
    expire_grants,
    grant_credit,
    reverse_posting,
)
from chalicelib.billing.ports import UsageLine
from chalicelib.billing.posting import find_balance
from chalicelib.core.money import compute_charge_micros
from chalicelib.core.principal import Principal
from chalicelib.metering.failover import lose_stay
from chalicelib.metering.model import extend
from chalicelib.metering.service import Report, apply_report
from chalicelib.rentals.life import terminate_rental
from infra.local.cloud import EmbeddedCloud
from tests.integration.crashes import check_account, enumerate_crashes
from tests.integration.fleet_setup import (
    PRICE,
    add_host,
    add_renter,
    beat,
    become_operator,
    offer,
    read_rental,
    rent,
)
from tests.integration.in_process import wire_to

CREDIT = 10**9
SECONDS = 40


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


@dataclass
class Stage:
    operator: Any
    gpu_type: str
    host_id: str

    def run(self, account: Any) -> str:
        """Return a rental that has run for `SECONDS` and was not charged yet."""
        beat(self.host_id)
        rental_id = rent(account, self.gpu_type, 1, uuid.uuid4().hex).body
        self.report(rental_id, "running")
        meter = wiring.meter_ports().store.get_meter(rental_id, 1)
        longer = extend(meter, meter.started_at_ms + SECONDS * 1000)
        wiring.meter_ports().store.replace_meter(None, meter, longer)
        return rental_id

    def report(self, rental_id: str, state: str, *, wiped: bool = False) -> None:
        rental = read_rental(rental_id)
        leases = rental.wipe_leases if wiped else rental.leases
        report = Report(rental_id, leases, state, 0, None, wiped)
        apply_report(wiring.meter_ports(), rental.host_id, report, wiring.clock().now_ms())


@pytest.fixture(scope="module")
def stage(wired: None) -> Stage:
    operator = become_operator()
    gpu_type = f"crash-{uuid.uuid4().hex[:8]}"
    offer(operator, gpu_type)
    return Stage(operator, gpu_type, add_host(operator, gpu_type, 8).host_id)


def cost(seconds: int) -> int:
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=1, seconds=seconds)


def test_a_tick_that_dies_at_any_call_charges_once(stage: Stage) -> None:
    current: list[Any] = []

    def prepare() -> Callable[[], None]:
        account = add_renter(stage.operator, CREDIT)
        rental_id = stage.run(account)
        current[:] = [account.account_id, rental_id]
        return lambda: charge_rental(wiring.billing_ports(), rental_id)

    def check() -> None:
        account_id, rental_id = current
        check_account(account_id, CREDIT - cost(SECONDS), ["credit", "usage"])
        # Two lines, and perhaps an account's second month, when midnight passes.
        lines = list_lines(account_id)
        assert sum(each.seconds for each in lines) == SECONDS
        assert sum(each.micros for each in lines) == cost(SECONDS)
        assert read_rental(rental_id).charge_micros == cost(SECONDS)
        end(stage, current)

    assert len(enumerate_crashes(prepare, check)) >= 4


def list_lines(account_id: str) -> list[UsageLine]:
    ports = wiring.billing_ports()
    found = (ports.usage.list_month(account_id, each) for each in ports.months.list_months(account_id, "0"))
    return [each for month in found for each in month if isinstance(each, UsageLine)]


def end(stage: Stage, current: list[Any]) -> None:
    account_id, rental_id = current
    rental = read_rental(rental_id)
    if rental.state == "running":
        renter = Principal(account_id, "renter", "key_test", PERMISSIONS["renter"])
        terminate_rental(wiring.rental_ports(), renter, rental_id)
    if read_rental(rental_id).state == "terminating":
        stage.report(rental_id, "terminated", wiped=True)
    charge_rental(wiring.billing_ports(), rental_id)


def test_the_last_charge_of_a_broken_stay_credits_and_settles_once(stage: Stage) -> None:
    current: list[Any] = []

    def prepare() -> Callable[[], None]:
        account = add_renter(stage.operator, CREDIT)
        rental_id = stage.run(account)
        current[:] = [account.account_id, rental_id]
        rental = read_rental(rental_id)
        lose_stay(wiring.meter_ports(), rental, "host_lost", wiring.clock().now_ms())
        return lambda: charge_rental(wiring.billing_ports(), rental_id)

    def check() -> None:
        account_id, rental_id = current
        check_account(account_id, CREDIT, ["credit", "service_credit", "usage"])
        rental = read_rental(rental_id)
        assert rental.billing_state == "settled"
        assert find_balance(wiring.billing_ports(), account_id).held_micros == 0
        # The host is asked for no wipe by this test: it gives its GPU back by itself.
        stage.report(rental_id, "terminated", wiped=True)

    assert len(enumerate_crashes(prepare, check)) >= 6


def test_a_credit_an_expiry_and_a_reversal_that_die_at_any_call_are_posted_once(stage: Stage) -> None:
    current: list[Any] = []

    def prepare() -> Callable[[], None]:
        account = add_renter(stage.operator, CREDIT)
        current[:] = [account.account_id]
        now_ms = wiring.clock().now_ms()
        command = GrantCredit(
            account_id=account.account_id,
            amount_micros=500,
            reason="welcome",
            idempotency_key=f"{account.account_id}-promo",
            fingerprint="welcome",
            render=lambda balance: str(balance.posted_micros),
            kind="promo",
            expires_at_ms=now_ms + 60_000,
        )

        def act() -> None:
            ports = wiring.billing_ports()
            grant_credit(ports, stage.operator, command, wiring.account_exists)
            expire_grants(ports, now_ms + 60_000)
            key = f"credit#{stage.operator.account_id}:{account.account_id}"
            reverse_posting(ports, stage.operator, ReversePosting(key, "by mistake"))

        return act

    def check() -> None:
        check_account(current[0], 0, ["credit", "promo_credit", "promo_expired", "reversal"])

    assert len(enumerate_crashes(prepare, check)) >= 8
