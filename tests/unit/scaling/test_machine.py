"""Random demand, faults and crashes: a pool buys once, ends nobody's host, leaks nothing, and settles."""

import contextlib
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.core.errors import DomainError
from chalicelib.rentals.life import terminate_rental
from chalicelib.scaling.model import SLOW_END_MS
from tests.fakes import Crash
from tests.unit.scaling.cloud import ON_DEMAND, OTHER_ZONE, POOL, ScalingCloud, build_cloud

MAX_HOSTS = 3
FAULTS = (
    "lost_replies",
    "unanswered",
    "throttled_launches",
    "failing_ends",
    "swallowed_ends",
    "throttled_lists",
    "broken_pages",
    "empty_lists",
)


class PoolMachine(RuleBasedStateMachine):
    cloud: ScalingCloud

    @initialize(warm=st.sampled_from([0, 4, 8]), least=st.integers(0, 1))
    def begin(self, warm, least):
        self.cloud = build_cloud(warm_gpus=warm, min_hosts=least, max_hosts=MAX_HOSTS)
        self.asked = 0
        self.running: list[str] = []
        self.ended_while_busy: list[str] = []
        self.actions: list[int] = []
        self._watch()

    def _watch(self):
        """Note who is busy at the moment when EC2 is told to end it, and when the plan acts."""
        ec2 = self.cloud.ec2
        terminate = ec2._terminate

        def watched(instance_id):
            host_id = ec2.rows[instance_id].host_id
            if host_id is not None and ec2.is_alive(instance_id) and self.cloud.is_busy(host_id):
                self.ended_while_busy.append(host_id)
            terminate(instance_id)

        ec2._terminate = watched

    @rule(gpus=st.sampled_from([1, 2, 4, 8]))
    @precondition(lambda self: len(self.running) < 8)
    def ask(self, gpus):
        self.asked += 1
        self.running.append(self.cloud.want(gpus, f"ask-{self.asked}", recovery="replace").rental_id)

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def give_back(self, data):
        rental_id = data.draw(st.sampled_from(self.running))
        self.running.remove(rental_id)
        self._end(rental_id)

    def _end(self, rental_id):
        seeded = self.cloud.seeded
        with contextlib.suppress(DomainError):
            rental = terminate_rental(seeded.cloud.rentals, seeded.renter, rental_id)
            if rental.state == "terminating":
                seeded.report(rental, "terminated", wiped=True, ended_at_ms=self.cloud.now_ms)

    @rule(count=st.integers(1, 8), boots=st.booleans())
    def pass_minutes(self, count, boots):
        for _ in range(count):
            self._minute(boots=boots)

    @rule(times=st.integers(2, 4))
    def run_at_once(self, times):
        for _ in range(times):
            self._run()

    @rule(hours=st.integers(1, 3))
    def stand_still(self, hours):
        self.cloud.seeded.cloud.clock.advance_seconds(hours * 3600)
        self._run()

    @rule(fault=st.sampled_from(FAULTS), count=st.integers(1, 5))
    def fail(self, fault, count):
        setattr(self.cloud.ec2, fault, count)

    @rule(options=st.sets(st.sampled_from([ON_DEMAND.name, OTHER_ZONE.name])))
    def exhaust(self, options):
        self.cloud.ec2.exhausted = set(options)

    @rule(calls=st.integers(0, 8))
    def die_between_calls(self, calls):
        self.cloud.ec2.crash_in = calls
        self._minute(boots=True)

    @rule(commits=st.integers(0, 4), after=st.booleans())
    def die_at_a_commit(self, commits, after):
        db = self.cloud.seeded.cloud.db
        self.cloud.seeded.cloud.clock.advance_seconds(60)
        setattr(db, "crash_after" if after else "crash_before", db.commits + commits)
        self._run()

    @rule()
    def a_stray_appears(self):
        number = len(self.cloud.ec2.rows)
        self.cloud.ec2.add(POOL, f"lch_{number:026d}", f"hst_{number:026d}")

    @rule(data=st.data())
    @precondition(lambda self: self.cloud.ec2.list_alive())
    def the_provider_takes_one(self, data):
        taken = data.draw(st.sampled_from([each.instance_id for each in self.cloud.ec2.list_alive()]))
        self.cloud.ec2.end(taken)

    def _minute(self, *, boots):
        self.cloud.seeded.cloud.clock.advance_seconds(60)
        if boots:
            self.cloud.boot()
        self._run()

    def _run(self):
        db = self.cloud.seeded.cloud.db
        before = self.cloud.store.get_state(POOL).last_action_at_ms
        try:
            self.cloud.run()
        except Crash:
            pass
        finally:
            self.cloud.ec2.crash_in = None
            db.crash_before = db.crash_after = None
        after = self.cloud.store.get_state(POOL).last_action_at_ms
        if after != before:
            self.actions.append(after)

    @invariant()
    def a_launch_has_one_instance(self):
        made = [row.launch_id for row in self.cloud.ec2.rows.values() if row.launch_id is not None]
        assert len(made) == len(set(made))

    @invariant()
    def nobody_lost_a_host_that_worked(self):
        assert self.ended_while_busy == []

    @invariant()
    def there_was_one_action_a_minute(self):
        assert all(later - sooner >= 60_000 for sooner, later in pairwise(self.actions))
        requested = sorted(
            entry.at_ms
            for entry in self.cloud.seeded.cloud.db.table("audit").values()
            if entry.action == "launch.requested"
        )
        assert all(later - sooner >= 60_000 for sooner, later in pairwise(requested))

    @invariant()
    def there_are_never_more_launches_than_allowed(self):
        ordered = [launch for launch in self.cloud.open() if not launch.is_orphan]
        assert len(ordered) <= MAX_HOSTS

    def teardown(self):
        if not hasattr(self, "cloud"):
            return
        ec2 = self.cloud.ec2
        for fault in FAULTS:
            setattr(ec2, fault, 0)
        ec2.exhausted = set()
        for rental_id in self.running:
            self._end(rental_id)
        for _ in range(200):
            self._minute(boots=True)
        self._check_settled()
        # Demand that stands still: nothing is bought or ended any more.
        count, open_before = len(ec2.rows), self.cloud.open()
        for _ in range(30):
            self._minute(boots=True)
        assert (len(ec2.rows), self.cloud.open()) == (count, open_before)
        self.nobody_lost_a_host_that_worked()

    def _check_settled(self):
        """Every instance that lives is a host with a record; what is not wanted is gone."""
        alive = {instance.instance_id for instance in self.cloud.ec2.list_alive()}
        recorded = {launch.instance_id for launch in self.cloud.open()}
        assert alive == recorded
        assert {launch.state for launch in self.cloud.open()} <= {"running"}
        pool = self.cloud.settings()
        needed = max(pool.min_hosts, -(-pool.warm_gpus // 8))
        assert len(alive) == needed
        assert all(self.cloud.host(launch.host_id).state == "active" for launch in self.cloud.open())
        slow = [launch for launch in self.cloud.open() if launch.ending_since_ms is not None]
        assert slow == [], SLOW_END_MS


PoolMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPoolMachine = PoolMachine.TestCase
