"""Bodies that are sent, in the API's own units: what is left out keeps its default."""

from typing import Literal, NotRequired, TypedDict

BillingClass = Literal["on_demand", "spot", "reserved"]
RentalAction = Literal["terminate", "stop", "resume", "restart"]
HostAction = Literal[
    "cordon", "uncordon", "retire", "force_release", "clear_faults", "make_reservable", "make_shared"
]
OfferSort = Literal["price", "-price", "availability", "carbon", "reliability"]


class Port(TypedDict):
    container_port: int
    protocol: Literal["tcp", "udp"]


class Volume(TypedDict):
    size_gib: int
    #: Absolute, in the container.
    mount_path: str


class Workload(TypedDict, total=False):
    command: list[str]
    image: str
    ports: list[Port]
    ssh_public_keys: list[str]
    volume: Volume
    env: dict[str, str]


class IdlePolicy(TypedDict):
    idle_seconds: int
    max_utilization_percent: NotRequired[int]
    action: NotRequired[Literal["stop", "terminate"]]


class Flexible(TypedDict):
    """A start that may wait. One of ``start_deadline`` and ``finish_by`` is needed."""

    duration_seconds: int
    start_deadline: NotRequired[str]
    finish_by: NotRequired[str]
    policy: NotRequired[Literal["none", "window", "threshold"]]
    threshold_mg_per_kwh: NotRequired[int]
    #: Where it may run, home first.
    regions: NotRequired[list[str]]


class RentalRequest(Workload, total=False):
    """Instants are RFC 3339. ``gpu_type`` is needed, unless the template says it."""

    template_id: str
    gpu_type: str
    gpu_count: int
    region: str
    max_price_micros_per_gpu_hour: int
    label: str
    billing_class: BillingClass
    reservation_id: str
    node_count: int
    priority: int
    deadline_at: str
    on_no_capacity: Literal["queue", "fail"]
    recovery: Literal["replace", "fail"]
    spread_group: str
    locked: bool
    max_duration_seconds: int
    idle_policy: IdlePolicy
    start_at: str
    stop_at: str
    flexible: Flexible


class RentalChange(TypedDict, total=False):
    """What is left out stays; ``None`` takes a policy away."""

    label: str | None
    locked: bool
    max_duration_seconds: int | None
    idle_policy: IdlePolicy | None
    start_at: str | None
    stop_at: str | None


class TemplateRequest(Workload, total=False):
    name: str
    visibility: Literal["private", "public"]
    gpu_type: str
    gpu_count: int


class ReservationRequest(TypedDict, total=False):
    """From one quarter of an hour to another, in RFC 3339."""

    gpu_type: str
    region: str
    gpu_count: int
    node_count: int
    starts_at: str
    ends_at: str
    label: str


class GpuTypeRequest(TypedDict, total=False):
    architecture: str
    memory_mib: int
    power_limit_watts: int
    interconnect: Literal["nvswitch", "nvlink", "pcie", "none"]
    mig_profile: str
    parent_gpu_type: str


class PriceRequest(TypedDict, total=False):
    price_micros_per_gpu_hour: int
    billing_class: BillingClass
    effective_from: str
    spot_floor_ppm: int
    spot_cap_ppm: int


class TermRequest(TypedDict, total=False):
    gpu_type: str
    region: str
    billing_class: Literal["on_demand", "reserved"]
    price_micros_per_gpu_hour: int
    discount_ppm: int
    effective_from: str
    effective_until: str


class HostActionRequest(TypedDict, total=False):
    action: HostAction
    reason: str
    gpu_uuids: list[str]


class WindowRequest(TypedDict, total=False):
    host_id: str
    category: str
    reason: str
    starts_at: str
    ends_at: str
    lead_seconds: int


class PoolOption(TypedDict, total=False):
    name: str
    instance_type: str
    gpus_per_host: int
    availability_zone: str
    purchase: Literal["on_demand", "spot", "capacity_block"]
    launch_template_id: str
    list_price_micros_per_hour: int
    capacity_reservation_id: str | None


class PoolRequest(TypedDict, total=False):
    min_hosts: int
    max_hosts: int
    warm_gpus: int
    scale_in_after_seconds: int
    options: list[PoolOption]


class KeyRequest(TypedDict):
    """A key has the limits of the one that issues it, and these."""

    label: str
    permissions: NotRequired[list[str]]
    allowed_networks: NotRequired[list[str]]
    expires_at: NotRequired[str]


class CreditRequest(TypedDict):
    """``promo`` is spent before what was paid, and may expire."""

    amount_micros: int
    reason: str
    kind: NotRequired[Literal["paid", "promo"]]
    expires_at: NotRequired[str]


class BudgetRequest(TypedDict):
    """``scope_value`` is the label or the rental's id; the whole account has none."""

    name: str
    limit_micros: int
    scope: NotRequired[Literal["account", "label", "rental"]]
    scope_value: NotRequired[str]
    period: NotRequired[Literal["month", "total"]]
    hard_stop: NotRequired[bool]
    alert_percents: NotRequired[list[int]]


class BudgetChange(TypedDict, total=False):
    limit_micros: int
    hard_stop: bool
    alert_percents: list[int]
