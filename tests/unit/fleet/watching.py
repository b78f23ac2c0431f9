"""Hosts that beat and fall silent under the watch, as tests of it build them."""

from dataclasses import dataclass, field, replace

from chalicelib.core.leases import Lease
from chalicelib.fleet.model import HostCommand, count_closed
from chalicelib.fleet.watch import watch_region
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat
from tests.factories import GPU_TYPE, REGION, add_host, seed_cloud


@dataclass
class Wipes:
    """A failover that takes every lease of a lost host, as the one above does, and remembers who asked."""

    seeded: object
    asked: list = field(default_factory=list)
    broken: set = field(default_factory=set)
    #: How many GPUs one call gets done.
    step: int = 64

    def fail_over_host(self, host_id, reason, now_ms):
        self.asked.append((host_id, reason))
        if host_id in self.broken:
            raise self.broken_error
        cloud = self.seeded.cloud
        leased = [gpu for gpu in cloud.fleet_store.list_gpus(host_id) if gpu.lease_state == "leased"]
        for gpu in leased[: self.step]:
            lease = Lease(gpu.gpu.gpu_uuid, gpu.epoch)
            tx = cloud.db.begin()
            cloud.fleet_store.begin_wipe(tx, host_id, gpu.rental_id, [lease])
            cloud.watch_store.require_lost(tx, host_id)
            command_id = f"stop-{lease.gpu_uuid}-{lease.epoch}"
            stop = HostCommand(command_id, "stop", host_id, gpu.rental_id, (lease.advance(),), now_ms)
            cloud.fleet_store.add_command(tx, stop)
            tx.commit()

    @property
    def broken_error(self):
        from chalicelib.core.errors import Unavailable

        return Unavailable("this host's rentals change all the time")


class Watched:
    """Hosts of four GPUs; ``now`` moves by whole seconds, those in ``up`` beat every ten."""

    def __init__(self, hosts=4):
        self.seeded = seed_cloud(hosts=0)
        self.cloud = self.seeded.cloud
        self.failover = Wipes(self.seeded)
        self.ports = replace(self.cloud.watch, failover=self.failover)
        self.hosts = [add_host(self.seeded, f"machine-{n}", 4).host_id for n in range(hosts)]
        self.up = set(self.hosts)
        self.beat_all()

    def beat(self, host_id, *, sent_at_ms=None, reports=(), draining=False):
        at_ms = self.cloud.clock.now_ms() if sent_at_ms is None else sent_at_ms
        ok = frozenset(gpu.gpu.gpu_uuid for gpu in self.cloud.fleet_store.list_gpus(host_id))
        record_heartbeat(
            self.cloud.meters,
            Beat(host_id, "b", "v", 4, 0, 0, at_ms, reports, draining=draining, ok_gpu_uuids=ok),
        )

    def beat_all(self):
        for host_id in sorted(self.up):
            self.beat(host_id)

    def tick(self, ports=None):
        return watch_region(ports or self.ports, REGION, self.cloud.clock.now_ms())

    def run(self, seconds, *, ticks=True):
        """Beats each ten seconds and ticks each five."""
        reports = []
        for second in range(5, seconds + 1, 5):
            self.cloud.clock.advance_seconds(5)
            if second % 10 == 0:
                self.beat_all()
            if ticks:
                reports.append(self.tick())
        return reports

    def host(self, host_id):
        return self.cloud.fleet_store.get_host(host_id)

    def heartbeat(self, host_id):
        return self.cloud.fleet_store.get_liveness(host_id)

    def gpus(self, host_id):
        return self.cloud.fleet_store.list_gpus(host_id)

    def lease(self, host_id, rental_id="rnt_x", count=1):
        """Lease free GPUs of a host."""
        free = [gpu for gpu in self.gpus(host_id) if gpu.lease_state == "free"][:count]
        tx = self.cloud.db.begin()
        leases = [Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in free]
        self.cloud.fleet_store.take_leases(tx, host_id, rental_id, leases, 0)
        tx.commit()

    def acknowledge(self, host_id):
        """The host's word that it has wiped, under the epochs that it was told."""
        for gpu in self.gpus(host_id):
            if gpu.lease_state == "wiping":
                tx = self.cloud.db.begin()
                lease = Lease(gpu.gpu.gpu_uuid, gpu.epoch)
                self.cloud.fleet_store.free_leases(tx, host_id, gpu.rental_id, [lease])
                tx.commit()

    def check_totals(self):
        """What the pools' totals say is what the hosts are."""
        hosts = list(self.cloud.db.table("hosts").values())
        totals = self.cloud.watch_store.get_pool_totals(GPU_TYPE, REGION)
        for state in ("active", "draining", "lost"):
            assert totals.hosts.get(state, 0) == sum(host.state == state for host in hosts)
        for host in hosts:
            if host.state != "retired":
                gpus = [gpu for (at, _), gpu in self.cloud.db.table("gpus").items() if at == host.host_id]
                assert host.faulty_gpus == sum(gpu.faulty for gpu in gpus)
        for cause in ("maintenance", "unhealthy"):
            assert totals.closed.get(cause, 0) == sum(count_closed(host).get(cause, 0) for host in hosts)

    @property
    def incidents(self):
        return [incident.kind for incident in self.cloud.watch_store.incidents]
