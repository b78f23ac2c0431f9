"""The minute's function on the embedded EC2: a line, a machine, a host, and EC2's word that it has ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.catalog.model import GpuType
from chalicelib.catalog.service import put_gpu_type, put_price
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.model import Gpu
from chalicelib.fleet.service import enrol_host
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.service import CreateRental, RentalRequest, create_rental
from chalicelib.scaling import functions, service
from chalicelib.scaling.model import Launch, LaunchOption, PoolSettings
from chalicelib.scaling.ports import TAG_PREFIX
from infra.local.cloud import EmbeddedCloud
from tests.fakes.events import TICK
from tests.fakes.wiring import rewire
from tests.integration.fleet_setup import PRICE, add_renter, beat, become_operator, read_rental
from tests.integration.in_process import forget, wire_to
from tests.integration.test_leases import finish
from tests.integration.waiting import wait_for

#: No other test has hosts there: here time is ahead, and silence is measured by region.
REGION = "eu-west-1"


class Ahead:
    """The clock, some minutes ahead."""

    def __init__(self, clock: Any) -> None:
        self.clock, self.ahead_ms = clock, 0

    def now_ms(self) -> int:
        return int(self.clock.now_ms()) + self.ahead_ms

    def pass_minutes(self, minutes: int) -> None:
        self.ahead_ms += minutes * 60_000


@dataclass
class Scaled:
    """A pool that may buy one kind of machine."""

    gpu_type: str
    settings: PoolSettings
    clock: Ahead
    ec2: Any

    def run(self, minutes: int = 1) -> None:
        for _ in range(minutes):
            self.clock.pass_minutes(1)
            # The deployed schedule works on the same records: it may have been quicker.
            wait_for(_run_once, bool)

    def list_open(self) -> list[Launch]:
        return wiring.scaling_ports().store.list_open(self.settings.pool)

    def list_ended(self) -> list[Launch]:
        return wiring.scaling_ports().store.list_ended(self.settings.pool, 10)

    def list_states(self) -> list[str]:
        filters = [{"Name": f"tag:{TAG_PREFIX}pool", "Values": [self.settings.pool]}]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [each["State"]["Name"] for row in found for each in row["Instances"]]


def _run_once() -> bool:
    try:
        functions.scale_pools(TICK, None)
    except RuntimeError:
        return False
    return True


@pytest.fixture(scope="module")
def ahead(cloud: EmbeddedCloud) -> Iterator[tuple[Principal, Ahead]]:
    with wire_to(cloud), pytest.MonkeyPatch.context() as patch:
        # As its own function has it.
        patch.setenv("PUBLIC_API_URL", cloud.api_url)
        forget()
        clock = Ahead(wiring.clock())
        rewire(patch, clock=clock)
        yield become_operator(), clock


def build_pool(cloud: EmbeddedCloud, ahead: tuple[Principal, Ahead], gpu_type: str) -> Scaled:
    operator, clock = ahead
    put_gpu_type(wiring.catalog_ports(), operator, GpuType(gpu_type, "Hopper", 81_559, 700))
    put_price(
        wiring.catalog_ports(),
        operator,
        gpu_type=gpu_type,
        region=REGION,
        price_micros_per_gpu_hour=PRICE,
        known_regions=wiring.known_regions(),
    )
    wiring.cached_catalog().get(fresh=True)
    ec2 = wiring.aws_client("ec2", REGION)
    data = {"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
    template = ec2.create_launch_template(LaunchTemplateName=gpu_type, LaunchTemplateData=data)
    template_id = template["LaunchTemplate"]["LaunchTemplateId"]
    option = LaunchOption("a-on-demand", "p5.48xlarge", 2, f"{REGION}a", "on_demand", template_id, 40_000_000)
    settings = PoolSettings(gpu_type, REGION, 0, 2, 0, 300, (option,))
    service.put_pool(wiring.scaling_ports(), operator, settings)
    return Scaled(gpu_type, settings, clock, ec2)


def wait_in_line(renter: Principal, pool: Scaled) -> str:
    request = RentalRequest(pool.gpu_type, 2, REGION, Workload(("true",)))
    command = CreateRental(request, pool.gpu_type, "body", lambda rentals: rentals[0].rental_id)
    rental_id = create_rental(wiring.rental_ports(), renter, command).body
    assert read_rental(rental_id).state == "queued"
    return rental_id


def boot(pool: Scaled, launch: Launch) -> None:
    """What the machine's agent does with the token of its user data."""
    token = wiring.scaling_ports().hosts.build_token(launch.launch_id)
    listed = [Gpu(f"GPU-{launch.instance_id}-{n}", f"0:{n}", pool.gpu_type, 81_559) for n in range(2)]
    install_id = str(launch.instance_id)
    enrol_host(wiring.fleet_ports(), token, install_id=install_id, agent_version="0.1.0", gpus=listed)


def test_a_line_buys_a_machine_that_serves_it_and_ends_when_nobody_wants_it(
    cloud: EmbeddedCloud, ahead: tuple[Principal, Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = build_pool(cloud, ahead, "scaled")
    renter = add_renter(ahead[0])
    rental_id = wait_in_line(renter, pool)
    pool.run(2)
    (launch,) = pool.list_open()
    assert (launch.state, pool.list_states()) == ("launching", ["running"])

    boot(pool, launch)
    beat(launch.host_id)
    pool.run()
    assert [each.state for each in pool.list_open()] == ["running"]
    beat(launch.host_id)
    dispatch_pool(wiring.rental_ports(), pool.settings.pool)
    assert read_rental(rental_id).host_id == launch.host_id

    # A list that is empty while a machine should run says nothing: it is neither ended nor bought again.
    pool.run(6)
    with monkeypatch.context() as emptied:
        emptied.setattr(type(wiring.instances()), "list_instances", lambda *_: [])
        pool.run(2)
    assert ([each.state for each in pool.list_open()], pool.list_states()) == (["running"], ["running"])

    finish(read_rental(rental_id))
    pool.run(20)
    assert (pool.list_open(), pool.list_states()) == ([], ["terminated"])
    (ended,) = pool.list_ended()
    assert (ended.state, ended.last_error) == ("terminated", None)
    host = wiring.fleet_ports().store.get_host(launch.host_id)
    assert host is not None
    assert host.state == "retired"


def test_a_machine_that_never_becomes_a_host_is_ended_and_said_so(
    cloud: EmbeddedCloud, ahead: tuple[Principal, Ahead]
) -> None:
    pool = build_pool(cloud, ahead, "unborn")
    wait_in_line(add_renter(ahead[0]), pool)
    pool.run(2)
    (launch,) = pool.list_open()
    pool.clock.pass_minutes(30)
    pool.run(2)
    assert [(each.launch_id, each.last_error) for each in pool.list_ended()] == [
        (launch.launch_id, "never_enrolled")
    ]
    # Who waits still does: another machine is on its way.
    assert [each.state for each in pool.list_open()] == ["launching"]
    assert sorted(pool.list_states()) == ["running", "terminated"]
