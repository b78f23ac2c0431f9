"""What a renter has: rentals, reservations, meters, money, and what an offer may promise."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.core.principal import Principal
from chalicelib.wiring.accounts import standings
from chalicelib.wiring.catalog import cached_catalog, catalog_ports
from chalicelib.wiring.fleet import capacity_reader, fleet_store, watch_store
from chalicelib.wiring.system import bind_tables, clock, ids, settings, sqs_client, start_transaction
from chalicelib.wiring.webhooks import webhook_store

if TYPE_CHECKING:
    from chalicelib.billing.ports import BillingPorts
    from chalicelib.catalog.offers import AccountStanding, OfferPorts
    from chalicelib.metering.ports import MeterPorts
    from chalicelib.rentals.ports import RentalPorts
    from chalicelib.reservations.ports import ReservationPorts


@cache
def rental_ports() -> "RentalPorts":
    from chalicelib.billing.wallet_store import DynamoWalletStore
    from chalicelib.carbon.shifting import ForecastPlanner
    from chalicelib.carbon.store import DynamoIntensityStore
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.organisations.store import DynamoOrganisationStore
    from chalicelib.rentals.ports import RentalPorts
    from chalicelib.rentals.ramp import RAMP
    from chalicelib.rentals.scheduling_store import DynamoSchedulingStore
    from chalicelib.rentals.store import DynamoRentalStore
    from chalicelib.reservations.store import DynamoReservationStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return RentalPorts(
        store=DynamoRentalStore(),
        scheduling=DynamoSchedulingStore(),
        reservations=DynamoReservationStore(),
        fleet=fleet_store(),
        catalog=catalog_ports().store,
        cached_catalog=cached_catalog(),
        wallets=DynamoWalletStore(),
        standings=standings(),
        planner=ForecastPlanner(DynamoIntensityStore()),
        idempotency=DynamoIdempotencyStore(),
        projects=DynamoOrganisationStore(),
        audit=DynamoAuditTrail(),
        outbox=webhook_store(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        currency=settings().currency,
        ramp=RAMP if settings().new_account_ramp else (),
    )


@cache
def reservation_ports() -> "ReservationPorts":
    from chalicelib.billing.deposits import ReservationDeposits
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.reservations.ports import ReservationPorts
    from chalicelib.reservations.store import DynamoReservationStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return ReservationPorts(
        store=DynamoReservationStore(),
        fleet=fleet_store(),
        catalog=catalog_ports().store,
        cached_catalog=cached_catalog(),
        idempotency=DynamoIdempotencyStore(),
        audit=DynamoAuditTrail(),
        incidents=watch_store(),
        deposits=ReservationDeposits(billing_ports()),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        currency=settings().currency,
    )


def keep_for_reservations(principal: Principal, host_id: str, *, reservable: bool) -> None:
    """For the fleet's routes, which know nothing of reservations."""
    from chalicelib.reservations.hosts import make_reservable, make_shared

    change = make_reservable if reservable else make_shared
    change(reservation_ports(), principal, host_id)


@cache
def meter_ports() -> "MeterPorts":
    from chalicelib.billing.queue_gateway import SqsChargeQueue
    from chalicelib.metering.ports import MeterPorts
    from chalicelib.metering.store import DynamoMeterStore

    charges = SqsChargeQueue(sqs_client(), settings().charges_queue_url)
    return MeterPorts(DynamoMeterStore(), rental_ports(), charges)


@cache
def billing_ports() -> "BillingPorts":
    from chalicelib.billing.budget_store import DynamoBudgetStore
    from chalicelib.billing.month_store import DynamoMonthStore
    from chalicelib.billing.ports import BillingPorts
    from chalicelib.billing.store import DynamoLedgerStore
    from chalicelib.billing.usage_store import DynamoUsageStore
    from chalicelib.billing.wallet_store import DynamoWalletStore

    meters = meter_ports()
    return BillingPorts(
        DynamoLedgerStore(),
        DynamoWalletStore(),
        DynamoBudgetStore(),
        DynamoUsageStore(),
        DynamoMonthStore(),
        meters.store,
        meters.rentals,
        meters.charges,
    )


def give_up_wipes(host_id: str, rental_ids: Sequence[str]) -> None:
    """End the stays whose wipe an operator has given up."""
    from chalicelib.metering.failover import give_up_wipes as give_up

    give_up(meter_ports(), host_id, rental_ids, clock().now_ms())


def read_standing(account_id: str) -> "AccountStanding":
    """What an account may still take."""
    from chalicelib.billing.wallet_store import DynamoWalletStore
    from chalicelib.catalog.offers import AccountStanding
    from chalicelib.rentals.allowances import read_quota

    bind_tables()
    balance = DynamoWalletStore().get_balance(account_id)
    quota, _ = read_quota(rental_ports(), account_id)
    return AccountStanding(quota.available_gpus, 0 if balance is None else balance.available_micros)


def offer_ports() -> "OfferPorts":
    from chalicelib.carbon.grid import read_intensity
    from chalicelib.catalog.offers import OfferPorts
    from chalicelib.rentals.model import RUNWAY_SECONDS

    return OfferPorts(capacity_reader(), read_standing, read_intensity, RUNWAY_SECONDS)
