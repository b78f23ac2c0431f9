"""The messages themselves: what may stand in them, and how much of it.

Units are in the names: ``_ms`` is milliseconds since the Unix epoch for instants (``_at_ms``),
``_millijoules``, ``_milliwatts``, ``_mib``. ``None`` always means *not known*, never zero.
"""

from typing import Annotated, Literal

import msgspec

SCHEMA_VERSION: Literal[1] = 1
#: SQS accepts more today; a record above this is refused on both sides so that a batch of ten always fits.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_BOARDS_PER_HOST = 16
#: Eight boards, each in seven instances at most, and the boards themselves.
MAX_GPUS_PER_HOST = 64
#: Of the JSON text of a record, packed or not.
MAX_RECORD_BYTES = 64 * 1024
MAX_INTERVALS_PER_RECORD = 64
#: An agent that is dead for longer, or whose clock is wrong by more, tells no energy that can be believed.
MAX_INTERVAL_MS = 31 * 86_400_000
MAX_CONDITIONS_PER_GPU = 32
MAX_CALLS_PER_GPU = 64
MAX_XIDS_PER_RECORD = 64
MAX_CAPTURE_PER_RECORD = 128
MAX_NOTICES = 8
#: Of a log excerpt, as JSON.
MAX_LOG_BYTES = 16 * 1024
MAX_PORTS_PER_WORKLOAD = 16
MAX_SSH_KEYS_PER_WORKLOAD = 16

#: DynamoDB numbers hold 38 digits, JSON readers hold 2**53: counters stay below the smaller bound.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]
Text = Annotated[str, msgspec.Meta(max_length=1024)]

RecordKind = Literal["heartbeat", "telemetry"]
TransportProtocol = Literal["tcp", "udp"]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
GpuMemoryWipe = Literal["verified", "not_supported", "unreachable"]
Encoding = Literal["none", "zlib-base64"]
WorkloadState = Literal["starting", "running", "exited", "failed", "terminated"]
EnergyMethod = Literal["counter", "power_integral", "model"]
#: How a partitioned board's energy was split: by what its instances did, or by their slices alone.
SplitMethod = Literal["activity", "slices"]
#: The driver's counters, or what was seen at looks about once a second, which can miss some.
SlowdownSource = Literal["counter", "sampled"]
#: What the machine's provider announces for it.
NoticeKind = Literal["spot_interruption", "rebalance_recommendation", "scheduled_event"]
CaptureQuantity = Literal[
    "gas_mass_flow",
    "co2_mass_fraction",
    "co2_volume_fraction",
    "cycle",
    "temperature",
    "heat",
    "electricity",
    "tank_mass",
]
CaptureUnit = Literal["milligrams_per_hour", "parts_per_billion", "cycles", "millikelvin", "joules", "grams"]
#: A: information. B: the tenant's program. C: reset the GPU. D: reboot or replace the host. E: fabric.
#: F: broken hardware.
XidClass = Literal["A", "B", "C", "D", "E", "F"]
#: Why an interval is estimated; ``none`` when it is not.
EstimateCause = Literal[
    "none", "unread", "power_gap", "counter_reset", "implausible_jump", "counter_gap", "no_meter"
]


class Lease(msgspec.Struct, frozen=True):
    """One GPU at one lease epoch. A receiver refuses an epoch below the one it knows."""

    gpu_uuid: Id
    epoch: Count


class PublishedPort(msgspec.Struct, frozen=True):
    """A port of a workload, as it is reached from outside the host."""

    container_port: PortNumber
    protocol: TransportProtocol
    address: Text
    host_port: PortNumber


class WorkloadReport(msgspec.Struct, frozen=True):
    """What the agent knows of one rental's workload now (level-triggered: every heartbeat repeats it)."""

    rental_id: Id
    leases: Annotated[list[Lease], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    state: WorkloadState
    #: Identity of the running instance; changes when the workload is started again.
    instance_id: Id
    exit_code: int | None = None
    #: Host clock; set once the workload has ended. May only shorten a bill.
    ended_at_ms: Count | None = None
    #: True when nothing of the tenant is left on the GPUs and the disk (state ``terminated``).
    wiped: bool = False
    detail: Text = ""
    ports: Annotated[list[PublishedPort], msgspec.Meta(max_length=MAX_PORTS_PER_WORKLOAD + 1)] = []
    #: With ``wiped``: the GPUs' memory was overwritten and read back; ``not_supported``: nothing here can;
    #: ``unreachable``: a GPU is gone, and must not be rented before it was reset.
    gpu_memory: GpuMemoryWipe | None = None
    #: With ``wiped``: the rental's volume was kept for a later start.
    volume_kept: bool = False


class GpuStatus(msgspec.Struct, frozen=True):
    gpu_uuid: Id
    state: Literal["ok", "unknown", "lost"]
    #: False: give it no new work, whatever its lease. What runs on it goes on.
    rentable: bool = True
    #: Broken health rules and failed checks, by name.
    conditions: Annotated[list[Id], msgspec.Meta(max_length=MAX_CONDITIONS_PER_GPU)] = []


class SpoolStatus(msgspec.Struct, frozen=True):
    depth_records: Count
    depth_bytes: Count
    #: ``disk``, or ``memory`` when the disk refused a write.
    medium: Literal["disk", "memory"] = "disk"
    records_lost: Count = 0
    #: Readings of GPUs that were given up to make room, since the agent started.
    samples_thinned: Count = 0


class LogExcerpt(msgspec.Struct, frozen=True):
    """The last of what a workload wrote, told because it was asked for."""

    rental_id: Id
    #: Of the command that asked.
    command_id: Id
    taken_at_ms: Count
    text: Annotated[str, msgspec.Meta(max_length=MAX_LOG_BYTES)]
    #: There was more before.
    truncated: bool = False


class HostNotice(msgspec.Struct, frozen=True):
    """The provider will take the machine, or may. Every heartbeat repeats it while it stands."""

    kind: NoticeKind
    #: The provider's word: ``terminate``, ``instance-retirement``, ...
    action: Text
    #: The provider's clock; ``None``: it names no time.
    ends_at_ms: Count | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    observed_at_ms: Count
    agent_version: Text
    gpus: Annotated[list[GpuStatus], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    workloads: Annotated[list[WorkloadReport], msgspec.Meta(max_length=MAX_GPUS_PER_HOST * 4)]
    spool: SpoolStatus
    #: True while the host's owner wants no new workloads on it.
    draining: bool = False
    notices: Annotated[list[HostNotice], msgspec.Meta(max_length=MAX_NOTICES)] = []
    #: Of the machine's own boot; empty: not known.
    kernel_boot_id: Text = ""
    logs: Annotated[list[LogExcerpt], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)] = []


class GpuSample(msgspec.Struct, frozen=True):
    gpu_uuid: Id
    sampled_at_ms: Count
    energy_counter_millijoules: Count | None = None
    power_milliwatts: Count | None = None
    utilization_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    memory_used_mib: Count | None = None
    temperature_celsius: Annotated[int, msgspec.Meta(ge=-50, le=200)] | None = None
    #: The highest of all readings since the sample before, which may lie between two samples.
    utilization_peak_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None


class EnergyInterval(msgspec.Struct, frozen=True):
    """Energy of one GPU between two readings, cut at every lease boundary.

    Intervals of one (rental, GPU) are numbered from 0 without holes and the last has ``final`` set, so a
    reader can tell a lost interval from one that never was. ``rental_id`` is ``None`` for unrented time.
    """

    gpu_uuid: Id
    started_at_ms: Count
    ended_at_ms: Count
    energy_millijoules: Count
    method: EnergyMethod
    rental_id: Id | None = None
    #: Lease epoch under which the energy was used (the start command's, not the stop command's).
    epoch: Count = 0
    interval_index: Count = 0
    final: bool = False
    #: True when part of the interval had to be filled (counter reset, missing reading).
    estimated: bool = False
    counter_start_millijoules: Count | None = None
    counter_end_millijoules: Count | None = None
    #: The bounds that the agent vouches for; ``None`` from agents that did not state any.
    energy_min_millijoules: Count | None = None
    energy_max_millijoules: Count | None = None
    #: The integral of power over the same window, where there is one beside the counter: a cross-check.
    integral_millijoules: Count | None = None
    cause: EstimateCause = "none"
    #: Of one instance of a partitioned board: the board. The interval with the board's own UUID and the same
    #: bounds in time holds what nobody leased, and the board's counter; together they are the board's energy.
    parent_uuid: Id | None = None
    split: SplitMethod | None = None
    #: For how long the board was slowed by heat, and by a brake on its power that is not its own cap; of an
    #: instance its board. Not on the wire where it was not, or nobody knows: most boards are well, and spools
    #: have their bounds.
    thermal_slowdown_ms: Count | msgspec.UnsetType | None = msgspec.UNSET
    power_brake_ms: Count | msgspec.UnsetType | None = msgspec.UNSET
    slowdown_source: SlowdownSource | msgspec.UnsetType | None = msgspec.UNSET


class XidEvent(msgspec.Struct, frozen=True):
    """One Xid error of one GPU, repeated ``count`` times; a flood is one event.

    The kernel's boot and record numbers identify it: the same event that is told twice has the same ones.
    """

    gpu_uuid: Id
    code: Count
    xid_class: XidClass
    count: Count
    first_at_ms: Count
    last_at_ms: Count
    kernel_boot_id: Text
    first_sequence: Count
    last_sequence: Count


class GpuCapabilities(msgspec.Struct, frozen=True):
    """What a board's driver answers, call by call: ``ok``, ``not_supported``, ``no_permission``, ..."""

    gpu_uuid: Id
    calls: Annotated[dict[Id, Id], msgspec.Meta(max_length=MAX_CALLS_PER_GPU)]
    #: Where the board's power comes from; ``None``: it tells none.
    power_source: Id | None = None
    driver_version: Id | None = None


class Thinned(msgspec.Struct, frozen=True):
    """What was taken out of a record when the spool was full: so many samples of so many GPUs."""

    samples: Count
    gpus: Count
    first_at_ms: Count
    last_at_ms: Count


class CaptureDatapoint(msgspec.Struct, frozen=True):
    """What one sensor of a carbon-capture unit showed: an integer in ``unit``, with its standard deviation.

    (unit_id, sensor_id, quantity, sampled_at_ms) is unique; one that is told twice is the same.
    """

    unit_id: Id
    sensor_id: Id
    quantity: CaptureQuantity
    value: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    standard_deviation: Count
    unit: CaptureUnit
    #: The unit's clock, or the host's where the unit has none.
    sampled_at_ms: Count


class Telemetry(msgspec.Struct, frozen=True):
    samples: Annotated[list[GpuSample], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    intervals: Annotated[list[EnergyInterval], msgspec.Meta(max_length=MAX_INTERVALS_PER_RECORD)]
    xids: Annotated[list[XidEvent], msgspec.Meta(max_length=MAX_XIDS_PER_RECORD)] = []
    #: Once after the agent's start.
    capabilities: Annotated[list[GpuCapabilities], msgspec.Meta(max_length=MAX_BOARDS_PER_HOST)] = []
    #: Set when samples were given up; energy and errors never are.
    thinned: Thinned | None = None
    capture: Annotated[list[CaptureDatapoint], msgspec.Meta(max_length=MAX_CAPTURE_PER_RECORD)] = []


class Envelope(msgspec.Struct, frozen=True):
    """What the agent puts on a queue. (host_id, boot_id, kind, seq) is unique for ever."""

    schema_version: Literal[1]
    kind: RecordKind
    host_id: Id
    #: Changes with every start of the agent process.
    boot_id: Id
    #: From 0, without holes, per (boot_id, kind).
    seq: Count
    record: str
    signature: str
    #: How ``record`` is written: as JSON text, or as base64 of a zlib stream of it.
    encoding: Encoding = "none"


class PortSpec(msgspec.Struct, frozen=True):
    container_port: PortNumber
    protocol: TransportProtocol = "tcp"


class VolumeSpec(msgspec.Struct, frozen=True):
    """A disk of the renter's on one host. It is created when it is not there; ``size_mib`` never changes."""

    volume_id: Id
    size_mib: Annotated[int, msgspec.Meta(ge=16, le=2**30)]
    mount_path: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^/[^:\x00]+$")]


class WorkloadSpec(msgspec.Struct, frozen=True):
    """``command``: empty for what the image starts by itself; ``image`` needs a host that runs containers."""

    command: Annotated[list[str], msgspec.Meta(max_length=64)]
    image: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    env: dict[str, str] = {}
    ports: Annotated[list[PortSpec], msgspec.Meta(max_length=MAX_PORTS_PER_WORKLOAD)] = []
    #: Lines of an ``authorized_keys`` file; any makes port 22 an SSH entry into the workload.
    ssh_public_keys: Annotated[list[str], msgspec.Meta(max_length=MAX_SSH_KEYS_PER_WORKLOAD)] = []
    volume: VolumeSpec | None = None


class Command(msgspec.Struct, frozen=True):
    """From the cloud to one host, on that host's own queue. Delivered at least once, in any order.

    ``start`` carries the epochs of the lease; ``stop`` carries the next epochs, ends the workload, wipes
    and is answered by a ``terminated`` report with those same epochs. ``preempt`` carries the epochs of the
    start and announces to the workload that it ends at ``deadline_at_ms``; ``log`` carries them too and is
    answered by a `LogExcerpt`.
    """

    schema_version: Literal[1]
    command_id: Id
    kind: Literal["start", "stop", "preempt", "log"]
    host_id: Id
    rental_id: Id
    leases: Annotated[list[Lease], msgspec.Meta(min_length=1, max_length=MAX_GPUS_PER_HOST)]
    issued_at_ms: Count
    workload: WorkloadSpec | None = None
    #: ``stop`` only: the renter's volume outlives the workload; a later start finds it.
    keep_volume: bool = False
    #: ``preempt`` only; host time.
    deadline_at_ms: Count | None = None


class SignedCommand(msgspec.Struct, frozen=True):
    command: str
    signature: str
