"""Bodies that are received, as the API sends them.

They are plain dictionaries: a field that a newer API adds is simply there, and nothing is lost on the way.
Instants are RFC 3339 text, money is micro-units of the currency (1,000,000 are one), ratios are millionths.
"""

from typing import Any, Generic, NotRequired, TypedDict, TypeVar

from provocative.carbon_models import Emissions, StartPlan
from provocative.requests import Port, Volume

T = TypeVar("T")


class Listing(TypedDict, Generic[T]):
    items: list[T]


class Page(TypedDict, Generic[T]):
    """``next_cursor`` is ``None`` on the last page."""

    items: list[T]
    next_cursor: str | None


class Account(TypedDict):
    account_id: str
    name: str
    currency: str
    created_at: str
    suspended_at: str | None
    closed_at: str | None


class Key(TypedDict):
    key_id: str
    account_id: str
    role: str
    label: str
    created_at: str
    revoked_at: str | None
    #: ``None``: all of the role.
    permissions: list[str] | None
    #: Empty: from anywhere.
    allowed_networks: list[str]
    expires_at: str | None
    #: The first use of the last day (UTC) on which it was used.
    last_used_at: str | None
    predecessor_id: str | None
    successor_id: str | None
    issued_by: str | None


class IssuedKey(Key):
    #: Shown once.
    key: str


class Ramp(TypedDict):
    max_gpus: int
    spend_limit_micros_per_hour: int
    rises_at: str | None


class Quota(TypedDict):
    max: int
    used: int
    available: int
    ramp: NotRequired[Ramp | None]


class NextPrice(TypedDict):
    effective_from: str
    price_micros_per_gpu_hour: int


class Offer(TypedDict):
    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int
    #: What it is without the account's agreement.
    list_price_micros_per_gpu_hour: int
    next_price: NextPrice | None
    currency: str
    memory_mib: int
    architecture: str
    interconnect: str
    mig_profile: str | None
    parent_gpu_type: str | None
    #: NONE, LOW, MEDIUM or HIGH; live, and no reservation.
    availability: str
    free_gpus: int
    largest_block_gpus: int
    total_gpus: int | None
    intensity_mg_per_kwh: int | None
    reliability_ppm: int | None
    #: Empty when the request would fit now.
    why_not: list[str]


class GpuType(TypedDict):
    gpu_type: str
    architecture: str
    memory_mib: int
    power_limit_watts: int
    interconnect: str
    mig_profile: str | None
    parent_gpu_type: str | None


class Price(TypedDict):
    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int
    effective_from: str
    effective_until: str | None
    version: int


class VolumePrice(TypedDict):
    region: str
    price_micros_per_gib_hour: int
    currency: str


class VolumePrices(TypedDict):
    items: list[VolumePrice]


class Term(TypedDict):
    """A price, or a part of the list price off, while it holds."""

    gpu_type: str
    region: str
    billing_class: str
    price_micros_per_gpu_hour: int | None
    discount_ppm: int | None
    effective_from: str
    effective_until: str | None


class Agreement(TypedDict):
    """Of all terms that hold, and the list price, the lowest is paid."""

    account_id: str
    currency: str
    terms: list[Term]
    version: int


class PriceChange(TypedDict):
    effective_from: str
    price_micros_per_gpu_hour: int
    version: int
    set_at: str
    origin: str


class PriceHistory(Page[PriceChange]):
    gpu_type: str
    region: str
    billing_class: str
    currency: str


class Template(TypedDict):
    template_id: str
    account_id: str
    name: str
    visibility: str
    gpu_type: str | None
    gpu_count: int | None
    image: str | None
    command: list[str]
    env: dict[str, str]
    ports: list[Port]
    ssh_public_keys: list[str]
    volume: Volume | None
    created_at: str
    updated_at: str
    version: int


class Lease(TypedDict):
    gpu_uuid: str
    epoch: int


class Line(TypedDict):
    """``position`` counts from 1, and is told of one rental, not in listings."""

    since: str
    why: str
    position: int | None
    estimated_wait_seconds: int | None


class Policies(TypedDict):
    max_duration_seconds: int | None
    idle_policy: dict[str, Any] | None
    start_at: str | None
    stop_at: str | None


class PlannedEnd(TypedDict):
    reason: str
    notice_at: str
    ends_at: str


class Endpoint(TypedDict):
    container_port: int
    protocol: str
    address: str
    host_port: int


class Interruption(TypedDict):
    reason: str
    notice_at: str
    ends_at: str | None


class GpuWarning(TypedDict):
    gpu_uuid: str
    xid: int
    xid_class: str
    count: int
    last_at: str
    text: str


class ActionState(TypedDict):
    available: bool
    reason_code: str | None


class Rental(TypedDict):
    rental_id: str
    account_id: str
    label: str | None
    gpu_type: str
    gpu_count: int
    region: str
    billing_class: str
    cluster_id: str | None
    reservation_id: str | None
    host_id: str | None
    segment: int
    gpus: list[Lease]
    state: str
    desired_state: str
    health: str
    billing_state: str
    reason: str | None
    price_micros_per_gpu_hour: int | None
    max_price_micros_per_gpu_hour: int | None
    currency: str
    billed_seconds: int
    charge_micros: int
    created_at: str
    running_at: str | None
    stop_requested_at: str | None
    terminated_at: str | None
    line: Line | None
    priority: int
    deadline_at: str | None
    locked: bool
    recovery: str
    spread_group: str | None
    policies: Policies
    start_plan: StartPlan | None
    planned_end: PlannedEnd | None
    volume_host_id: str | None
    volume_lost_at: str | None
    volume_price_micros_per_gib_hour: int
    data_kept_until: str | None
    endpoints: list[Endpoint]
    interruption: Interruption | None
    warnings: list[GpuWarning]
    actions: dict[str, ActionState]


class Cluster(TypedDict):
    cluster_id: str
    items: list[Rental]


class Log(TypedDict):
    taken_at: str
    text: str
    #: It had more before its beginning.
    truncated: bool


class Energy(TypedDict):
    energy_millijoules: int
    estimated_millijoules: int
    method: str
    source: str
    version: str


class Charge(TypedDict):
    billed_seconds: int
    unproven_seconds: int
    price_micros_per_gpu_hour: int | None
    currency: str
    charge_micros: int
    debited_micros: int
    ledger_sum_micros: int
    formula: str


class Telemetry(TypedDict):
    sent: int | None
    stored: int
    duplicates_dropped: int
    lost: int | None


class Receipt(TypedDict):
    rental_id: str
    account_id: str
    label: str | None
    #: ``final`` or ``provisional``; ``missing`` says what it waits for.
    status: str
    missing: list[str]
    state: str
    reason: str | None
    gpu_type: str
    gpu_count: int
    region: str
    created_at: str
    running_at: str | None
    stop_requested_at: str | None
    terminated_at: str | None
    charge: Charge
    energy: Energy
    emissions: Emissions
    telemetry: Telemetry


class Booking(TypedDict):
    host_id: str
    gpu_count: int
    used_gpus: int
    rental_ids: list[str]


class Reservation(TypedDict):
    reservation_id: str
    state: str
    gpu_type: str
    region: str
    gpu_count: int
    node_count: int
    starts_at: str
    ends_at: str
    price_micros_per_gpu_hour: int
    currency: str
    label: str | None
    created_at: str
    bookings: list[Booking]
    cancelled_at: str | None
    cancel_fee_micros: int | None
    broken_at: str | None
    deposit_micros: int
    credit_due_micros: int | None


class Hour(TypedDict):
    starts_at: str
    #: The most GPUs that one host could promise all through the hour.
    largest_gpus: int


class Availability(Listing[Hour]):
    fits: bool
    price_micros_per_gpu_hour: int
    currency: str
