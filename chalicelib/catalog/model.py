"""GPU types and their prices."""

from dataclasses import dataclass

ANY_REGION = "any"


@dataclass(frozen=True, slots=True)
class GpuType:
    """``power_limit_watts`` is the board's limit, used as the upper bound of plausible energy."""

    name: str
    architecture: str
    memory_mib: int
    power_limit_watts: int


@dataclass(frozen=True, slots=True)
class Price:
    """What one GPU of a type costs in a region. ``version`` rises with each change."""

    gpu_type: str
    region: str
    price_micros_per_gpu_hour: int
    version: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """A consistent-enough snapshot: use of a price is guarded by its version in the transaction."""

    gpu_types: dict[str, GpuType]
    prices: tuple[Price, ...]

    def find_prices(self, gpu_type: str, region: str) -> list[Price]:
        """Return the prices that fit, cheapest first; empty when the type is not sold there."""
        fitting = [
            price
            for price in self.prices
            if price.gpu_type == gpu_type and region in {ANY_REGION, price.region}
        ]
        return sorted(fitting, key=lambda price: (price.price_micros_per_gpu_hour, price.region))
