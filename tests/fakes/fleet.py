"""Hosts, leases and commands in memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.fleet.incident import derive_incidents
from chalicelib.fleet.model import Enrolment, Gpu, Host, HostCommand, HostGpu, Liveness
from chalicelib.fleet.service import CapacityTaken, HostCredentials, StaleEpoch
from tests.fakes.candidates import FakeCandidateStore
from tests.fakes.database import START_MS
from tests.fakes.watch import move_totals, put_incident


class FakeFleetStore(FakeCandidateStore):
    """Rows: hosts (host_id), gpus ((host_id, uuid)), liveness, enrolments, commands."""

    def get_enrolment(self, enrolment_id: str) -> Enrolment | None:
        return self.db.table("enrolments").get(enrolment_id)

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
        move_totals(tx, self.db, None, host)

    def replace_host_key(self, tx: Any, host: Host, key_id: str) -> None:
        rows = self.db.table("hosts")

        def check() -> DomainError | None:
            same = rows[host.host_id].api_key_id == host.api_key_id
            return None if same else Unavailable("host key")

        def effect() -> None:
            rows[host.host_id] = replace(rows[host.host_id], api_key_id=key_id)

        tx.add(check, effect)

    def record_liveness(self, host_id: str, liveness: Liveness, before: Liveness | None = None) -> int | None:
        with self.db.lock:
            stored = self.db.table("liveness").get(host_id)
            known = (before.watch_key, before.announced) if before else ("", "")
            if stored is not None and (stored.watch_key, stored.announced) != known:
                return None
            return self._keep_liveness(host_id, liveness)

    def _keep_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        rows = self.db.table("liveness")
        before = rows.get(host_id)
        if before is not None and before.last_seen_at_ms >= liveness.last_seen_at_ms:
            return None
        since_ms = None if before is None else before.suspect_since_ms
        rows[host_id] = replace(liveness, suspect_since_ms=since_ms)
        return sum(gpu.lease_state == "withheld" for gpu in self.list_gpus(host_id))

    def end_silence(self, tx: Any, host_id: str, before: Liveness, sent_at_ms: int, watch_key: str) -> None:
        rows = self.db.table("liveness")

        def check() -> DomainError | None:
            row = rows.get(host_id)
            same = row is not None and (row.last_seen_at_ms, row.watch_key) == (
                before.last_seen_at_ms,
                before.watch_key,
            )
            return None if same else Unavailable("heartbeat")

        def effect() -> None:
            rows[host_id] = replace(
                rows[host_id],
                last_seen_at_ms=sent_at_ms,
                announced="",
                suspect_since_ms=None,
                watch_key=watch_key,
            )

        tx.add(check, effect)

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
        with self.db.lock:
            before = self.get_liveness(host_id)
            if before is None or before.announced != liveness.announced:
                return None
            return self._keep_liveness(host_id, replace(liveness, watch_key=before.watch_key))

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
                lost=new.lost,
                cordon=new.cordon,
                maintenance=new.maintenance,
                faulty_gpus=new.faulty_gpus,
                downtime_ms=new.downtime_ms,
                hardware_incidents_ms=new.hardware_incidents_ms,
                past_maintenance_ms=new.past_maintenance_ms,
            )

        tx.add(check, effect)
        move_totals(tx, self.db, old, new)
        for incident in derive_incidents(old, new, gpus):
            put_incident(tx, incident)
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

    def retire_unleased(self, tx: Any, host: Host, gpus: Sequence[HostGpu]) -> None:
        rows, free = (
            self.db.table("hosts"),
            {(g.gpu.gpu_uuid, g.epoch) for g in gpus if g.lease_state == "free"},
        )

        def check() -> DomainError | None:
            now = rows[host.host_id]
            there = {
                (gpu.gpu.gpu_uuid, gpu.epoch)
                for gpu in self.list_gpus(host.host_id)
                if gpu.lease_state == "free"
            }
            same = (now.state, now.health_version) == (host.state, host.health_version) and there == free
            return None if same else Unavailable("host")

        def effect() -> None:
            now = rows[host.host_id]
            rows[host.host_id] = replace(now, state="retired", health_version=now.health_version + 1)

        tx.add(check, effect)
        move_totals(tx, self.db, host, replace(host, state="retired"))

    def take_leases(
        self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        def alive() -> DomainError | None:
            seen = self.db.table("liveness").get(host_id)
            ok = seen is not None and seen.last_seen_at_ms >= alive_since_ms
            active = self.db.table("hosts")[host_id].state == "active"
            return None if ok and active else CapacityTaken("silent")

        tx.add(alive, lambda: self._move_free(host_id, -len(leases)), items=2)
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
            tx.add(lambda key=key: StaleEpoch("faulty") if rows[key].faulty else None, lambda: None, items=0)
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
                tx.add(lambda: None, lambda: self._move_free(host_id, 1), items=0)

    def force_free(self, tx: Any, host_id: str, gpus: Sequence[HostGpu]) -> None:
        hosts, rows = self.db.table("hosts"), self.db.table("gpus")
        tx.add(lambda: StaleEpoch("retired") if hosts[host_id].state == "retired" else None, lambda: None)
        for gpu in gpus:
            self._force_free(tx, rows, host_id, gpu)

    def _force_free(self, tx: Any, rows: Any, host_id: str, gpu: HostGpu) -> None:
        key, state = (host_id, gpu.gpu.gpu_uuid), "unhealthy" if gpu.faulty else "free"

        def check() -> DomainError | None:
            row = rows[key]
            same = (row.lease_state, row.epoch, row.faulty) == ("wiping", gpu.epoch, gpu.faulty)
            return None if same else StaleEpoch("moved")

        def effect() -> None:
            rows[key] = replace(rows[key], lease_state=state, epoch=gpu.epoch + 1, rental_id=None)
            self._move_free(host_id, int(state == "free"))

        tx.add(check, effect)

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
