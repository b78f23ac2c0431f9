"""What sixteen processes do to the control plane at once, and the history that they write of it."""

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib import wiring
from chalicelib.billing.charging import charge_rental
from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import DomainError, NotFound, Unavailable
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.watch import lose_host
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat, Report
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.life import restart_rental, resume_rental, stop_rental, terminate_rental
from chalicelib.rentals.model import Rental
from chalicelib.rentals.rules import ACTIVE_STATES, FINAL_STATES
from chalicelib.rentals.service import CreateRental, RentalRequest, create_rental
from chalicelib.reservations.model import SLOT_MS, Reservation, floor_slot
from chalicelib.reservations.ports import get_reservation
from chalicelib.reservations.service import (
    CreateReservation,
    ReservationRequest,
    cancel_reservation,
    create_reservation,
)
from tests.integration.faults import Faults
from tests.integration.fleet_setup import REGION
from tests.simulation.records import Held, Operation, Promised

#: What is done by one transaction or not at all.
ONE_TRANSACTION = frozenset({"rent", "stop", "terminate", "resume", "restart", "look", "book", "cancel"})
#: How often a renter asks again with the key whose answer was lost.
ASKS = 4


@dataclass
class Seen:
    """What an operation has learnt; filled in while it runs, so that a failure keeps what came before."""

    detail: str = ""
    made_id: str | None = None
    held: tuple[Held, ...] = ()
    epochs: tuple[tuple[str, int], ...] = ()
    wiped: tuple[tuple[str, int], ...] = ()
    promised: tuple[Promised, ...] = ()

    def look_at(self, rental: Rental) -> None:
        self.made_id, self.detail = rental.rental_id, rental.state
        if rental.state in ACTIVE_STATES:
            self.held = list_held(rental)

    def look_up(self, reservation: Reservation) -> None:
        self.made_id, self.detail = reservation.reservation_id, reservation.state
        self.promised = list_promised(reservation)


def list_promised(reservation: Reservation) -> tuple[Promised, ...]:
    """What its hosts keep for it; one that it was moved away from does, until its slots are given back."""
    if reservation.state not in {"confirmed", "active"}:
        return ()
    window = reservation.starts_at_ms, reservation.ends_at_ms
    return tuple(
        Promised(reservation.reservation_id, booking.host_id, booking.gpu_count, *window)
        for booking in reservation.bookings
        if booking.state != "closed"
    )


def list_held(rental: Rental) -> tuple[Held, ...]:
    return tuple(Held(rental.rental_id, lease.gpu_uuid, lease.epoch) for lease in rental.leases)


@dataclass
class Stage:
    """What the processes share: who they are, what there is, and what was done."""

    gpu_type: str
    renters: Sequence[Principal]
    host_ids: Sequence[str]
    faults: Faults
    operations: list[Operation] = field(default_factory=list)
    #: Rentals that were seen and may still live.
    rental_ids: dict[str, Principal] = field(default_factory=dict)
    #: Reservations that were seen and may still be in force.
    reservation_ids: dict[str, Principal] = field(default_factory=dict)
    #: Acknowledgements that were sent: a host may say them again.
    said: list[tuple[str, Report]] = field(default_factory=list)

    @property
    def pool(self) -> str:
        return name_pool(self.gpu_type, REGION)

    def record(self, process: int, kind: str, subject: str, work: Callable[[Seen], None]) -> Operation:
        """Do it and write down what came of it: who got no answer does not know whether it happened.

        What takes several transactions may have done some of them when it is refused.
        """
        seen, invoked_us = Seen(), read_clock_us()
        try:
            work(seen)
        except Unavailable as error:
            outcome, seen.detail = "info", error.code
        except DomainError as error:
            outcome = "fail" if kind in ONE_TRANSACTION else "info"
            seen.detail = error.code
        except Exception as error:
            outcome, seen.detail = "info", f"{type(error).__name__}: {error}"[:160]
        else:
            outcome = "ok"
        operation = Operation(
            process,
            kind,
            subject,
            invoked_us,
            read_clock_us(),
            outcome,
            seen.detail,
            seen.made_id,
            seen.held,
            seen.epochs,
            seen.wiped,
            seen.promised,
        )
        self.operations.append(operation)
        return operation

    # Hosts.

    def beat(self, host_id: str, seen: Seen, *, rng: random.Random) -> None:
        """A heartbeat that tells what the host would have by what it was ordered."""
        rows = wiring.rental_ports().fleet.list_gpus(host_id)
        seen.epochs = tuple((row.gpu.gpu_uuid, row.epoch) for row in rows)
        reports = []
        for rental_id in sorted({row.rental_id for row in rows if row.rental_id is not None}):
            rental = wiring.rental_ports().store.get_rental(rental_id)
            assert rental is not None, "a lease has its rental"
            wiping = {(row.gpu.gpu_uuid, row.epoch) for row in rows if row.lease_state == "wiping"}
            reports += build_reports(rental, host_id, wiping, rng)
        again = [report for heard, report in self.said[-40:] if heard == host_id]
        if again and rng.random() < 0.2:
            reports.append(rng.choice(again))
        wipes = [report for report in reports if report.wiped]
        seen.wiped = tuple((lease.gpu_uuid, lease.epoch) for each in wipes for lease in each.leases)
        self.said += [(host_id, report) for report in wipes]
        record_heartbeat(wiring.meter_ports(), build_beat(host_id, tuple(reports)))

    def fail_over(self, host_id: str) -> None:
        """The provider says that the host has ended: it is given up, and what ran there goes elsewhere."""
        ports, now_ms = wiring.watch_ports(), wiring.clock().now_ms()
        liveness = ports.fleet.get_liveness(host_id)
        assert liveness is not None, "it was heard"
        lose_host(ports, host_id, "instance_ended", liveness.last_seen_at_ms, now_ms)
        assert ports.failover is not None
        ports.failover.fail_over_host(host_id, "instance_ended", now_ms)


def build_reports(
    rental: Rental, host_id: str, wiping: set[tuple[str, int]], rng: random.Random
) -> list[Report]:
    if rental.state in ACTIVE_STATES and rental.host_id == host_id:
        return [Report(rental.rental_id, rental.leases, "running", None, None, wiped=False)]
    return [
        Report(rental.rental_id, stay.wipe_leases, "terminated", None, None, wiped=True)
        for stay in rental.placements
        if stay.host_id == host_id and wiping & {(each.gpu_uuid, each.epoch) for each in stay.wipe_leases}
        # A wipe takes its time: not every heartbeat has it.
        if rng.random() < 0.8
    ]


def build_beat(host_id: str, reports: tuple[Report, ...] = ()) -> Beat:
    return Beat(host_id, "boot", "0.1.0", 8, 0, 0, wiring.clock().now_ms(), reports)


def read_clock_us() -> int:
    return time.time_ns() // 1000


@dataclass
class Player:
    """One process: a renter of an account that it shares, and now and then a host, a schedule, a failure."""

    stage: Stage
    number: int
    seed: int
    keys: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}-player-{self.number}")
        self.renter = self.stage.renters[self.number % len(self.stage.renters)]

    def play(self, operations: int) -> None:
        weighted = (
            (self.rent, 20),
            (self.terminate, 12),
            (self.stop, 8),
            (self.resume, 9),
            (self.restart, 4),
            (self.beat, 40),
            (self.charge, 9),
            (self.dispatch, 4),
            (self.look, 5),
            (self.lose_host, 1),
            (self.book, 7),
            (self.cancel, 4),
            (self.redeem, 12),
            (self.look_up, 6),
        )
        moves, weights = zip(*weighted, strict=True)
        with self.stage.faults.meet(str(self.number)):
            for _ in range(operations):
                self.random.choices(moves, weights)[0]()

    def record(self, kind: str, subject: str, work: Callable[[Seen], None]) -> Operation:
        return self.stage.record(self.number, kind, subject, work)

    def rent(self) -> None:
        self.ask_for(self.random.choice((1, 1, 1, 2, 2, 4, 8)))

    def redeem(self) -> None:
        reservation_id = self.choose(self.stage.reservation_ids)
        if reservation_id is None:
            self.book()
        else:
            self.ask_for(self.random.choice((1, 1, 1, 2, 4)), reservation_id)

    def ask_for(self, gpu_count: int, reservation_id: str | None = None) -> None:
        rng, key = self.random, f"{self.number}-{next(self.keys)}"
        request = RentalRequest(
            self.stage.gpu_type,
            gpu_count,
            REGION,
            Workload(("true",)),
            label=key,
            waits=rng.random() < 0.5,
            recovery=rng.choice(("replace", "fail")),
            billing_class="on_demand" if reservation_id is None else "reserved",
            reservation_id=reservation_id,
        )
        fingerprint = compute_fingerprint("POST /v1/rentals", key.encode())
        command = CreateRental(request, key, fingerprint, lambda rentals: rentals[0].rental_id)

        def ask(seen: Seen) -> None:
            created = create_rental(wiring.rental_ports(), self.renter, command)
            seen.made_id, seen.detail = created.body, "replayed" if created.replayed else ""
            self.stage.rental_ids[created.body] = self.renter

        self.insist("rent", key, ask)

    def insist(self, kind: str, key: str, ask: Callable[[Seen], None]) -> None:
        """Ask until there is an answer, mostly, and now and then once more."""
        for _ in range(ASKS):
            if self.record(kind, key, ask).outcome != "info" and self.random.random() < 0.9:
                break

    def choose(self, ids: Mapping[str, Principal]) -> str | None:
        """One of the newer ones of this account; the older ones come to an end too."""
        owned = [each for each, renter in list(ids.items()) if renter is self.renter]
        return self.random.choice(owned[-30:]) if owned else None

    def book(self) -> None:
        rng, key = self.random, f"{self.number}-{next(self.keys)}"
        # Most begin at once, so that they can be redeemed.
        start_ms = floor_slot(wiring.clock().now_ms()) + rng.choice((0, 0, 0, 0, 1, 4)) * SLOT_MS
        window = (start_ms, start_ms + rng.choice((1, 2, 4, 8)) * SLOT_MS)
        request = ReservationRequest(
            self.stage.gpu_type, REGION, rng.choice((1, 2, 4, 8)), *window, label=key
        )
        fingerprint = compute_fingerprint("POST /v1/reservations", key.encode())
        made: list[Reservation] = []

        def render(reservation: Reservation) -> str:
            made.append(reservation)
            return reservation.reservation_id

        command = CreateReservation(request, key, fingerprint, render)

        def ask(seen: Seen) -> None:
            created = create_reservation(wiring.reservation_ports(), self.renter, command)
            seen.made_id, seen.detail = created.body, "replayed" if created.replayed else ""
            if not created.replayed:
                seen.promised = list_promised(made[-1])
            self.stage.reservation_ids[created.body] = self.renter

        self.insist("book", key, ask)

    def cancel(self) -> None:
        reservation_id = self.choose(self.stage.reservation_ids)
        if reservation_id is None:
            return

        def do(seen: Seen) -> None:
            seen.look_up(cancel_reservation(wiring.reservation_ports(), self.renter, reservation_id))
            self.stage.reservation_ids.pop(reservation_id, None)

        self.record("cancel", reservation_id, do)

    def look_up(self) -> None:
        reservation_id = self.choose(self.stage.reservation_ids)
        if reservation_id is None:
            return

        def do(seen: Seen) -> None:
            seen.look_up(get_reservation(wiring.reservation_ports(), self.renter, reservation_id))
            if not seen.promised:
                self.stage.reservation_ids.pop(reservation_id, None)

        self.record("look up", reservation_id, do)

    def act(self, kind: str, action: Callable[..., Rental], **more: bool) -> None:
        rental_id = self.choose(self.stage.rental_ids)
        if rental_id is None:
            return self.rent()

        def do(seen: Seen) -> None:
            rental = action(wiring.rental_ports(), self.renter, rental_id, **more)
            seen.look_at(rental)
            if rental.state in FINAL_STATES:
                self.stage.rental_ids.pop(rental_id, None)

        self.record(kind, rental_id, do)
        return None

    def terminate(self) -> None:
        self.act("terminate", terminate_rental)

    def stop(self) -> None:
        self.act("stop", stop_rental)

    def resume(self) -> None:
        self.act("resume", resume_rental, wait=self.random.random() < 0.5)

    def restart(self) -> None:
        self.act("restart", restart_rental)

    def look(self) -> None:
        def read(_ports: object, _renter: Principal, rental_id: str) -> Rental:
            rental = wiring.rental_ports().store.get_rental(rental_id)
            if rental is None:
                raise NotFound("There is no such rental.")
            return rental

        self.act("look", read)

    def beat(self) -> None:
        host_id = self.random.choice(self.stage.host_ids)
        self.record("beat", host_id, lambda seen: self.stage.beat(host_id, seen, rng=self.random))

    def lose_host(self) -> None:
        host_id = self.random.choice(self.stage.host_ids)
        self.record("fail_over", host_id, lambda _seen: self.stage.fail_over(host_id))

    def charge(self) -> None:
        rental_ids = list(self.stage.rental_ids)[-60:]
        if rental_ids:
            rental_id = self.random.choice(rental_ids)
            self.record("charge", rental_id, lambda _seen: charge_rental(wiring.billing_ports(), rental_id))

    def dispatch(self) -> None:
        pool = self.stage.pool
        self.record("dispatch", pool, lambda _seen: dispatch_pool(wiring.rental_ports(), pool) and None)
