"""Use cases of announced maintenance: planned by operators, told to renters, closing and opening its host.

The host carries its next window; its next heartbeat tells the rentals there, as any notice is told. A
schedule takes each window's next step; a step that comes twice, late, or after a crash does the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from chalicelib.accounts.service import AccountPorts
from chalicelib.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import Host, settle
from chalicelib.fleet.reliability import DAY_MS, keep_recent
from chalicelib.fleet.service import FleetStore
from chalicelib.fleet.watch import WATCH_ACTOR
from chalicelib.fleet.windows import MaintenanceCategory, MaintenanceWindow, choose_next

HTTP_CREATED = 201
MAX_ATTEMPTS = 5
MAX_DURATION_MS = 30 * DAY_MS
MAX_AHEAD_MS = 366 * DAY_MS
#: Windows of a host that are neither over nor cancelled.
MAX_OPEN_WINDOWS = 20
#: Windows whose step is taken by one call; the next comes in a minute.
MAX_STEPS = 100


class MaintenanceStore(Protocol):
    def get_window(self, window_id: str) -> MaintenanceWindow | None: ...
    def list_host_windows(
        self, host_id: str, limit: int, start: str | None = None
    ) -> Page[MaintenanceWindow]:
        """Return a host's windows, newest first. Index; may be stale."""
        ...

    def list_scheduled(self, host_id: str, limit: int) -> list[MaintenanceWindow]:
        """Return a host's windows that are neither over nor cancelled. Index; may be stale."""
        ...

    def list_open_windows(self, limit: int, start: str | None = None) -> Page[MaintenanceWindow]:
        """Return windows that are scheduled, the next step first. Index; may be stale."""
        ...

    def list_due_windows(self, now_ms: int, limit: int) -> list[MaintenanceWindow]:
        """Return windows whose next step is due. Index; may be stale."""
        ...

    def add_window(self, tx: Transaction, window: MaintenanceWindow, due_at_ms: int) -> None: ...
    def replace_window(
        self, tx: Transaction, old: MaintenanceWindow, new: MaintenanceWindow, due_at_ms: int
    ) -> None:
        """Fails with Unavailable when ``old`` is no longer in its state."""


@dataclass(frozen=True, slots=True)
class MaintenancePorts:
    store: MaintenanceStore
    fleet: FleetStore
    idempotency: IdempotencyStore
    accounts: AccountPorts


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """A window as an operator asked for it. ``render`` gives the answer's bytes, stored for replays."""

    host_id: str
    category: MaintenanceCategory
    reason: str
    starts_at_ms: int
    ends_at_ms: int
    lead_ms: int
    idempotency_key: str
    fingerprint: str
    render: Callable[[MaintenanceWindow], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Planned:
    status: int
    body: str
    replayed: bool


def plan_window(ports: MaintenancePorts, principal: Principal, command: PlanWindow) -> Planned:
    """Announce maintenance of a host, once per key.

    Raises:
        InvalidInput: the window ends before it starts, is over, too long or too far ahead.
        NotFound: there is no such host.
        Conflict: ``host_retired``, ``too_many_windows``.
        IdempotencyMismatch: the key was used for another request.
        Unavailable: too much contention; try again.
    """
    for _ in range(MAX_ATTEMPTS):
        now_ms = ports.accounts.clock.now_ms()
        known = ports.idempotency.find(principal.account_id, command.idempotency_key, now_ms)
        if known is not None:
            return _replay(known, command)
        try:
            return _plan(ports, principal, command, now_ms)
        except AlreadyAnswered as answered:
            return _replay(answered.record, command)
        except Unavailable:
            continue
    raise Unavailable("The host changes all the time; try again.")


def cancel_window(ports: MaintenancePorts, principal: Principal, window_id: str) -> MaintenanceWindow:
    """Call a window off; its host opens if nothing else closes it. Cancelling twice changes nothing.

    Raises:
        NotFound: there is no such window.
        Conflict: ``window_over``.
        Unavailable: it changed at the same time.
    """
    now_ms = ports.accounts.clock.now_ms()
    window = get_window(ports, window_id)
    if window.state == "cancelled":
        return window
    if window.state == "done" or window.ends_at_ms <= now_ms:
        raise Conflict("This window is over.", code="window_over")
    cancelled = replace(window, state="cancelled")
    tx = ports.accounts.transactions()
    ports.store.replace_window(tx, window, cancelled, now_ms)
    _carry(ports, tx, cancelled, now_ms)
    _add_audit(ports, tx, (principal.account_id, principal.actor_id), "maintenance.cancelled", window_id)
    tx.commit()
    return cancelled


def get_window(ports: MaintenancePorts, window_id: str) -> MaintenanceWindow:
    """Raises NotFound."""
    window = ports.store.get_window(window_id)
    if window is None:
        raise NotFound("There is no such maintenance window.")
    return window


def advance_windows(ports: MaintenancePorts, now_ms: int) -> int:
    """Close hosts whose window comes near, open those whose window is over; return how many were seen to."""
    taken = 0
    for found in ports.store.list_due_windows(now_ms, MAX_STEPS):
        window = ports.store.get_window(found.window_id)
        if window is None or window.state != "scheduled":
            continue
        over = window.ends_at_ms <= now_ms
        stepped = replace(window, state="done") if over else window
        tx = ports.accounts.transactions()
        ports.store.replace_window(tx, window, stepped, stepped.find_due_ms(now_ms))
        _carry(ports, tx, stepped, now_ms)
        installation = ports.accounts.store.get_installation()
        assert installation is not None, "windows are planned by an operator"
        action = "maintenance.ended" if over else "maintenance.host_closed"
        _add_audit(ports, tx, (installation.account_id, WATCH_ACTOR), action, window.window_id)
        try:
            tx.commit()
        except Unavailable:
            # Its host changed at the same time: the next minute tries again.
            continue
        taken += 1
    return taken


def _plan(ports: MaintenancePorts, principal: Principal, command: PlanWindow, now_ms: int) -> Planned:
    _check(command, now_ms)
    host = ports.fleet.get_host(command.host_id)
    if host is None:
        raise NotFound("There is no such host.")
    if host.state == "retired":
        raise Conflict("This host was retired.", code="host_retired")
    window = MaintenanceWindow(
        ports.accounts.ids.new_id("mnt"),
        command.host_id,
        command.category,
        command.reason,
        command.starts_at_ms,
        command.ends_at_ms,
        command.lead_ms,
        now_ms,
    )
    body = command.render(window)
    tx = ports.accounts.transactions()
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    ports.idempotency.add(tx, record, now_ms)
    ports.store.add_window(tx, window, window.find_due_ms(now_ms))
    _carry(ports, tx, window, now_ms)
    actor = (principal.account_id, principal.actor_id)
    _add_audit(ports, tx, actor, "maintenance.planned", window.window_id)
    tx.commit()
    return Planned(HTTP_CREATED, body, replayed=False)


def _replay(record: IdempotencyRecord, command: PlanWindow) -> Planned:
    known = check_replay(record, command.fingerprint)
    return Planned(known.status, known.body, replayed=True)


def _check(command: PlanWindow, now_ms: int) -> None:
    length_ms = command.ends_at_ms - command.starts_at_ms
    if not 0 < length_ms <= MAX_DURATION_MS:
        raise InvalidInput("A window ends after it starts, 30 days later at most.", code="invalid_window")
    if command.ends_at_ms <= now_ms or command.starts_at_ms > now_ms + MAX_AHEAD_MS:
        raise InvalidInput("A window is not over, and starts within a year.", code="invalid_window")


def _carry(ports: MaintenancePorts, tx: Transaction, changed: MaintenanceWindow, now_ms: int) -> None:
    """Let the host carry the window that is next now that ``changed`` is as it is; its renters are told."""
    host = ports.fleet.get_host(changed.host_id)
    if host is None or host.state == "retired":
        return
    found = ports.store.list_scheduled(changed.host_id, MAX_OPEN_WINDOWS + 1)
    windows = [each for each in found if each.window_id != changed.window_id]
    if len(windows) >= MAX_OPEN_WINDOWS:
        raise Conflict("This host has too many windows; cancel some.", code="too_many_windows")
    after = _carry_next(host, [*windows, changed], changed, now_ms)
    after = settle(after, ports.fleet.list_gpus(host.host_id))
    if after == host:
        return
    ports.fleet.replace_health(tx, host, after, ())
    if ports.fleet.get_liveness(host.host_id) is not None:
        # The next heartbeat looks again, whenever it was sent, and tells the rentals.
        ports.fleet.unsettle_liveness(tx, host.host_id, now_ms + DAY_MS)


def _carry_next(
    host: Host, windows: list[MaintenanceWindow], changed: MaintenanceWindow, now_ms: int
) -> Host:
    past = host.past_maintenance_ms
    if changed.state != "scheduled" and changed.starts_at_ms < now_ms:
        past = (*past, (changed.starts_at_ms, min(changed.ends_at_ms, now_ms)))
    return replace(
        host, maintenance=choose_next(windows, now_ms), past_maintenance_ms=keep_recent(past, now_ms)
    )


def _add_audit(
    ports: MaintenancePorts, tx: Transaction, actor: tuple[str, str], action: str, window_id: str
) -> None:
    account_id, name = actor
    now_ms = ports.accounts.clock.now_ms()
    entry_id = ports.accounts.ids.new_id("aud")
    ports.accounts.audit.add_entry(tx, AuditEntry(entry_id, account_id, name, action, window_id, now_ms))
