"""Bodies of a flexible start: what is left open in the request, and the plan in the rental."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from chalicelib.core.clock import format_instant
from chalicelib.rentals.flexibility import (
    MAX_DURATION_SECONDS,
    MAX_REGIONS,
    MIN_DURATION_SECONDS,
    Flexibility,
    StartPlan,
    UsedForecast,
    explain,
)
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody
from chalicelib.runtime.workload_bodies import CatalogName

#: Above it is no intensity of a grid.
MAX_THRESHOLD_MG_PER_KWH = 3_000_000


class FlexibleBody(RequestBody):
    """Work that may wait: started when and where its grid is forecast to be clean."""

    #: One of the two: it has started, or is done, by then. What comes before the workload runs (its image) is
    #: not counted in.
    start_deadline: Instant | None = None
    finish_by: Instant | None = None
    duration_seconds: Annotated[int, Field(ge=MIN_DURATION_SECONDS, le=MAX_DURATION_SECONDS)]
    policy: Literal["none", "window", "threshold", "interrupting"] = "window"
    threshold_mg_per_kwh: Annotated[int, Field(ge=0, le=MAX_THRESHOLD_MG_PER_KWH)] | None = None
    #: Where it may run, home first; left out: where ``region`` says.
    regions: Annotated[list[CatalogName], Field(min_length=1, max_length=MAX_REGIONS)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "FlexibleBody":
        if (self.start_deadline is None) == (self.finish_by is None):
            raise ValueError("one of start_deadline and finish_by is needed")
        if self.policy == "interrupting":
            raise ValueError(
                "policy interrupting is not offered for rentals: use window, which runs without pauses"
            )
        if (self.policy == "threshold") != (self.threshold_mg_per_kwh is not None):
            raise ValueError("policy threshold and threshold_mg_per_kwh belong together")
        if self.regions is not None and len(set(self.regions)) < len(self.regions):
            raise ValueError("regions names one of them twice")
        return self

    @property
    def latest_start_ms(self) -> int:
        if self.start_deadline is not None:
            return self.start_deadline
        assert self.finish_by is not None, "checked"
        return self.finish_by - self.duration_seconds * 1000


class UsedForecastBody(ResponseBody):
    provider: str
    zone: str
    generated_at: str
    #: It may end before the deadline: the plan looks no further.
    covers_until: str
    #: The mean while it runs, and of a start at once at home; ``null``: of that nothing was forecast.
    mg_co2e_per_kwh: int
    immediate_mg_co2e_per_kwh: int | None


class WhyBody(ResponseBody):
    code: str
    text: str


class ReplanBody(ResponseBody):
    at: str
    planned_start_at: str
    region: str
    why: str


class StartPlanBody(ResponseBody):
    policy: str
    duration_seconds: int
    #: The latest start with which it is done by ``deadline``.
    latest_start_at: str
    deadline: str
    threshold_mg_per_kwh: int | None
    planned_start_at: str
    #: Where it is meant to start, and all that are allowed, the best first.
    region: str
    regions: list[str]
    #: ``null``: nothing is forecast.
    forecast: UsedForecastBody | None
    #: Of what a start at once would emit by forecast; negative: that would be better.
    expected_saving_permille: int | None
    why: WhyBody
    #: What was chosen when it was looked at again, before it started.
    replanned: list[ReplanBody]


def read_flexibility(body: FlexibleBody, region: str) -> Flexibility:
    """``region``: what the request says beside it; it is home."""
    regions: Sequence[str] = body.regions or ()
    if region != "any":
        regions = [region, *(each for each in regions if each != region)]
    assert body.policy != "interrupting", "checked"
    return Flexibility(
        policy=body.policy,
        duration_seconds=body.duration_seconds,
        latest_start_ms=body.latest_start_ms,
        regions=tuple(regions),
        threshold_mg_per_kwh=body.threshold_mg_per_kwh,
    )


def render_plan(plan: StartPlan) -> StartPlanBody:
    asked, choice = plan.flexibility, plan.choice
    return StartPlanBody(
        policy=asked.policy,
        duration_seconds=asked.duration_seconds,
        latest_start_at=format_instant(asked.latest_start_ms),
        deadline=format_instant(asked.finish_by_ms),
        threshold_mg_per_kwh=asked.threshold_mg_per_kwh,
        planned_start_at=format_instant(choice.start_at_ms),
        region=choice.regions[0],
        regions=list(choice.regions),
        forecast=None if choice.forecast is None else _render_forecast(choice.forecast),
        expected_saving_permille=None if choice.forecast is None else choice.forecast.saving_permille,
        why=WhyBody(code=choice.why, text=explain(plan)),
        replanned=[
            ReplanBody(
                at=format_instant(each.at_ms),
                planned_start_at=format_instant(each.start_at_ms),
                region=each.region,
                why=each.why,
            )
            for each in plan.replans
        ],
    )


def _render_forecast(used: UsedForecast) -> UsedForecastBody:
    return UsedForecastBody(
        provider=used.provider,
        zone=used.zone,
        generated_at=format_instant(used.generated_at_ms),
        covers_until=format_instant(used.covers_until_ms),
        mg_co2e_per_kwh=used.mg_co2e_per_kwh,
        immediate_mg_co2e_per_kwh=used.immediate_mg_co2e_per_kwh,
    )
