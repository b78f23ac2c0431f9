"""Words that everything that sells, places or explains capacity shares."""

from dataclasses import dataclass
from typing import Literal

#: ``spot`` may be preempted with a notice; ``reserved`` redeems a reservation.
BillingClass = Literal["on_demand", "spot", "reserved"]
BILLING_CLASSES: tuple[BillingClass, ...] = ("on_demand", "spot", "reserved")

#: Why something that was asked for did not fit an offer.
WhyNot = Literal["no_capacity", "quota", "balance", "price_cap", "maintenance", "unhealthy"]

#: Why GPUs of a pool get nothing new.
ClosedCause = Literal["maintenance", "unhealthy"]

ANY_REGION = "any"
#: The tenant of what nobody rents.
PLATFORM = "platform"


def name_pool(gpu_type: str, region: str) -> str:
    """A pool is what is sold at one price: the hosts of one GPU type in one region."""
    return f"{gpu_type}#{region}"


@dataclass(frozen=True, slots=True)
class Quota:
    """How many GPUs an account may have at once, and has. ``is_set``: an operator said so."""

    max_gpus: int
    used_gpus: int
    is_set: bool = False

    @property
    def available_gpus(self) -> int:
        return max(0, self.max_gpus - self.used_gpus)


#: Of GPUs that are rented, and of those that are reserved, until an operator says otherwise.
DEFAULT_MAX_GPUS = 64
