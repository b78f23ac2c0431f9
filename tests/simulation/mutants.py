"""Bugs made by hand: each takes one promise away, and the simulation must notice.

A mutant is a context manager that breaks the code and mends it again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from chalicelib.billing import charging as billing
from chalicelib.metering import failover
from chalicelib.metering import service as metering
from chalicelib.rentals import life
from host_agent import assignments
from tests.fakes.database import MemoryTransaction
from tests.fakes.fleet import FakeFleetStore
from tests.fakes.ledger import FakeLedgerStore, FakeWalletStore
from tests.fakes.money import FakeMeterStore, FakeRentalStore
from tests.fakes.records import FakeIdempotencyStore
from tests.fakes.scheduling import FakeSchedulingStore
from tests.simulation.world import World

Mutant = Callable[[], Any]


def nothing(*_: Any, **__: Any) -> None:
    """What a write does that was forgotten."""


@contextmanager
def patched(*changes: tuple[object, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class Unconditional:
    """A transaction whose writes keep their effects and lose their conditions."""

    def __init__(self, tx: MemoryTransaction) -> None:
        self._tx = tx

    def add(self, check: Any, effect: Any) -> None:
        del check
        self._tx.add(lambda: None, effect)

    def put_new(self, table: str, key: Any, value: Any, error: Any) -> None:
        rows = self._tx.database.table(table)
        self.add(error, lambda: rows.__setitem__(key, value))


def without_conditions(method: Any) -> Any:
    def call(self: Any, tx: Any, *arguments: Any, **named: Any) -> Any:
        return method(self, Unconditional(tx), *arguments, **named)

    return call


def lease_without_condition() -> Any:
    """Two starts may take the same GPU."""
    return patched((FakeFleetStore, "take_leases", without_conditions(FakeFleetStore.take_leases)))


def _name_same_gpus(left: Any, right: Any) -> bool:
    return {lease.gpu_uuid for lease in left} == {lease.gpu_uuid for lease in right}


def wipe_acknowledged_by_any_epoch() -> Any:
    """A host's old acknowledgement frees GPUs that were leased again."""
    return patched((metering, "_same", _name_same_gpus))


def free_before_wipe() -> Any:
    """An end frees the GPUs at once, without waiting for the wipe."""
    add_stop = life.add_stop

    def hasty(ports: Any, tx: Any, ended: Any, *, keep_volume: bool) -> None:
        add_stop(ports, tx, ended, keep_volume=keep_volume)
        stay = ended.placement
        ports.fleet.free_leases(tx, stay.host_id, ended.rental_id, stay.wipe_leases, frozenset())

    return patched((life, "add_stop", hasty), (failover, "add_stop", hasty))


def rental_without_version() -> Any:
    """A rental is overwritten by whoever read it first."""
    return patched((FakeRentalStore, "replace_rental", without_conditions(FakeRentalStore.replace_rental)))


def charge_without_cursor() -> Any:
    """A charge that comes twice is posted twice."""

    def post_anew(self: Any, tx: Any, journal: Any, chained: Any) -> None:
        count = len(self.db.table("journals"))
        fresh = replace(journal, source_id=f"{journal.source_id}:{count}:{id(tx)}")
        anew = [replace(leg, version=leg.version + 1_000_000 * (count + 1)) for leg in chained]
        FakeLedgerStore_add(self, tx, fresh, anew)

    FakeLedgerStore_add = FakeLedgerStore.add_journal  # noqa: N806
    return patched(
        (FakeMeterStore, "record_charge", without_conditions(FakeMeterStore.record_charge)),
        (FakeLedgerStore, "add_journal", post_anew),
        (FakeWalletStore, "move_balance", without_conditions(FakeWalletStore.move_balance)),
        (FakeWalletStore, "change_hold", without_conditions(FakeWalletStore.change_hold)),
    )


def hold_without_balance() -> Any:
    """A hold is taken from a wallet that does not cover it."""
    return patched((FakeWalletStore, "add_holds", without_conditions(FakeWalletStore.add_holds)))


def hold_never_released() -> Any:
    """The last charge forgets the hold."""
    charge = billing._charge

    def forgetful(ports: Any, meter: Any, now_ms: int) -> None:
        with mock.patch.object(type(ports.wallets), "change_hold", nothing):
            charge(ports, meter, now_ms)

    return patched((billing, "_charge", forgetful))


def loss_bills_until_now() -> Any:
    """A lost host is billed to the moment when it was noticed."""
    close_meter = metering.close_meter

    def generous(ports: Any, tx: Any, rental: Any, proof_ms: Any) -> None:
        now_ms = ports.rentals.clock.now_ms()
        late = replace(rental, stop_requested_at_ms=now_ms)
        close_meter(ports, tx, late, now_ms if proof_ms is None else proof_ms)

    return patched((failover, "close_meter", generous))


def bill_past_the_stop() -> Any:
    """Billable time does not end where the renter asked to stop."""
    return patched(
        (metering, "close", lambda meter, end_ms: replace(meter, state="closed")),
        (metering, "_prove_life", _prove_past_the_stop),
    )


def _prove_past_the_stop(ports: Any, rental: Any, report: Any, sent_at_ms: int) -> None:
    if rental.state == "provisioning":
        metering._start_meter(ports, rental, report, sent_at_ms)
        return
    meter = ports.store.get_meter(rental.rental_id, rental.segment)
    if meter is not None:
        metering._extend(ports, meter, sent_at_ms + 30_000)


def quota_never_given_back() -> Any:
    return patched((FakeSchedulingStore, "give_back_quota", nothing))


def ticket_stays_in_line() -> Any:
    """Whoever is placed keeps the place in line."""
    return patched((FakeSchedulingStore, "remove_ticket", nothing))


def agent_forgets_a_later_stop() -> Any:
    """A stop that overtook its start is taken for a repeat of the one before."""
    return patched((assignments, "_is_newer", lambda _stop, _known: False))


def agent_starts_under_any_epoch() -> Any:
    """An agent starts what it is told to, however old the order is."""
    return patched((assignments, "_is_stale", lambda _epochs, _leases: False))


def spot_stay_is_never_removed() -> Any:
    return patched((FakeSchedulingStore, "remove_stay", nothing))


def failover_leaves_the_meter_open() -> Any:
    """What a lost host metered is never settled."""
    return patched((failover, "close_meter", nothing))


def key_is_not_remembered() -> Any:
    """A start that is sent twice starts twice."""
    return patched((FakeIdempotencyStore, "add", nothing), (FakeIdempotencyStore, "find", nothing))


def acknowledged_before_it_is_written() -> Any:
    """A consumer takes its message off the queue before it has done its work."""
    guard = World.guard

    def hasty(self: Any, work: Any) -> bool:
        guard(self, work)
        return True

    return patched((World, "guard", hasty))


def stays_are_charged_without_a_meter() -> Any:
    """A stay that never ran leaves no meter, so nothing ever settles it."""
    return patched((FakeMeterStore, "open_meter", nothing))


MUTANTS: tuple[Mutant, ...] = (
    lease_without_condition,
    wipe_acknowledged_by_any_epoch,
    free_before_wipe,
    rental_without_version,
    charge_without_cursor,
    hold_without_balance,
    hold_never_released,
    loss_bills_until_now,
    bill_past_the_stop,
    quota_never_given_back,
    ticket_stays_in_line,
    agent_forgets_a_later_stop,
    agent_starts_under_any_epoch,
    spot_stay_is_never_removed,
    failover_leaves_the_meter_open,
    key_is_not_remembered,
    acknowledged_before_it_is_written,
    stays_are_charged_without_a_meter,
)
