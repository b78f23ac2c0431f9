"""Body of a measured saving."""

from chalicelib.carbon.savings import MeasuredSaving
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import ResponseBody


class CarbonSavingBody(ResponseBody):
    rental_id: str
    #: ``final`` or ``provisional``; ``missing`` says what it waits for.
    status: str
    missing: list[str]
    policy: str
    #: When the first stay began; ``null``: none has.
    started_at: str | None
    #: Beside what: the same energy from this instant on, in this region.
    immediate_start_at: str
    home_region: str
    energy_millijoules: int
    mg_co2e: int
    immediate_mg_co2e: int
    #: Negative: a start at once would have been better.
    saved_mg_co2e: int
    saved_permille: int
    #: What was forecast when it was planned last; ``null``: nothing was.
    expected_saving_permille: int | None
    #: Some hour has an annual figure, or one that its provider calls an estimate.
    estimated: bool
    method: str


def render_saving(saving: MeasuredSaving) -> CarbonSavingBody:
    used = saving.plan.choice.forecast
    return CarbonSavingBody(
        rental_id=saving.rental_id,
        status="provisional" if saving.missing else "final",
        missing=list(saving.missing),
        policy=saving.plan.flexibility.policy,
        started_at=None if saving.started_at_ms is None else format_instant(saving.started_at_ms),
        immediate_start_at=format_instant(saving.immediate_start_ms),
        home_region=saving.home_region,
        energy_millijoules=saving.energy_millijoules,
        mg_co2e=saving.mg_co2e,
        immediate_mg_co2e=saving.immediate_mg_co2e,
        saved_mg_co2e=saving.saved_mg_co2e,
        saved_permille=saving.saved_permille,
        expected_saving_permille=None if used is None else used.saving_permille,
        estimated=saving.estimated,
        method="same energy by the hour, from the request on; location-based average of each hour as it came",
    )
