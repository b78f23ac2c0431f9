"""What the use cases of scaling need: records, EC2, hosts, demand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from chalicelib.core.errors import Conflict
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.scaling.model import Demand, Launch, LaunchOption, PoolSettings, PoolState

#: Who acts when nobody asked.
SCALING_ACTOR = "scaling"
TAG_PREFIX = "provocative:"

InstanceState = Literal["pending", "running", "shutting-down", "terminated", "stopping", "stopped"]


class InstanceError(Exception):
    """EC2 did not do what was asked. ``code`` is stable and stands in the launch's ``last_error``."""

    code = "instance_error"


class InsufficientCapacity(InstanceError):
    """There is no such machine at the moment; nothing was launched."""

    code = "insufficient_capacity"


class QuotaExceeded(InstanceError):
    """The provider's account may have no more of them; nothing was launched."""

    code = "quota_exceeded"


class Refused(InstanceError):
    """The order is wrong and will be wrong again; nothing was launched."""

    code = "refused"


class Throttled(InstanceError):
    """Asked too often; nothing was done."""

    code = "throttled"


class OutcomeUnknown(InstanceError):
    """No answer, or none that can be relied on: it may have been done."""

    code = "outcome_unknown"


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """``user_data`` makes the machine a host. The same ``launch_id`` always carries the same order."""

    launch_id: str
    host_id: str
    pool: str
    region: str
    option: LaunchOption
    user_data: str


@dataclass(frozen=True, slots=True)
class Instance:
    """What EC2 says. ``launch_id`` and ``host_id`` are from its tags."""

    instance_id: str
    state: InstanceState
    launched_at_ms: int
    instance_type: str
    availability_zone: str
    launch_id: str | None = None
    host_id: str | None = None

    @property
    def ended(self) -> bool:
        return self.state == "terminated"

    @property
    def ending(self) -> bool:
        return self.state in {"shutting-down", "terminated"}


class Instances(Protocol):
    def launch(self, order: LaunchOrder) -> str:
        """Return the id of the launch's one instance; repeated, the same. Raises InstanceError."""
        ...

    def terminate(self, region: str, instance_id: str) -> None:
        """Order the end; repeating it is harmless. Raises InstanceError."""

    def list_instances(self, region: str, pool: str) -> list[Instance]:
        """Every instance with the pool's tags, ended ones too while EC2 shows them: all, or InstanceError."""
        ...

    def find_instance(self, region: str, instance_id: str) -> Instance | None:
        """One instance by its id; ``None`` only when EC2 says that it knows none. Raises InstanceError."""
        ...


class ScalingStore(Protocol):
    def list_pools(self) -> list[PoolSettings]: ...
    def get_pool(self, gpu_type: str, region: str) -> PoolSettings | None: ...
    def put_pool(self, tx: Transaction, settings: PoolSettings) -> None:
        """Fails with Unavailable unless ``settings.version`` follows the stored one's."""

    def get_state(self, pool: str) -> PoolState: ...
    def replace_state(self, tx: Transaction, pool: str, old: PoolState, new: PoolState) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def list_open(self, pool: str) -> list[Launch]:
        """Launches that have not ended, as they are now."""
        ...

    def list_ended(self, pool: str, limit: int) -> list[Launch]:
        """Newest first."""
        ...

    def get_launch(self, pool: str, launch_id: str) -> Launch | None: ...
    def find_by_host(self, host_id: str) -> Launch | None: ...
    def add_launch(self, tx: Transaction, launch: Launch) -> None:
        """Fails with Unavailable when there is one with its id."""

    def replace_launch(self, tx: Transaction, old: Launch, new: Launch) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored. Sets the new one's version."""


HostStanding = Literal["unknown", "enrolled", "retired"]


class HostInUse(Conflict):
    """The host has a lease or owes a wipe, or has just enrolled: it stays."""

    code = "host_in_use"


class Hosts(Protocol):
    """The fleet, as scaling needs it."""

    def add_enrolment(self, tx: Transaction, launch_id: str, host_id: str, settings: PoolSettings) -> None:
        """Let the launch's machine, and no other, become ``host_id``."""

    def build_token(self, launch_id: str) -> str:
        """The launch's enrolment token: always the same, stored nowhere."""
        ...

    def find_standing(self, host_id: str) -> HostStanding: ...
    def close(self, tx: Transaction, launch_id: str, host_id: str) -> None:
        """Take an idle host out for good in ``tx``; one that never enrolled can do so no more.

        Raises HostInUse, or lets the commit fail with it or with Unavailable: something of it is leased or
        wiping, or its machine enrolled just now. Repeating it is harmless.
        """

    def retire(self, host_id: str) -> None:
        """The machine is gone for certain: fail over what ran there, take it out. Safe to repeat."""


class Demands(Protocol):
    def read_demand(self, settings: PoolSettings, now_ms: int) -> Demand: ...


@dataclass(frozen=True, slots=True)
class ScalingPorts:
    store: ScalingStore
    hosts: Hosts
    demands: Demands
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    #: The installation's account, under which the platform's own acts are audited.
    read_account: Callable[[], str]
    read_intensity: Callable[[str], int]
    build_user_data: Callable[[str, str], str]


def add_audit(
    ports: ScalingPorts,
    tx: Transaction,
    action: str,
    subject: str,
    details: Mapping[str, object] | None = None,
    actor: str = SCALING_ACTOR,
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        ports.read_account(),
        actor,
        action,
        subject,
        ports.clock.now_ms(),
        dict(details or {}),
    )
    ports.audit.add_entry(tx, entry)
