"""Words that everything that sells, places or explains capacity shares."""

from typing import Literal

#: ``spot`` may be preempted with a notice; ``reserved`` redeems a reservation.
BillingClass = Literal["on_demand", "spot", "reserved"]
BILLING_CLASSES: tuple[BillingClass, ...] = ("on_demand", "spot", "reserved")

#: Why something that was asked for did not fit an offer.
WhyNot = Literal["no_capacity", "quota", "balance", "price_cap", "maintenance", "unhealthy"]

#: Why GPUs of a pool get nothing new.
ClosedCause = Literal["maintenance", "unhealthy"]

ANY_REGION = "any"


def name_pool(gpu_type: str, region: str) -> str:
    """A pool is what is sold at one price: the hosts of one GPU type in one region."""
    return f"{gpu_type}#{region}"
