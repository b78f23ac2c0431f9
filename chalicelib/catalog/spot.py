"""The rule by which spot prices move, as docs/spot-price.md publishes it. Pure, integers only.

Once per step of five minutes a pool's price moves by at most 5 % towards keeping 80 % of its GPUs busy,
between a floor and a cap that are parts of the pool's on-demand price.
"""

from dataclasses import dataclass

PPM = 1_000_000
STEP_MS = 300_000
MAX_MOVE_PPM = 50_000
TARGET_BUSY_PPM = 800_000


@dataclass(frozen=True, slots=True)
class SpotBounds:
    """The lowest and the highest spot price as parts of the on-demand price, in millionths."""

    floor_ppm: int = 300_000
    cap_ppm: int = 900_000

    def __post_init__(self) -> None:
        if not 0 < self.floor_ppm <= self.cap_ppm <= PPM:
            raise ValueError("0 < floor <= cap <= 1 must hold")

    def compute_limits(self, on_demand_micros: int) -> tuple[int, int]:
        """Return floor and cap in micros: the floor rounded up, the cap down, neither below 1."""
        cap = max(1, on_demand_micros * self.cap_ppm // PPM)
        floor = -(-on_demand_micros * self.floor_ppm // PPM)
        return min(max(1, floor), cap), cap


def find_step(at_ms: int) -> int:
    """Return the number of the five-minute step that contains the instant."""
    return at_ms // STEP_MS


def move_price(
    *, price_micros: int, on_demand_micros: int, busy_gpus: int, total_gpus: int, bounds: SpotBounds
) -> int:
    """Return the price of the next step.

    In proportion to the distance from the target: the whole 5 % up with every GPU busy, the whole 5 % down
    with none. A price outside its bounds (the on-demand price has changed) comes back by 5 % a step at most.

    Raises:
        ValueError: the pool has no GPU, or more are busy than there are.
    """
    if total_gpus <= 0 or not 0 <= busy_gpus <= total_gpus:
        raise ValueError("0 <= busy <= total and a GPU are needed")
    floor, cap = bounds.compute_limits(on_demand_micros)
    largest = price_micros * MAX_MOVE_PPM // PPM
    wanted = price_micros + _compute_change(price_micros, busy_gpus, total_gpus)
    bounded = min(max(wanted, floor), cap)
    return min(max(bounded, price_micros - largest), price_micros + largest)


def _compute_change(price_micros: int, busy_gpus: int, total_gpus: int) -> int:
    excess = busy_gpus * PPM - total_gpus * TARGET_BUSY_PPM
    span = (PPM - TARGET_BUSY_PPM if excess > 0 else TARGET_BUSY_PPM) * total_gpus
    # Towards zero on both sides, so that rounding never exceeds the 5 %.
    change = price_micros * MAX_MOVE_PPM * abs(excess) // (PPM * span)
    return change if excess > 0 else -change
