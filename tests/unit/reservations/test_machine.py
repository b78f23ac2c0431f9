"""Random lives of reservations, with crashes between, against a reference of what is promised."""

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chalicelib.core.errors import DomainError
from chalicelib.reservations import upkeep
from chalicelib.reservations.hosts import make_reservable, make_shared
from chalicelib.reservations.keeping import HostBookings, keep_promises
from chalicelib.reservations.model import SLOT_MS, floor_slot
from chalicelib.reservations.service import cancel_reservation
from tests.factories import GPU_TYPE, REGION
from tests.fakes import START_MS, Crash
from tests.fakes.database import MemoryTransaction
from tests.unit.billing.books import check_books
from tests.unit.reservations.booking import (
    WEALTH,
    book,
    change_host,
    fail_gpus,
    mend,
    pass_slots,
    put_back,
    read_promises,
    seed_calendars,
    take,
)

HOSTS = (8, 4, 4)


@dataclass
class Interrupted(MemoryTransaction):
    """Something else happens between what a use case has read and what it commits."""

    machine: object = None

    def commit(self):
        intruder, self.machine.intruder = self.machine.intruder, None
        if intruder is not None:
            intruder()
        super().commit()


class ReservationMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.seeded, self.hosts = seed_calendars(*HOSTS)
        self.intruder = None
        cloud = self.seeded.cloud
        begin = lambda: Interrupted(cloud.db, machine=self)  # noqa: E731
        cloud.reservations = replace(cloud.reservations, transactions=begin)
        self.keys = 0
        #: What the reference knows: GPUs by (reservation, rental), and answers by key.
        self.used: Counter[tuple[str, str]] = Counter()
        self.answers: dict[str, str] = {}
        self.cancelled: dict[str, int] = {}

    @property
    def ports(self):
        return self.seeded.cloud.reservations

    @property
    def rows(self):
        return list(self.ports.store.rows.values())

    def attempt(self, act, crash=None):
        """Run; a refusal is fine, and a crash is followed by the same call again."""
        if crash is not None:
            setattr(self.seeded.cloud.db, crash, self.seeded.cloud.db.commits)
        try:
            return act()
        except Crash:
            return self.attempt(act)
        except DomainError:
            return None
        finally:
            self.seeded.cloud.db.crash_before = self.seeded.cloud.db.crash_after = None

    def pick(self, number):
        return self.rows[number % len(self.rows)]

    CRASHES = st.sampled_from((None, None, "crash_before", "crash_after"))

    @rule(
        gpus=st.sampled_from((1, 1, 2, 3, 4, 8)),
        start=st.sampled_from((0, 0, 0, 1, 5, 60, 100)),
        slots=st.integers(1, 120),
        crash=CRASHES,
    )
    def book(self, gpus, start, slots, crash):
        self.keys += 1
        self._book(f"key-{self.keys}", gpus, start, slots, crash)

    def _book(self, key, gpus, start, slots, crash=None):
        begun = (self.seeded.cloud.clock.now_ms() - START_MS) // SLOT_MS
        answer = self.attempt(
            lambda: book(self.seeded, gpus, start=begun + start, slots=slots, key=key), crash
        )
        if answer is not None:
            assert self.answers.setdefault(key, answer.body) == answer.body

    @precondition(lambda self: self.rows)
    @rule(number=st.integers(0, 99), crash=CRASHES)
    def cancel(self, number, crash):
        self._cancel(self.pick(number), crash)

    def _cancel(self, row, crash=None):
        done = self.attempt(
            lambda: cancel_reservation(self.ports, self.seeded.renter, row.reservation_id), crash
        )
        if done is not None:
            at_ms = self.cancelled.setdefault(row.reservation_id, done.cancelled_at_ms)
            assert at_ms == done.cancelled_at_ms

    @precondition(lambda self: self.rows)
    @rule(number=st.integers(0, 99), gpus=st.integers(1, 8), rental=st.integers(0, 4), fresh=st.booleans())
    def redeem(self, number, gpus, rental, fresh):
        row = self.pick(number)
        now_ms = self.seeded.cloud.clock.now_ms()
        current = [each for each in self.rows if each.starts_at_ms <= now_ms < each.ends_at_ms]
        if fresh and current:
            row = current[number % len(current)]
        self._redeem(row, gpus, f"rnt_{rental}")

    def _redeem(self, row, gpus, name):
        def act():
            index = row.bookings.index(row.open_bookings[0]) if row.open_bookings else 0
            take(self.seeded, row, name, gpus, host=index)
            return row.bookings[index].host_id

        host_id = self.attempt(act)
        if host_id is not None:
            now_ms = self.seeded.cloud.clock.now_ms()
            assert row.starts_at_ms <= now_ms < row.ends_at_ms
            self.used[row.reservation_id, host_id, name] += gpus

    @precondition(lambda self: self.used)
    @rule(number=st.integers(0, 99), twice=st.booleans())
    def release(self, number, twice):
        reservation_id, host_id, name = sorted(self.used)[number % len(self.used)]
        gpus = self.used.pop((reservation_id, host_id, name))
        row = self.ports.store.get_reservation(reservation_id)
        index = [booking.host_id for booking in row.bookings].index(host_id)
        put_back(self.seeded, row, name, gpus, host=index)
        if twice:
            assert self.attempt(lambda: put_back(self.seeded, row, name, gpus, host=index) or True) is None

    @rule(slots=st.sampled_from((0.3, 1, 7.5, 40)), sweeps=st.integers(0, 2))
    def go_on(self, slots, sweeps):
        now_ms = pass_slots(self.seeded, slots)
        for host_id in self.hosts:
            self.seeded.beat(host_id)
        for _ in range(sweeps):
            upkeep.sweep(self.ports, now_ms)

    @rule(number=st.integers(0, 2), crash=CRASHES, comes_back=st.booleans())
    def lose_host(self, number, crash, comes_back):
        host_id = self.hosts[number]
        change_host(self.seeded, host_id, state="lost")
        self.attempt(lambda: upkeep.rebook_host(self.ports, host_id), crash)
        if comes_back:
            change_host(self.seeded, host_id, state="active")

    @rule(number=st.integers(0, 2))
    def host_is_back(self, number):
        change_host(self.seeded, self.hosts[number], state="active")

    @rule(number=st.integers(0, 2), broken=st.integers(0, 4), crash=CRASHES, mended=st.booleans())
    def break_gpus(self, number, broken, crash, mended):
        host_id = self.hosts[number]
        host = self.seeded.cloud.fleet_store.get_host(host_id)
        fail_gpus(self.seeded, host_id, min(broken, host.gpu_count - host.faulty_gpus))
        self.attempt(self._look, crash)
        if mended:
            mend(self.seeded, host_id)

    def _look(self):
        keep_promises(self.ports, [(GPU_TYPE, REGION)], self.seeded.cloud.clock.now_ms())

    @rule(number=st.integers(0, 2), crash=CRASHES)
    def vacate(self, number, crash):
        """As before a retirement; the host is another's then."""
        host_id = self.hosts[number]
        change_host(self.seeded, host_id, state="draining")
        self.attempt(lambda: HostBookings(self.ports).vacate(host_id), crash)
        assert self.seeded.cloud.db.table("heads").get(host_id, 0) == 0
        change_host(self.seeded, host_id, state="active")

    @rule(number=st.integers(0, 2))
    def share_and_keep(self, number):
        host_id = self.hosts[number]
        self.attempt(lambda: make_shared(self.ports, self.seeded.operator, host_id))
        self.attempt(lambda: make_reservable(self.ports, self.seeded.operator, host_id))

    @rule(
        number=st.integers(0, 99),
        other=st.integers(0, 99),
        first=st.sampled_from(("cancel", "book", "sweep", "lose", "look")),
        second=st.sampled_from(("cancel", "book", "sweep", "lose", "look", "share", "redeem", "same key")),
    )
    def meet(self, number, other, first, second):
        """Two calls at once: the second comes between what the first has read and what it writes."""
        self.keys += 2
        key = f"key-{self.keys}"
        known = f"key-{self.keys - 1}"
        self.intruder = lambda: self._act(second, other, known if second == "same key" else key)
        self._act(first, number, known)
        self.intruder = None

    def _act(self, name, number, key):
        host_id = self.hosts[number % 3]
        if name in {"book", "same key"}:
            self._book(key, 4, 0 if number % 2 else number, 8)
        elif name == "sweep":
            self.attempt(lambda: upkeep.sweep(self.ports, self.seeded.cloud.clock.now_ms()))
        elif name == "lose":
            self.attempt(lambda: upkeep.rebook_host(self.ports, host_id))
        elif name == "look":
            self.attempt(self._look)
        elif name == "share":
            self.attempt(lambda: make_shared(self.ports, self.seeded.operator, host_id))
        elif self.rows and name == "cancel":
            self._cancel(self.pick(number))
        elif self.rows:
            self._redeem(self.pick(number), 1, f"rnt_{number % 5}")

    @invariant()
    def no_slot_is_oversold_and_each_promise_belongs_to_one_booking(self):
        now_ms = floor_slot(self.seeded.cloud.clock.now_ms() + SLOT_MS - 1)
        coming = (now_ms - START_MS) // SLOT_MS
        for host_id, gpus in zip(self.hosts, HOSTS, strict=True):
            promised = read_promises(self.seeded, host_id)
            assert all(0 < count <= gpus for count in promised.values()), (host_id, promised)
            expected: Counter[int] = Counter()
            for row in self.rows:
                held = [each for each in row.bookings if each.host_id == host_id and each.state != "closed"]
                first = (max(row.starts_at_ms, now_ms) - START_MS) // SLOT_MS
                for slot in range(first, (row.ends_at_ms - START_MS) // SLOT_MS):
                    expected[slot] += sum(each.gpu_count for each in held)
            found = {slot: count for slot, count in promised.items() if slot >= coming}
            assert found == {slot: count for slot, count in expected.items() if count}, host_id

    @invariant()
    def a_reservation_in_force_has_its_gpus_and_one_that_is_over_has_none(self):
        for row in self.rows:
            open_gpus = sum(each.gpu_count for each in row.open_bookings)
            assert open_gpus == (row.total_gpus if row.state in {"confirmed", "active"} else 0)
            assert (row.state == "cancelled") == (row.reservation_id in self.cancelled)

    @invariant()
    def hosts_count_their_open_bookings(self):
        counted = Counter(each.host_id for row in self.rows for each in row.open_bookings)
        heads = self.seeded.cloud.db.table("heads")
        assert {host: count for host, count in heads.items() if count} == dict(counted)
        hosts = self.seeded.cloud.db.table("hosts")
        assert all(hosts[host_id].reservable for host_id in counted)

    @invariant()
    def no_more_is_redeemed_than_is_booked_and_what_the_rentals_know_is_what_is_stored(self):
        stored = Counter(
            {
                (row.reservation_id, booking.host_id, rental_id): gpus
                for row in self.rows
                for booking in row.bookings
                for rental_id, gpus in booking.uses.items()
            }
        )
        assert stored == self.used
        assert all(each.used_gpus <= each.gpu_count for row in self.rows for each in row.bookings)

    @invariant()
    def the_quota_is_used_by_what_is_not_over(self):
        promised = sum(row.total_gpus for row in self.rows if row.state in {"confirmed", "active"})
        assert self.ports.store.get_quota(self.seeded.renter.account_id).used_gpus == promised <= 64

    @invariant()
    def what_is_held_is_the_deposits_of_what_is_not_over_and_what_is_over_was_paid_once(self):
        db, account_id = self.seeded.cloud.db, self.seeded.renter.account_id
        balance = db.table("balances")[account_id]
        open_rows = [row for row in self.rows if row.state in {"confirmed", "active"}]
        assert balance.held_micros == sum(row.deposit_micros for row in open_rows)
        fees = sum(row.cancel_fee_micros or 0 for row in self.rows)
        owed = sum(row.credit_due_micros or 0 for row in self.rows)
        assert balance.posted_micros == WEALTH - fees + owed

    def teardown(self):
        check_books(self.seeded)

    @invariant()
    def every_answer_is_one_reservation(self):
        assert sorted(self.answers.values()) == sorted(row.reservation_id for row in self.rows)


def test_random_lives_never_oversell_a_slot_and_give_back_exactly_once():
    quick = settings(
        max_examples=250,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(ReservationMachine, settings=quick)
