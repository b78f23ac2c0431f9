"""Hosts, renters and credit through the services on the real stores."""

import uuid

from chalicelib import wiring
from chalicelib.accounts.service import authenticate, bootstrap_installation, create_account, create_key
from chalicelib.billing.crediting import GrantCredit, grant_credit
from chalicelib.catalog.model import GpuType
from chalicelib.catalog.service import put_gpu_type, put_price
from chalicelib.core.capacity import BillingClass
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.detector import watch_as
from chalicelib.fleet.model import Gpu, Host, Liveness
from chalicelib.fleet.service import create_enrolment, enrol_host
from chalicelib.rentals.model import Rental
from chalicelib.rentals.service import Created, CreateRental, RentalRequest, create_rental

REGION = "eu-north-1"
PRICE = 2_490_000


def become_operator() -> Principal:
    token = bootstrap_installation(wiring.account_ports(), currency="USD", rotate=False).operator_key
    if token is None:
        token = bootstrap_installation(wiring.account_ports(), currency="USD", rotate=True).operator_key
    assert token is not None
    return authenticate(wiring.account_ports(), token)


def offer(
    operator: Principal, gpu_type: str, billing_class: BillingClass = "on_demand", price_micros: int = PRICE
) -> None:
    put_gpu_type(wiring.catalog_ports(), operator, GpuType(gpu_type, "Hopper", 81_559, 700))
    put_price(
        wiring.catalog_ports(),
        operator,
        gpu_type=gpu_type,
        region=REGION,
        price_micros_per_gpu_hour=price_micros,
        known_regions=wiring.known_regions(),
        billing_class=billing_class,
    )


def add_host(operator: Principal, gpu_type: str, gpus: int) -> Host:
    catalog = wiring.cached_catalog().get(fresh=True)
    _, token = create_enrolment(wiring.fleet_ports(), operator, catalog, gpu_type=gpu_type, region=REGION)
    install_id = uuid.uuid4().hex
    listed = [Gpu(f"GPU-{install_id}-{index}", f"0:{index}", gpu_type, 81_559) for index in range(gpus)]
    host = enrol_host(
        wiring.fleet_ports(), token, install_id=install_id, agent_version="0.1.0", gpus=listed
    ).host
    beat(host.host_id)
    return host


def beat(host_id: str) -> None:
    liveness = Liveness(wiring.clock().now_ms(), "boot", "0.1.0", 8, 0, 0)
    store = wiring.rental_ports().fleet
    before = store.get_liveness(host_id)
    store.record_liveness(host_id, watch_as(liveness, store.get_host(host_id), before), before)


def add_renter(operator: Principal, credit_micros: int = 10**10) -> Principal:
    account = create_account(wiring.account_ports(), operator, name="renter", currency="USD")
    key = create_key(wiring.account_ports(), operator, account.account_id, label="test")
    command = GrantCredit(
        account_id=account.account_id,
        amount_micros=credit_micros,
        reason="test credit",
        idempotency_key=account.account_id,
        fingerprint="test",
        render=lambda balance: str(balance.available_micros),
    )
    grant_credit(wiring.billing_ports(), operator, command, wiring.account_exists)
    return authenticate(wiring.account_ports(), key.token)


def rent(renter: Principal, gpu_type: str, gpu_count: int, key: str) -> Created:
    request = RentalRequest(gpu_type, gpu_count, REGION, Workload(("true",)), waits=False, recovery="fail")
    fingerprint = compute_fingerprint("POST /v1/rentals", gpu_type.encode())
    command = CreateRental(request, key, fingerprint, lambda rentals: rentals[0].rental_id)
    return create_rental(wiring.rental_ports(), renter, command)


def read_rental(rental_id: str) -> Rental:
    found = wiring.rental_ports().store.get_rental(rental_id)
    assert found is not None
    return found
