"""Hosts, leases and commands in memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.fleet.model import (
    Candidate,
    Enrolment,
    Gpu,
    Host,
    HostCommand,
    HostGpu,
    Liveness,
    ReservableHost,
)
from chalicelib.fleet.service import CapacityTaken, HostCredentials, StaleEpoch
from tests.fakes.database import START_MS, MemoryStore


class FakeFleetStore(MemoryStore):
    """Rows: hosts (host_id), gpus ((host_id, uuid)), liveness, enrolments, commands."""

    def get_enrolment(self, enrolment_id: str) -> Enrolment | None:
        return self.db.table("enrolments").get(enrolment_id)

    def get_host(self, host_id: str) -> Host | None:
        return self.db.table("hosts").get(host_id)

    def get_liveness(self, host_id: str) -> Liveness | None:
        return self.db.table("liveness").get(host_id)

    def list_gpus(self, host_id: str) -> list[HostGpu]:
        return [row for (host, _), row in self.db.table("gpus").items() if host == host_id]

    def list_hosts(self, gpu_type: str, region: str) -> list[Host]:
        hosts = self.db.table("hosts").values()
        return [host for host in hosts if (host.gpu_type, host.region) == (gpu_type, region)]

    def find_candidates(self, gpu_type: str, region: str, gpu_count: int, limit: int) -> list[Candidate]:
        with self.db.lock:
            found = []
            for host in self._list_offered(gpu_type, region):
                free = [gpu for gpu in self.list_gpus(host.host_id) if gpu.lease_state == "free"]
                if len(free) >= gpu_count:
                    leases = tuple(Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in free)
                    found.append(Candidate(host.host_id, region, leases))
            return sorted(found, key=lambda each: len(each.free_leases))[:limit]

    def get_candidate(self, host_id: str) -> Candidate | None:
        host = self.get_host(host_id)
        if host is None or host.state != "active":
            return None
        free = [gpu for gpu in self.list_gpus(host_id) if gpu.lease_state == "free"]
        leases = tuple(Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in free)
        return Candidate(host_id, host.region, leases)

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        free = [host.free_gpus for host in self._list_offered(gpu_type, region) if host.free_gpus]
        return sorted(free, reverse=True)

    def _list_offered(self, gpu_type: str, region: str, *, reservable: bool = False) -> list[Host]:
        hosts = self.list_hosts(gpu_type, region)
        return [host for host in hosts if host.state == "active" and host.reservable == reservable]

    def list_reservable(self, gpu_type: str, region: str, limit: int) -> list[ReservableHost]:
        with self.db.lock:
            found = self._list_offered(gpu_type, region, reservable=True)
        found.sort(key=lambda host: host.free_gpus)
        return [ReservableHost(host.host_id, host.gpu_count, host.fabric_id) for host in found[:limit]]

    def require_reservable(self, tx: Any, host_id: str, gpu_count: int) -> None:
        def check() -> DomainError | None:
            host = self.db.table("hosts")[host_id]
            there = host.state == "active" and host.reservable and host.gpu_count == gpu_count
            return None if there else CapacityTaken("not reservable")

        tx.add(check, lambda: None)

    def set_reservable(self, tx: Any, host: Host, *, reservable: bool) -> None:
        rows = self.db.table("hosts")

        def check() -> DomainError | None:
            stored = rows[host.host_id]
            if reservable and stored.free_gpus != stored.gpu_count:
                return Conflict("in use", code="host_in_use")
            return None if stored.health_version == host.health_version else Unavailable("host")

        def effect() -> None:
            version = host.health_version + 1
            rows[host.host_id] = replace(rows[host.host_id], reservable=reservable, health_version=version)

        tx.add(check, effect)

    def add_enrolment(self, tx: Any, enrolment: Enrolment) -> None:
        tx.put_new("enrolments", enrolment.enrolment_id, enrolment, Unavailable("enrolment"))

    def use_enrolment(self, tx: Any, enrolment: Enrolment, install_id: str) -> None:
        rows, key = self.db.table("enrolments"), enrolment.enrolment_id

        def check() -> DomainError | None:
            used = rows[key].install_id not in {None, install_id}
            return Conflict("used", code="enrolment_used") if used else None

        tx.add(check, lambda: rows.__setitem__(key, replace(rows[key], install_id=install_id)))

    def add_host(self, tx: Any, host: Host, gpus: Sequence[Gpu]) -> None:
        tx.put_new("hosts", host.host_id, host, Unavailable("host"))
        for gpu in gpus:
            row = HostGpu(gpu, "free", 0, None)
            tx.put_new("gpus", (host.host_id, gpu.gpu_uuid), row, Unavailable("gpu"))

    def replace_host_key(self, tx: Any, host: Host, key_id: str) -> None:
        rows = self.db.table("hosts")

        def check() -> DomainError | None:
            same = rows[host.host_id].api_key_id == host.api_key_id
            return None if same else Unavailable("host key")

        def effect() -> None:
            rows[host.host_id] = replace(rows[host.host_id], api_key_id=key_id)

        tx.add(check, effect)

    def record_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        rows = self.db.table("liveness")
        before = rows.get(host_id)
        if before is not None and before.last_seen_at_ms >= liveness.last_seen_at_ms:
            return None
        rows[host_id] = liveness
        return sum(gpu.lease_state == "withheld" for gpu in self.list_gpus(host_id))

    def withhold(self, tx: Any, host_id: str, lease: Lease) -> None:
        tx.add(lambda: None, lambda: self._move_free(host_id, -1))
        self._move(tx, host_id, ("free", None, lease.epoch), lease, ("withheld", None, 0), CapacityTaken)

    def offer_again(self, tx: Any, host_id: str, lease: Lease) -> None:
        tx.add(lambda: None, lambda: self._move_free(host_id, 1))
        self._move(tx, host_id, ("withheld", None, lease.epoch), lease, ("free", None, 0), StaleEpoch)

    def store_capabilities(self, host_id: str, gpu_uuid: str, capabilities: Any, at_ms: int) -> None:
        rows, key = self.db.table("gpus"), (host_id, gpu_uuid)
        rows[key] = replace(rows[key], capabilities=capabilities)

    def extend_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        before = self.get_liveness(host_id)
        known = before is not None and before.announced == liveness.announced
        return self.record_liveness(host_id, liveness) if known else None

    def unsettle_liveness(self, tx: Any, host_id: str, sent_at_ms: int) -> None:
        rows = self.db.table("liveness")

        def check() -> DomainError | None:
            return None if rows[host_id].last_seen_at_ms < sent_at_ms else Unavailable("heartbeat")

        tx.add(check, lambda: rows.__setitem__(host_id, replace(rows[host_id], announced="")))

    def replace_health(self, tx: Any, old: Host, new: Host, gpus: Sequence[tuple[HostGpu, HostGpu]]) -> None:
        rows = self.db.table("hosts")

        def check() -> DomainError | None:
            same = rows[old.host_id].health_version == old.health_version
            return None if same else Unavailable("host")

        def effect() -> None:
            version = old.health_version + 1
            rows[old.host_id] = replace(
                rows[old.host_id],
                state=new.state,
                notice=new.notice,
                draining=new.draining,
                health_version=version,
            )

        tx.add(check, effect)
        for before, after in gpus:
            self._replace_gpu(tx, old.host_id, before, after)

    def _replace_gpu(self, tx: Any, host_id: str, before: HostGpu, after: HostGpu) -> None:
        rows, key = self.db.table("gpus"), (host_id, after.gpu.gpu_uuid)

        def check() -> DomainError | None:
            row = rows[key]
            same = (row.lease_state, row.epoch) == (before.lease_state, before.epoch)
            return None if same else Unavailable("gpu")

        def effect() -> None:
            rows[key] = replace(rows[key], fault=after.fault, lease_state=after.lease_state)
            self._move_free(host_id, (after.lease_state == "free") - (before.lease_state == "free"))

        tx.add(check, effect)

    def take_leases(
        self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        def alive() -> DomainError | None:
            seen = self.db.table("liveness").get(host_id)
            ok = seen is not None and seen.last_seen_at_ms >= alive_since_ms
            active = self.db.table("hosts")[host_id].state == "active"
            return None if ok and active else CapacityTaken("silent")

        tx.add(alive, lambda: self._move_free(host_id, -len(leases)))
        for lease in leases:
            self._move(
                tx, host_id, ("free", None, lease.epoch), lease, ("leased", rental_id, 1), CapacityTaken
            )

    def begin_wipe(self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._move(
                tx, host_id, ("leased", rental_id, lease.epoch), lease, ("wiping", rental_id, 1), StaleEpoch
            )

    def renew_leases(self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        rows = self.db.table("gpus")
        for lease in leases:
            key = (host_id, lease.gpu_uuid)
            tx.add(lambda key=key: StaleEpoch("faulty") if rows[key].faulty else None, lambda: None)
            self._move(
                tx, host_id, ("wiping", rental_id, lease.epoch), lease, ("leased", rental_id, 1), StaleEpoch
            )

    def free_leases(
        self,
        tx: Any,
        host_id: str,
        rental_id: str,
        leases: Sequence[Lease],
        faulty: frozenset[str] = frozenset(),
    ) -> None:
        rows = self.db.table("gpus")

        def check() -> DomainError | None:
            found = {lease.gpu_uuid for lease in leases if rows[host_id, lease.gpu_uuid].faulty}
            return None if found == faulty & {lease.gpu_uuid for lease in leases} else Unavailable("health")

        tx.add(check, lambda: None)
        for lease in leases:
            state = "unhealthy" if lease.gpu_uuid in faulty else "free"
            self._move(tx, host_id, ("wiping", rental_id, lease.epoch), lease, (state, None, 0), StaleEpoch)
            if state == "free":
                tx.add(lambda: None, lambda: self._move_free(host_id, 1))

    def _move(self, tx: Any, host_id: str, expected: Any, lease: Lease, new: Any, error: Any) -> None:
        rows, key = self.db.table("gpus"), (host_id, lease.gpu_uuid)

        def check() -> DomainError | None:
            row = rows.get(key)
            same = row is not None and (row.lease_state, row.rental_id, row.epoch) == expected
            return None if same else error("moved")

        state, rental_id, step = new

        def effect() -> None:
            rows[key] = replace(
                rows[key], lease_state=state, rental_id=rental_id, epoch=rows[key].epoch + step
            )

        tx.add(check, effect)

    def _move_free(self, host_id: str, change: int) -> None:
        rows = self.db.table("hosts")
        rows[host_id] = replace(rows[host_id], free_gpus=rows[host_id].free_gpus + change)

    def add_command(self, tx: Any, command: HostCommand) -> None:
        tx.put_new("commands", command.command_id, command, Unavailable("command"))

    @property
    def commands(self) -> list[HostCommand]:
        return list(self.db.table("commands").values())


class FakeHostIdentities:
    def ensure_command_queue(self, host_id: str) -> str:
        return f"memory://{host_id}"

    def issue_credentials(self, host_id: str) -> HostCredentials:
        return HostCredentials(f"access-{host_id}", "hidden", "session", START_MS + 3_600_000)
