"""A cloud whose pool scales by itself: EC2, fleet, rentals and clock in memory, the adapters as they are."""

from dataclasses import dataclass, field, replace
from functools import partial

from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import DomainError
from chalicelib.fleet.model import Gpu, Host
from chalicelib.fleet.service import enrol_host
from chalicelib.metering.failover import fail_over_host
from chalicelib.rentals.model import Rental
from chalicelib.reservations.upkeep import count_starting
from chalicelib.scaling import service
from chalicelib.scaling.demands import RentalDemands
from chalicelib.scaling.ec2_gateway import build_user_data
from chalicelib.scaling.fleet_hosts import FleetHosts
from chalicelib.scaling.model import Launch, LaunchOption, PoolSettings
from chalicelib.scaling.ports import Instance, ScalingPorts
from tests.factories import GPU_TYPE, REGION, Seeded, rent, seed_cloud
from tests.fakes.instances import FakeInstances
from tests.fakes.scaling import FakeScalingStore

POOL = name_pool(GPU_TYPE, REGION)
INTENSITY = 24_710
ON_DEMAND = LaunchOption(
    "a-on-demand", "p5.48xlarge", 8, "eu-north-1a", "on_demand", "lt-0aaaaaaaaaaaaaaaa", 40_000_000
)
OTHER_ZONE = replace(
    ON_DEMAND, name="b-on-demand", availability_zone="eu-north-1b", list_price_micros_per_hour=41_000_000
)
SETTINGS = PoolSettings(
    GPU_TYPE,
    REGION,
    min_hosts=0,
    max_hosts=4,
    warm_gpus=0,
    scale_in_after_seconds=300,
    options=(ON_DEMAND, OTHER_ZONE),
)


@dataclass
class ScalingCloud:
    seeded: Seeded
    ec2: FakeInstances
    ports: ScalingPorts
    store: FakeScalingStore
    reports: list[service.PoolReport] = field(default_factory=list)

    @property
    def now_ms(self) -> int:
        return self.seeded.cloud.clock.now_ms()

    def settings(self) -> PoolSettings:
        found = self.store.get_pool(GPU_TYPE, REGION)
        assert found is not None
        return found

    def put(self, **changes: object) -> None:
        service.put_pool(self.ports, self.seeded.operator, replace(SETTINGS, **changes))

    def run(self) -> service.PoolReport:
        report = service.run_pool(self.ports, self.ec2, self.settings())
        self.reports.append(report)
        return report

    def minutes(self, count: int, *, boots: bool = True) -> None:
        """Run the pool so often, a minute apart; machines boot, agents live, lines are served."""
        for _ in range(count):
            self.seeded.cloud.clock.advance_seconds(60)
            if boots:
                self.boot()
            self.run()

    def boot(self) -> None:
        """Each living machine with a token becomes a host, and says that it lives."""
        for instance in self.ec2.list_alive():
            self.boot_one(instance)
        self.seeded.dispatch()

    def boot_one(self, instance: Instance, gpus: int = 8) -> None:
        if instance.launch_id is None or instance.host_id is None:
            return
        fleet = self.seeded.cloud.fleet
        host = fleet.store.get_host(instance.host_id)
        if host is None:
            listed = [Gpu(f"GPU-{instance.instance_id}-{n}", f"0:{n}", "H100", 81_559) for n in range(gpus)]
            token = self.ports.hosts.build_token(instance.launch_id)
            try:
                enrol_host(fleet, token, install_id=instance.instance_id, agent_version="0.1.0", gpus=listed)
            except DomainError:
                return
        self.seeded.beat(instance.host_id)

    def open(self) -> list[Launch]:
        return self.store.list_open(POOL)

    def ended(self) -> list[Launch]:
        return self.store.list_ended(POOL, 100)

    def host(self, host_id: str) -> Host:
        found = self.seeded.cloud.fleet_store.get_host(host_id)
        assert found is not None
        return found

    def is_busy(self, host_id: str) -> bool:
        gpus = self.seeded.cloud.fleet_store.list_gpus(host_id)
        return any(gpu.lease_state in {"leased", "wiping"} for gpu in gpus)

    def want(self, gpu_count: int, key: str, **wishes: object) -> Rental:
        rental_id = rent(self.seeded, gpu_count, key=key, body=key.encode(), waits=True, **wishes).body
        return self.seeded.rental(rental_id)

    def audited(self) -> list[str]:
        return [entry.action for entry in self.seeded.cloud.db.table("audit").values()]


def build_cloud(*, every_class: bool = False, **changes: object) -> ScalingCloud:
    seeded = seed_cloud(hosts=0, credit_micros=10**12, every_class=every_class)
    cloud = seeded.cloud
    store = FakeScalingStore(cloud.db)
    ports = ScalingPorts(
        store=store,
        hosts=FleetHosts(
            cloud.fleet,
            cloud.bookings,
            lambda host_id, now_ms: fail_over_host(cloud.meters, host_id, "host_lost", now_ms),
            cloud.watch_store.drop_watch,
        ),
        demands=RentalDemands(cloud.rentals, partial(count_starting, cloud.reservations)),
        audit=cloud.audit,
        transactions=cloud.db.begin,
        clock=cloud.clock,
        ids=cloud.ids,
        read_account=lambda: seeded.operator.account_id,
        read_intensity=lambda _region: INTENSITY,
        build_user_data=lambda token, _region: build_user_data(token, "https://api.example/api"),
    )
    made = ScalingCloud(seeded, FakeInstances(cloud.clock), ports, store)
    made.put(**changes)
    return made
