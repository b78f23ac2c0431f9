"""What the use cases of removals need, and what they share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from chalicelib.carbon.ports import IntensityStore
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.core.idempotency import IdempotencyStore
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import Host
from chalicelib.metering.model import KeptDatapoint
from chalicelib.removals.certificates import Batch, Certificate, Entry
from chalicelib.removals.model import Share, Statement, Window

T = TypeVar("T")
#: Acts on one batch follow one another, for their entries are a chain: of sixteen at once the last comes
#: again fifteen times.
MAX_ATTEMPTS = 64


class CaptureRecords(Protocol):
    """What metering keeps (`metering.ports.MeterStore`)."""

    def list_site_energy(self, host_id: str, first_hour: str, last_hour: str) -> Mapping[str, int]: ...
    def list_datapoints(
        self, host_id: str, unit_id: str, from_ms: int, until_ms: int
    ) -> Sequence[KeptDatapoint]: ...
    def list_datapoints_before(
        self, host_id: str, unit_id: str, before_ms: int
    ) -> Iterator[KeptDatapoint]: ...


class HostReader(Protocol):
    def get_host(self, host_id: str) -> Host | None: ...


class StatementStore(Protocol):
    def get_latest(self, window: Window) -> Statement | None: ...
    def get_revision(self, window: Window, revision: int) -> Statement | None: ...
    def list_statements(self, host_id: str, unit_id: str, limit: int, start: str | None) -> Page[Statement]:
        """Every revision of every day, newest first."""
        ...

    def add_statement(self, tx: Transaction, statement: Statement) -> None:
        """Fails with Unavailable when the revision is there."""

    def replace_statement(self, tx: Transaction, old: Statement, new: Statement) -> None:
        """Fails with Unavailable when ``old.version`` is no longer the stored one."""

    def put_share(self, tx: Transaction, share: Share) -> None: ...
    def list_shares(self, account_id: str, limit: int, start: str | None) -> Page[Share]:
        """Newest day first."""
        ...

    def list_day_shares(self, account_id: str, day: str) -> Sequence[Share]: ...


class CertificateStore(Protocol):
    def get_batch(self, serial: str) -> Batch | None: ...
    def get_certificate(self, serial: str) -> Certificate | None: ...
    def list_entries(self, batch_serial: str) -> Sequence[tuple[Entry, str]]:
        """Each with its stored hash, in order."""
        ...

    def add_batch(self, tx: Transaction, batch: Batch) -> None:
        """Fails with Unavailable when it is there."""

    def move_batch(self, tx: Transaction, before: Batch, after: Batch) -> None:
        """Change it by arithmetic, under the bound and its last entry.

        Fails with BatchExhausted when less is free than is taken, with Unavailable when it has another entry.
        """

    def add_entry(self, tx: Transaction, entry: Entry) -> None:
        """Fails with Unavailable when the number is taken."""

    def add_certificate(self, tx: Transaction, certificate: Certificate) -> None: ...
    def change_certificate(self, tx: Transaction, new: Certificate) -> None:
        """Fails with Unavailable unless it is still active."""


@dataclass(frozen=True, slots=True)
class RemovalPorts:
    store: StatementStore
    certificates: CertificateStore
    records: CaptureRecords
    hosts: HostReader
    grid: IntensityStore
    idempotency: IdempotencyStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids


def find_region(ports: RemovalPorts, host_id: str) -> str:
    """Return where a host stands. Raises NotFound: there is no such host."""
    host = ports.hosts.get_host(host_id)
    if host is None:
        raise NotFound("There is no such host.")
    return host.region


def insist(attempt: Callable[[], T]) -> T:
    """Call ``attempt``, which reads what it changes, until it met nobody. Raises Unavailable."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return attempt()
        except Unavailable:
            continue
    raise Unavailable("It changes all the time; try again.")


def add_audit(
    ports: RemovalPorts,
    tx: Transaction,
    principal: Principal,
    action: str,
    subject: str,
    details: dict[str, object],
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        subject,
        ports.clock.now_ms(),
        details,
    )
    ports.audit.add_entry(tx, entry)
