"""What is sold: GPU types, their prices with the instants from which they hold, templates.

Invariant: the price in force is a function of a schedule and an instant; nothing is written when a price that
was announced comes into force.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.catalog.spot import PPM, SpotBounds
from chalicelib.core.capacity import BillingClass
from chalicelib.core.errors import InvalidInput
from chalicelib.core.workloads import Workload

ANY_REGION = "any"
ANY_GPU_TYPE = "any"
#: How the GPUs of one host reach each other, best first; ``none``: nothing is promised.
Interconnect = Literal["nvswitch", "nvlink", "pcie", "none"]
PriceOrigin = Literal["operator", "spot_rule"]

#: A reader's clock may be behind the writer's: a replaced price stays in the schedule for this long.
KEEP_REPLACED_MS = 300_000
#: Announced and recent prices of one pool and class together; the history has all.
MAX_POINTS = 24


@dataclass(frozen=True, slots=True)
class GpuType:
    """``power_limit_watts`` is the board's limit, used as the upper bound of plausible energy.

    A MIG profile is a type of its own that names its whole parent; memory and power are then the instance's.
    """

    name: str
    architecture: str
    memory_mib: int
    power_limit_watts: int
    interconnect: Interconnect = "none"
    mig_profile: str | None = None
    parent_gpu_type: str | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What one GPU of a type costs in a region and class, from ``from_ms`` on.

    ``until_ms`` is when the next announced price comes into force. ``version`` is the schedule's: it rises
    with each change, and a start checks it. ``list_price_micros_per_gpu_hour`` is what everybody else pays,
    where the account pays less by its agreement.
    """

    gpu_type: str
    region: str
    price_micros_per_gpu_hour: int
    version: int
    billing_class: BillingClass = "on_demand"
    from_ms: int = 0
    until_ms: int | None = None
    list_price_micros_per_gpu_hour: int | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """What an account was promised from ``from_ms`` until ``until_ms``: a price, or a part of the list price.

    One of ``price_micros_per_gpu_hour`` and ``discount_ppm`` is set. Spot prices are the market's: no term.
    """

    billing_class: BillingClass
    from_ms: int
    until_ms: int | None = None
    gpu_type: str = ANY_GPU_TYPE
    region: str = ANY_REGION
    price_micros_per_gpu_hour: int | None = None
    discount_ppm: int | None = None

    def compute_price(self, price: Price, at_ms: int) -> int | None:
        """Return what a GPU-hour costs by this term, rounded down; ``None`` where it does not hold."""
        if at_ms < self.from_ms or (self.until_ms is not None and at_ms >= self.until_ms):
            return None
        fits = self.gpu_type in {ANY_GPU_TYPE, price.gpu_type} and self.region in {ANY_REGION, price.region}
        if not fits or self.billing_class != price.billing_class:
            return None
        if self.discount_ppm is None:
            return self.price_micros_per_gpu_hour
        return max(1, price.price_micros_per_gpu_hour * (PPM - self.discount_ppm) // PPM)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The terms of one account. ``version`` rises with each change."""

    account_id: str
    terms: tuple[Term, ...]
    version: int

    def apply(self, price: Price, at_ms: int) -> Price:
        """Return the price as the account has it: the lowest of the list's and all terms that hold."""
        agreed = [found for term in self.terms if (found := term.compute_price(price, at_ms)) is not None]
        best = min(agreed, default=price.price_micros_per_gpu_hour)
        if best >= price.price_micros_per_gpu_hour:
            return price
        return replace(
            price,
            price_micros_per_gpu_hour=best,
            list_price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        )


@dataclass(frozen=True, slots=True)
class PriceKey:
    gpu_type: str
    region: str
    billing_class: BillingClass


@dataclass(frozen=True, slots=True)
class PricePoint:
    """A price from an instant on. ``version`` is what the schedule's became when it was set."""

    from_ms: int
    price_micros_per_gpu_hour: int
    version: int


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One row of the history, written once. Of rows for one instant the highest version holds."""

    key: PriceKey
    point: PricePoint
    set_at_ms: int
    origin: PriceOrigin


@dataclass(frozen=True, slots=True)
class PriceSchedule:
    """Recent, present and announced prices of one pool and class; ``points`` rise in time, one per instant.

    ``moved_step`` is the last step in which the spot rule moved the price.
    """

    key: PriceKey
    points: tuple[PricePoint, ...]
    version: int
    bounds: SpotBounds = field(default_factory=SpotBounds)
    moved_step: int = -1

    def price_at(self, at_ms: int) -> Price | None:
        """Return the price in force at an instant; ``None`` before the first one."""
        past = [point for point in self.points if point.from_ms <= at_ms]
        if not past:
            return None
        following = self.find_next(at_ms)
        return Price(
            gpu_type=self.key.gpu_type,
            region=self.key.region,
            price_micros_per_gpu_hour=past[-1].price_micros_per_gpu_hour,
            version=self.version,
            billing_class=self.key.billing_class,
            from_ms=past[-1].from_ms,
            until_ms=None if following is None else following.from_ms,
        )

    def find_next(self, at_ms: int) -> PricePoint | None:
        """Return the first price that comes into force after an instant."""
        return next((point for point in self.points if point.from_ms > at_ms), None)

    def set_price(self, from_ms: int, price_micros_per_gpu_hour: int, now_ms: int) -> "PriceSchedule":
        """Return the next version with this price from ``from_ms`` on, in place of one of the same instant.

        Raises:
            InvalidInput: ``too_many_prices`` are announced.
        """
        version = self.version + 1
        point = PricePoint(from_ms, price_micros_per_gpu_hour, version)
        others = [each for each in self.points if each.from_ms != from_ms]
        points = _drop_replaced(sorted([*others, point], key=lambda each: each.from_ms), now_ms)
        if len(points) > MAX_POINTS:
            raise InvalidInput(
                f"A pool has {MAX_POINTS} recent and announced prices at most.", code="too_many_prices"
            )
        return replace(self, points=tuple(points), version=version)


def _drop_replaced(points: list[PricePoint], now_ms: int) -> list[PricePoint]:
    long_ago = now_ms - KEEP_REPLACED_MS
    ended = sum(following.from_ms <= long_ago for following in points[1:])
    return points[ended:]


@dataclass(frozen=True, slots=True)
class Catalog:
    """A consistent-enough snapshot: use of a price is guarded by its version in the transaction.

    ``agreements``: by account. ``agreement``: of the one whose prices are asked for, if it has any.
    """

    gpu_types: dict[str, GpuType]
    schedules: tuple[PriceSchedule, ...]
    agreements: dict[str, Agreement] = field(default_factory=dict)
    agreement: Agreement | None = None
    #: Of a GiB of a stopped rental's volume, an hour, by region; where there is none, it costs nothing.
    volume_prices_micros: dict[str, int] = field(default_factory=dict)

    def of_account(self, account_id: str) -> "Catalog":
        """Return the catalogue with the prices that the account has by its agreement."""
        return replace(self, agreement=self.agreements.get(account_id))

    def find_prices(
        self, gpu_type: str, region: str, billing_class: BillingClass = "on_demand", *, at_ms: int
    ) -> list[Price]:
        """Return the prices in force that fit, cheapest first; empty when the type is not sold there so."""
        return [
            price
            for price in self.list_prices(at_ms)
            if (price.gpu_type, price.billing_class) == (gpu_type, billing_class)
            and region in {ANY_REGION, price.region}
        ]

    def list_prices(self, at_ms: int) -> list[Price]:
        """Return every price in force, cheapest first."""
        found = [price for each in self.schedules if (price := each.price_at(at_ms)) is not None]
        if self.agreement is not None:
            found = [self.agreement.apply(price, at_ms) for price in found]
        return sorted(
            found,
            key=lambda price: (
                price.price_micros_per_gpu_hour,
                price.region,
                price.gpu_type,
                price.billing_class,
            ),
        )

    def list_pools(self) -> list[tuple[str, str]]:
        """Return (GPU type, region) of everything that has, or will have, a price of any class."""
        return sorted({(each.key.gpu_type, each.key.region) for each in self.schedules})

    def find_schedule(self, key: PriceKey) -> PriceSchedule | None:
        return next((each for each in self.schedules if each.key == key), None)


@dataclass(frozen=True, slots=True)
class Template:
    """Defaults of a rental under a name. ``version`` rises with each change.

    A public one can be read and used by every account, and be changed by its owner only.
    """

    template_id: str
    account_id: str
    name: str
    public: bool
    workload: Workload
    gpu_type: str | None
    gpu_count: int | None
    created_at_ms: int
    updated_at_ms: int
    version: int = 1
