"""EC2 in memory: one instance a client token, slow ends, and every way in which it fails."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.scaling.ports import (
    Instance,
    InsufficientCapacity,
    LaunchOrder,
    OutcomeUnknown,
    QuotaExceeded,
    Throttled,
)
from tests.fakes.database import Crash, FakeClock

#: EC2 shows what has ended for about an hour.
SHOWN_MS = 60 * 60_000


@dataclass
class FakeInstances:
    """`Instances`. Faults are counts of calls that fail, or sets; ``crash_in`` calls from now it dies."""

    clock: FakeClock
    ends_after_ms: int = 60_000
    #: Options by name that have no capacity, or are over the quota.
    exhausted: set[str] = field(default_factory=set)
    over_quota: set[str] = field(default_factory=set)
    lost_replies: int = 0
    unanswered: int = 0
    throttled_launches: int = 0
    failing_ends: int = 0
    #: Ends that EC2 accepts, and forgets.
    swallowed_ends: int = 0
    throttled_lists: int = 0
    broken_pages: int = 0
    empty_lists: int = 0
    #: Instances that lists leave out.
    unlisted: set[str] = field(default_factory=set)
    crash_in: int | None = None
    rows: dict[str, Instance] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    orders: dict[str, LaunchOrder] = field(default_factory=dict)
    ended_at_ms: dict[str, int] = field(default_factory=dict)
    launches: int = 0
    end_orders: int = 0

    def launch(self, order: LaunchOrder) -> str:
        return self._step(lambda: self._launch(order))

    def _launch(self, order: LaunchOrder) -> str:
        self.launches += 1
        if self.throttled_launches:
            self.throttled_launches -= 1
            raise Throttled("RequestLimitExceeded")
        if self.unanswered:
            self.unanswered -= 1
            raise OutcomeUnknown("no connection")
        instance_id = self._find_or_make(order)
        if self.lost_replies:
            self.lost_replies -= 1
            raise OutcomeUnknown("read timeout")
        return instance_id

    def _find_or_make(self, order: LaunchOrder) -> str:
        before = self.orders.get(order.launch_id)
        if before is not None:
            if before != order:
                raise OutcomeUnknown("IdempotentParameterMismatch")
            return next(key for key, row in self.rows.items() if row.launch_id == order.launch_id)
        if order.option.name in self.exhausted:
            raise InsufficientCapacity("InsufficientInstanceCapacity")
        if order.option.name in self.over_quota:
            raise QuotaExceeded("VcpuLimitExceeded")
        self.orders[order.launch_id] = order
        return self.add(order.pool, order.launch_id, order.host_id, order.option.instance_type)

    def add(
        self, pool: str, launch_id: str | None, host_id: str | None, instance_type: str = "p5.48xlarge"
    ) -> str:
        """Make an instance, ordered or not."""
        instance_id = f"i-{len(self.rows):017x}"
        self.rows[instance_id] = Instance(
            instance_id, "running", self.clock.now_ms(), instance_type, "eu-north-1a", launch_id, host_id
        )
        self.pools[instance_id] = pool
        return instance_id

    def terminate(self, region: str, instance_id: str) -> None:
        self._step(lambda: self._terminate(instance_id))

    def _terminate(self, instance_id: str) -> None:
        self.end_orders += 1
        if self.failing_ends:
            self.failing_ends -= 1
            raise OutcomeUnknown("InternalError")
        if self.swallowed_ends:
            self.swallowed_ends -= 1
            return
        self.end(instance_id)

    def end(self, instance_id: str) -> None:
        """Begin the end, as an order or the provider does."""
        if instance_id in self.rows and instance_id not in self.ended_at_ms:
            self.rows[instance_id] = replace(self.rows[instance_id], state="shutting-down")
            self.ended_at_ms[instance_id] = self.clock.now_ms() + self.ends_after_ms

    def list_instances(self, region: str, pool: str) -> list[Instance]:
        return self._step(lambda: self._list(pool))

    def _list(self, pool: str) -> list[Instance]:
        if self.throttled_lists:
            self.throttled_lists -= 1
            raise Throttled("RequestLimitExceeded")
        if self.broken_pages:
            self.broken_pages -= 1
            raise OutcomeUnknown("the second page did not come")
        if self.empty_lists:
            self.empty_lists -= 1
            return []
        listed = [self._show(key) for key in self.rows if self.pools[key] == pool]
        return [each for each in listed if each is not None and each.instance_id not in self.unlisted]

    def find_instance(self, region: str, instance_id: str) -> Instance | None:
        return self._step(lambda: self._show(instance_id))

    def _show(self, instance_id: str) -> Instance | None:
        row = self.rows.get(instance_id)
        ended_at_ms = self.ended_at_ms.get(instance_id)
        if row is None or ended_at_ms is None or ended_at_ms > self.clock.now_ms():
            return row
        return replace(row, state="terminated") if self.clock.now_ms() - ended_at_ms < SHOWN_MS else None

    def is_alive(self, instance_id: str) -> bool:
        shown = self._show(instance_id)
        return shown is not None and not shown.ended

    def list_alive(self) -> list[Instance]:
        return [row for key, row in self.rows.items() if self.is_alive(key)]

    def _step(self, call: Callable[[], Any]) -> Any:
        """Die before the call or after it, if that is asked for."""
        if self.crash_in is None:
            return call()
        self.crash_in -= 1
        if self.crash_in < 0:
            raise Crash
        answer = call()
        self.crash_in -= 1
        if self.crash_in < 0:
            raise Crash
        return answer
