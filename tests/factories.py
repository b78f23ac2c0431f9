"""A seeded cloud to start tests from: operator, renter with credit, catalogue, hosts that are alive."""

import json
from dataclasses import dataclass
from typing import Any

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import authenticate, bootstrap_installation, create_account, create_key
from chalicelib.billing.charging import charge_rental
from chalicelib.billing.crediting import GrantCredit, grant_credit
from chalicelib.catalog.model import GpuType
from chalicelib.catalog.service import put_gpu_type, put_price
from chalicelib.core.capacity import BILLING_CLASSES, BillingClass, name_pool
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal, Role
from chalicelib.core.workloads import Endpoint, Workload
from chalicelib.fleet.detector import watch_as
from chalicelib.fleet.model import Gpu, Host, Liveness
from chalicelib.fleet.service import create_enrolment, enrol_host
from chalicelib.metering.service import Report, apply_report
from chalicelib.organisations.model import Membership
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.model import Rental
from chalicelib.rentals.service import Created, CreateRental, RentalRequest, create_rental
from tests.fakes import FakeCloud

REGION = "eu-north-1"
GPU_TYPE = "H100-SXM-80GB"
PRICE = 2_490_000
PRICES: dict[BillingClass, int] = {"on_demand": PRICE, "spot": 1_500_000, "reserved": 2_000_000}
CREDIT = 100_000_000


@dataclass
class Seeded:
    cloud: FakeCloud
    operator: Principal
    renter: Principal

    def rental(self, rental_id: str) -> Rental:
        found = self.cloud.rentals.store.get_rental(rental_id)
        assert found is not None
        return found

    def beat(self, host_id: str) -> None:
        heard = Liveness(self.cloud.clock.now_ms(), "boot-1", "0.1.0", 8, 0, 0)
        store = self.cloud.fleet_store
        before = store.get_liveness(host_id)
        store.record_liveness(host_id, watch_as(heard, store.get_host(host_id), before), before)

    def report(
        self,
        rental: Rental,
        state: str,
        *,
        wiped: bool = False,
        ended_at_ms: int | None = None,
        endpoints: tuple[Endpoint, ...] = (),
        preempted: bool = False,
    ) -> None:
        """What the agent of the rental's host would say of its workload now."""
        leases = rental.wipe_leases if state == "terminated" else rental.leases
        report = Report(rental.rental_id, leases, state, 0, ended_at_ms, wiped, endpoints, preempted)
        assert rental.host_id is not None, "no host would speak of it"
        apply_report(self.cloud.meters, rental.host_id, report, self.cloud.clock.now_ms())

    def preempted(self, rental: Rental) -> None:
        """The agent has ended the workload, as was announced."""
        self.report(rental, "exited", preempted=True)

    def dispatch(self, region: str = REGION) -> None:
        dispatch_pool(self.cloud.rentals, name_pool(GPU_TYPE, region))

    def charge_all(self) -> None:
        waiting = self.cloud.charges.waiting
        while waiting:
            charge_rental(self.cloud.billing, waiting[0])
            # As on the queue: deleted once it is done, not when it is taken.
            waiting.pop(0)


def seed_cloud(
    *, hosts: int = 1, gpus: int = 8, credit_micros: int = CREDIT, every_class: bool = False
) -> Seeded:
    cloud = FakeCloud()
    bootstrapped = bootstrap_installation(cloud.accounts, currency="USD", rotate=False)
    assert bootstrapped.operator_key is not None
    operator = authenticate(cloud.accounts, bootstrapped.operator_key)
    put_gpu_type(cloud.catalog, operator, GpuType(GPU_TYPE, "Hopper", 81_559, 700))
    for billing_class in BILLING_CLASSES if every_class else ("on_demand",):
        put_price(
            cloud.catalog,
            operator,
            gpu_type=GPU_TYPE,
            region=REGION,
            price_micros_per_gpu_hour=PRICES[billing_class],
            known_regions=frozenset({REGION}),
            billing_class=billing_class,
        )
    seeded = Seeded(cloud, operator, operator)
    seeded.renter = add_renter(seeded, credit_micros=credit_micros)
    for number in range(hosts):
        host = add_host(seeded, f"machine-{number}", gpus)
        seeded.beat(host.host_id)
    return seeded


def add_person(seeded: Seeded, role: Role, *, account_id: str | None = None) -> Principal:
    """A person who signed in, and is a member of the renter's organisation or another."""
    cloud = seeded.cloud
    account_id, user_id = account_id or seeded.renter.account_id, cloud.ids.new_id("usr")
    tx, now_ms = cloud.db.begin(), cloud.clock.now_ms()
    cloud.organisation_store.add_membership(tx, Membership(account_id, user_id, role, now_ms))
    if role == "owner":
        cloud.organisation_store.count_owner(tx, account_id, 1)
    tx.commit()
    return sign_in(account_id, user_id, role, now_ms)


def sign_in(account_id: str, user_id: str, role: Role, at_ms: int | None = None) -> Principal:
    return Principal(
        account_id,
        role,
        user_id,
        PERMISSIONS[role],
        user_id=user_id,
        session_id="ses_1",
        authenticated_at_ms=at_ms,
    )


def add_renter(seeded: Seeded, *, name: str = "renter", credit_micros: int = CREDIT) -> Principal:
    cloud = seeded.cloud
    account = create_account(cloud.accounts, seeded.operator, name=name, currency="USD")
    key = create_key(cloud.accounts, seeded.operator, account.account_id, label="first")
    if credit_micros:
        give_credit(seeded, account.account_id, credit_micros, key=f"seed-{account.account_id}")
    return authenticate(cloud.accounts, key.token)


def give_credit(seeded: Seeded, account_id: str, amount_micros: int, *, key: str) -> None:
    command = GrantCredit(
        account_id=account_id,
        amount_micros=amount_micros,
        reason="test credit",
        idempotency_key=key,
        fingerprint=compute_fingerprint("credit", str(amount_micros).encode()),
        render=lambda balance: json.dumps({"available_micros": balance.available_micros}),
    )
    grant_credit(seeded.cloud.billing, seeded.operator, command, lambda _account_id: True)


def add_host(
    seeded: Seeded, install_id: str, gpus: int = 8, fabric_id: str | None = None, *, region: str = REGION
) -> Host:
    cloud = seeded.cloud
    _, token = create_enrolment(
        cloud.fleet, seeded.operator, cloud.catalog.store.read_catalog(), gpu_type=GPU_TYPE, region=region
    )
    listed = [
        Gpu(f"GPU-{install_id}-{index}", f"00000000:{index:02X}:00.0", "H100", 81_559)
        for index in range(gpus)
    ]
    return enrol_host(
        cloud.fleet,
        token,
        install_id=install_id,
        agent_version="0.1.0",
        gpus=listed,
        fabric_id=fabric_id,
    ).host


def rent(
    seeded: Seeded,
    gpu_count: int = 2,
    *,
    key: str = "key-1",
    principal: Principal | None = None,
    region: str = REGION,
    max_price: int | None = None,
    body: bytes = b"{}",
    **wishes: Any,
) -> Created:
    asked = {"waits": False, "recovery": "fail", **wishes}
    workload = asked.pop("workload", Workload(("python", "train.py")))
    request = RentalRequest(GPU_TYPE, gpu_count, region, workload, max_price, **asked)
    command = CreateRental(
        request, key, compute_fingerprint("POST /v1/rentals", body), lambda rentals: rentals[0].rental_id
    )
    return create_rental(seeded.cloud.rentals, principal or seeded.renter, command)


def start(seeded: Seeded, gpu_count: int = 2, *, key: str = "key-1", **wishes: Any) -> Rental:
    """A rental whose workload runs since now."""
    rental = seeded.rental(rent(seeded, gpu_count, key=key, **wishes).body)
    seeded.report(rental, "running")
    return seeded.rental(rental.rental_id)
