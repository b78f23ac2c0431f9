"""In-memory implementations of the ports: one serialisable database, with crash points at every commit.

A crash before a commit loses it; a crash after a commit has it and loses the reply. Both raise `Crash`.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.accounts.model import Account, ApiKey, Installation
from chalicelib.accounts.service import AccountPorts
from chalicelib.billing.model import CUSTOMER_PREFIX, Balance, Hold, Journal, Leg
from chalicelib.billing.service import AlreadyPosted, BillingPorts
from chalicelib.catalog.model import Catalog, GpuType, Price
from chalicelib.catalog.service import CachedCatalog, CatalogPorts
from chalicelib.core.errors import Conflict, DomainError, InsufficientFunds, Unavailable
from chalicelib.core.idempotency import AlreadyAnswered, IdempotencyRecord
from chalicelib.core.ids import build_id
from chalicelib.core.leases import Lease
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry
from chalicelib.fleet.model import Candidate, Enrolment, Gpu, Host, HostCommand, HostGpu, Liveness
from chalicelib.fleet.service import CapacityTaken, FleetPorts, HostCredentials, StaleEpoch
from chalicelib.metering.model import EnergyShare, HourlyEnergy, Meter, choose_shard
from chalicelib.metering.service import AlreadyStored, MeterPorts, TelemetryRecord
from chalicelib.rentals.model import Rental
from chalicelib.rentals.service import RentalPorts

START_MS = 1_800_000_000_000


class Crash(BaseException):
    """The process died here. Not an Exception: no code may catch it and go on."""


class FakeClock:
    def __init__(self, now_ms: int = START_MS) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def advance_seconds(self, seconds: float) -> int:
        self.value_ms += int(seconds * 1000)
        return self.value_ms


class FakeIds:
    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def new_id(self, prefix: str) -> str:
        count = self._next()
        return build_id(prefix, now_ms=START_MS + count, randomness=count.to_bytes(10))

    def new_secret(self) -> str:
        return f"{self._next():032d}"


Check = Callable[[], DomainError | None]


class MemoryDatabase:
    """Tables are dicts of immutable values; commits are serial."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {}
        self.lock = threading.RLock()
        self.commits = 0
        self.crash_before: int | None = None
        self.crash_after: int | None = None

    def table(self, name: str) -> dict[Any, Any]:
        return self.tables.setdefault(name, {})

    def begin(self) -> "MemoryTransaction":
        return MemoryTransaction(self)


@dataclass
class MemoryTransaction:
    database: MemoryDatabase
    checks: list[Check] = field(default_factory=list)
    effects: list[Callable[[], None]] = field(default_factory=list)

    def add(self, check: Check, effect: Callable[[], None]) -> None:
        self.checks.append(check)
        self.effects.append(effect)

    def put_new(self, table: str, key: Any, value: Any, error: DomainError) -> None:
        rows = self.database.table(table)
        self.add(lambda: error if key in rows else None, lambda: rows.__setitem__(key, value))

    def commit(self) -> None:
        with self.database.lock:
            number = self.database.commits
            self.database.commits += 1
            if self.database.crash_before == number:
                raise Crash
            for check in self.checks:
                error = check()
                if error is not None:
                    raise error
            for effect in self.effects:
                effect()
            if self.database.crash_after == number:
                raise Crash


@dataclass
class MemoryStore:
    db: MemoryDatabase


class FakeAuditTrail(MemoryStore):
    def add_entry(self, tx: Any, entry: AuditEntry) -> None:
        tx.put_new("audit", entry.audit_id, entry, Unavailable("audit"))

    @property
    def entries(self) -> list[AuditEntry]:
        return list(self.db.table("audit").values())


class FakeIdempotencyStore(MemoryStore):
    def find(self, account_id: str, key: str, now_ms: int) -> IdempotencyRecord | None:
        record = self.db.table("idempotency").get((account_id, key))
        return record if record is not None and record.expires_at_ms > now_ms else None

    def add(self, tx: Any, record: IdempotencyRecord, now_ms: int) -> None:
        key = (record.account_id, record.key)

        def check() -> DomainError | None:
            found = self.find(*key, now_ms)
            return None if found is None else AlreadyAnswered(found)

        tx.add(check, lambda: self.db.table("idempotency").__setitem__(key, record))


class FakeAccountStore(MemoryStore):
    def get_installation(self) -> Installation | None:
        return self.db.table("installation").get("it")

    def get_account(self, account_id: str) -> Account | None:
        return self.db.table("accounts").get(account_id)

    def get_key(self, key_id: str) -> ApiKey | None:
        return self.db.table("keys").get(key_id)

    def list_keys(self, account_id: str, limit: int, start: str | None) -> Page[ApiKey]:
        rows = sorted(
            (key for key in self.db.table("keys").values() if key.account_id == account_id),
            key=lambda key: key.key_id,
        )
        rest = [row for row in rows if start is None or row.key_id > start]
        return Page(rest[:limit], rest[limit - 1].key_id if len(rest) > limit else None)

    def add_installation(self, tx: Any, installation: Installation) -> None:
        tx.put_new("installation", "it", installation, Conflict("there", code="already_bootstrapped"))

    def replace_operator_key(self, tx: Any, installation: Installation, key_id: str) -> None:
        def check() -> DomainError | None:
            same = self.get_installation() == installation
            return None if same else Conflict("moved", code="already_bootstrapped")

        new = replace(installation, operator_key_id=key_id)
        tx.add(check, lambda: self.db.table("installation").__setitem__("it", new))

    def add_account(self, tx: Any, account: Account) -> None:
        tx.put_new("accounts", account.account_id, account, Unavailable("account"))

    def add_key(self, tx: Any, key: ApiKey) -> None:
        tx.put_new("keys", key.key_id, key, Unavailable("key"))

    def revoke_key(self, tx: Any, key_id: str, at_ms: int) -> None:
        rows = self.db.table("keys")

        def effect() -> None:
            rows[key_id] = replace(rows[key_id], revoked_at_ms=at_ms)

        tx.add(lambda: None if key_id in rows else Unavailable("key"), effect)


class FakeCatalogStore(MemoryStore):
    def read_catalog(self) -> Catalog:
        return Catalog(dict(self.db.table("gpu_types")), tuple(self.db.table("prices").values()))

    def put_gpu_type(self, tx: Any, gpu_type: GpuType) -> None:
        tx.add(lambda: None, lambda: self.db.table("gpu_types").__setitem__(gpu_type.name, gpu_type))

    def put_price(self, tx: Any, price: Price) -> None:
        rows, key = self.db.table("prices"), (price.gpu_type, price.region)

        def check() -> DomainError | None:
            current = rows.get(key)
            moved = current is not None and current.version != price.version - 1
            return Unavailable("price") if moved else None

        tx.add(check, lambda: rows.__setitem__(key, price))

    def require_price(self, tx: Any, price: Price) -> None:
        def check() -> DomainError | None:
            current = self.db.table("prices").get((price.gpu_type, price.region))
            return None if current == price else Conflict("price", code="price_changed")

        tx.add(check, lambda: None)


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
            for host in self.list_hosts(gpu_type, region):
                free = [gpu for gpu in self.list_gpus(host.host_id) if gpu.lease_state == "free"]
                if len(free) >= gpu_count:
                    leases = tuple(Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in free)
                    found.append(Candidate(host.host_id, region, leases))
            return sorted(found, key=lambda each: len(each.free_leases))[:limit]

    def list_free(self, gpu_type: str, region: str) -> list[int]:
        free = [host.free_gpus for host in self.list_hosts(gpu_type, region) if host.free_gpus]
        return sorted(free, reverse=True)

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

    def record_liveness(self, host_id: str, liveness: Liveness) -> bool:
        rows = self.db.table("liveness")
        before = rows.get(host_id)
        if before is not None and before.last_seen_at_ms >= liveness.last_seen_at_ms:
            return False
        rows[host_id] = liveness
        return True

    def take_leases(
        self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        def alive() -> DomainError | None:
            seen = self.db.table("liveness").get(host_id)
            ok = seen is not None and seen.last_seen_at_ms >= alive_since_ms
            return None if ok else CapacityTaken("silent")

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

    def free_leases(self, tx: Any, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        tx.add(lambda: None, lambda: self._move_free(host_id, len(leases)))
        for lease in leases:
            self._move(tx, host_id, ("wiping", rental_id, lease.epoch), lease, ("free", None, 0), StaleEpoch)

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


class FakeRentalStore(MemoryStore):
    def get_rental(self, rental_id: str) -> Rental | None:
        return self.db.table("rentals").get(rental_id)

    def list_rentals(self, account_id: str, limit: int, start: str | None) -> Page[Rental]:
        rows = [row for row in self.db.table("rentals").values() if row.account_id == account_id]
        rows.sort(key=lambda row: row.rental_id, reverse=True)
        rest = [row for row in rows if start is None or row.rental_id < start]
        return Page(rest[:limit], rest[limit - 1].rental_id if len(rest) > limit else None)

    def add_rental(self, tx: Any, rental: Rental) -> None:
        tx.put_new("rentals", rental.rental_id, rental, Unavailable("rental"))

    def replace_rental(self, tx: Any, old: Rental, new: Rental) -> None:
        rows = self.db.table("rentals")

        def effect() -> None:
            money = rows[old.rental_id]
            rows[old.rental_id] = replace(
                new, billed_seconds=money.billed_seconds, charge_micros=money.charge_micros
            )

        tx.add(lambda: None if rows[old.rental_id].state == old.state else Unavailable("rental"), effect)

    def record_charge(
        self, tx: Any, rental_id: str, *, billed_seconds: int, charge_micros: int, settled: bool
    ) -> None:
        rows = self.db.table("rentals")

        def effect() -> None:
            row = replace(rows[rental_id], billed_seconds=billed_seconds, charge_micros=charge_micros)
            rows[rental_id] = replace(row, billing_state="settled") if settled else row

        tx.add(lambda: None if rental_id in rows else Unavailable("rental"), effect)


class FakeLedgerStore(MemoryStore):
    """Rows: balances, holds ((account, rental)), journals, legs ((ledger account, sort key))."""

    def get_balance(self, account_id: str) -> Balance | None:
        return self.db.table("balances").get(account_id)

    def get_hold(self, account_id: str, rental_id: str) -> Hold | None:
        return self.db.table("holds").get((account_id, rental_id))

    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        return [leg for leg, journal in self.db.table("legs").values() if journal == (source, source_id)]

    def add_journal(self, tx: Any, journal: Journal, *, leg_version: int, balance_after_micros: int) -> None:
        key = (journal.source, journal.source_id)
        tx.put_new("journals", key, journal, AlreadyPosted("journal"))
        for leg in journal.legs:
            customer = leg.ledger_account.startswith(CUSTOMER_PREFIX)
            sort_key = leg_version if customer else key
            tx.put_new("legs", (leg.ledger_account, sort_key), (leg, key), Unavailable("leg"))

    def open_balance(self, tx: Any, balance: Balance) -> None:
        tx.put_new("balances", balance.account_id, balance, Unavailable("balance"))

    def move_balance(self, tx: Any, balance: Balance, *, posted: int, held: int, count_leg: bool) -> None:
        rows, key, available = self.db.table("balances"), balance.account_id, posted - held

        def check() -> DomainError | None:
            row = rows[key]
            short = available < 0 and row.available_micros < -available
            return Unavailable("balance") if short or row.leg_version != balance.leg_version else None

        def effect() -> None:
            row = rows[key]
            rows[key] = replace(
                row,
                posted_micros=row.posted_micros + posted,
                held_micros=row.held_micros + held,
                available_micros=row.available_micros + available,
                leg_version=row.leg_version + count_leg,
            )

        tx.add(check, effect)

    def change_hold(self, tx: Any, account_id: str, old: Hold, new: Hold) -> None:
        rows, key = self.db.table("holds"), (account_id, old.rental_id)
        tx.add(
            lambda: None if rows.get(key) == old else Unavailable("hold"), lambda: rows.__setitem__(key, new)
        )

    def add_hold(self, tx: Any, account_id: str, rental_id: str, amount_micros: int) -> None:
        rows = self.db.table("balances")

        def check() -> DomainError | None:
            row = rows.get(account_id)
            covered = row is not None and row.available_micros >= amount_micros
            return None if covered else InsufficientFunds("hold")

        def effect() -> None:
            row = rows[account_id]
            rows[account_id] = replace(
                row,
                held_micros=row.held_micros + amount_micros,
                available_micros=row.available_micros - amount_micros,
            )

        tx.add(check, effect)
        hold = Hold(rental_id, amount_micros, "pending")
        tx.put_new("holds", (account_id, rental_id), hold, Unavailable("hold"))


class FakeMeterStore(MemoryStore):
    def get_meter(self, rental_id: str) -> Meter | None:
        return self.db.table("meters").get(rental_id)

    def list_energy(self, rental_id: str) -> list[HourlyEnergy]:
        return [row for (rental, _, _), row in self.db.table("energy").items() if rental == rental_id]

    def count_duplicates(self, rental_id: str) -> int:
        return self.db.table("duplicates").get(rental_id, 0)

    def list_open(self, shard: str) -> list[Meter]:
        meters = self.db.table("meters").values()
        return [row for row in meters if row.state != "settled" and choose_shard(row.rental_id) == shard]

    def open_meter(self, tx: Any, meter: Meter) -> None:
        tx.put_new("meters", meter.rental_id, meter, AlreadyStored("meter"))

    def replace_meter(self, tx: Any | None, old: Meter, new: Meter) -> None:
        rows, alone = self.db.table("meters"), tx is None
        tx = tx or self.db.begin()

        def check() -> DomainError | None:
            row = rows[old.rental_id]
            same = (row.alive_through_ms, row.state) == (old.alive_through_ms, old.state)
            return None if same else Unavailable("meter")

        def effect() -> None:
            rows[old.rental_id] = replace(
                rows[old.rental_id],
                state=new.state,
                alive_through_ms=new.alive_through_ms,
                unproven_ms=new.unproven_ms,
            )

        tx.add(check, effect)
        if alone:
            tx.commit()

    def record_charge(self, tx: Any, old: Meter, new: Meter) -> None:
        rows = self.db.table("meters")

        def check() -> DomainError | None:
            row = rows[old.rental_id]
            settles_early = new.state == "settled" and row.state != "closed"
            return Unavailable("meter") if row.charge_seq != old.charge_seq or settles_early else None

        def effect() -> None:
            row = rows[old.rental_id]
            rows[old.rental_id] = replace(
                row,
                state="settled" if new.state == "settled" else row.state,
                charge_seq=new.charge_seq,
                charged_seconds=new.charged_seconds,
                charged_micros=new.charged_micros,
            )

        tx.add(check, effect)

    def add_record(self, tx: Any, record: TelemetryRecord) -> None:
        key = (record.host_id, record.boot_id, record.seq)
        tx.put_new("telemetry", key, record, AlreadyStored("record"))

    def add_energy(self, tx: Any, share: EnergyShare) -> None:
        rows, key = self.db.table("energy"), (share.rental_id, share.gpu_uuid, share.hour)

        def effect() -> None:
            row = rows.get(key, HourlyEnergy(share.gpu_uuid, share.hour, 0, 0, 0, None))
            rows[key] = HourlyEnergy(
                row.gpu_uuid,
                row.hour,
                row.energy_millijoules + share.energy_millijoules,
                row.estimated_millijoules + share.estimated_millijoules,
                row.intervals + share.intervals,
                row.intervals_expected if share.intervals_expected is None else share.intervals_expected,
            )

        tx.add(lambda: None, effect)

    def add_duplicate(self, rental_id: str) -> None:
        rows = self.db.table("duplicates")
        rows[rental_id] = rows.get(rental_id, 0) + 1


class FakeChargeQueue:
    """Requests wait here until the test takes them; one deduplication id is taken once."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self._seen: set[str] = set()

    def request_charge(self, _account_id: str, rental_id: str, deduplication_id: str) -> None:
        if deduplication_id not in self._seen:
            self._seen.add(deduplication_id)
            self.waiting.append(rental_id)


class FakeHostIdentities:
    def ensure_command_queue(self, host_id: str) -> str:
        return f"memory://{host_id}"

    def issue_credentials(self, host_id: str) -> HostCredentials:
        return HostCredentials(f"access-{host_id}", "hidden", "session", START_MS + 3_600_000)


class FakeCloud:
    """All ports over one database, as `chalicelib.wiring` builds them over DynamoDB."""

    def __init__(self) -> None:
        self.db = MemoryDatabase()
        self.clock, self.ids = FakeClock(), FakeIds()
        self.audit = FakeAuditTrail(self.db)
        self.fleet_store = FakeFleetStore(self.db)
        self.charges = FakeChargeQueue()
        self.pepper = b"pepper of the tests"
        catalog_store = FakeCatalogStore(self.db)
        ledger = FakeLedgerStore(self.db)
        self.accounts = AccountPorts(
            FakeAccountStore(self.db), self.audit, self.db.begin, self.clock, self.ids, lambda: self.pepper
        )
        self.catalog = CatalogPorts(catalog_store, self.audit, self.db.begin, self.clock, self.ids)
        self.fleet = FleetPorts(self.fleet_store, self.accounts, FakeHostIdentities())
        self.rentals = RentalPorts(
            store=FakeRentalStore(self.db),
            fleet=self.fleet_store,
            catalog=catalog_store,
            cached_catalog=CachedCatalog(catalog_store.read_catalog, self.clock, 60_000),
            wallets=ledger,
            idempotency=FakeIdempotencyStore(self.db),
            audit=self.audit,
            transactions=self.db.begin,
            clock=self.clock,
            ids=self.ids,
            currency="USD",
        )
        self.meters = MeterPorts(FakeMeterStore(self.db), self.rentals, self.charges)
        self.billing = BillingPorts(ledger, self.meters.store, self.rentals, self.charges)
