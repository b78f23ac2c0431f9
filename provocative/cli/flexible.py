"""A start that is left open until a deadline: its options, its plan, and what it saved."""

from typing import Annotated

import typer

from provocative.carbon_models import CarbonSaving
from provocative.cli import options
from provocative.cli.output import format_instant, format_known, format_milli, print_facts
from provocative.cli.parsing import given, parse_duration, parse_grams, parse_instant
from provocative.cli.session import Session
from provocative.models import Rental
from provocative.requests import Flexible

Option = typer.Option
FinishBy = Annotated[
    str | None,
    Option("--finish-by", metavar="INSTANT", parser=parse_instant, help="Start when the grid is clean."),
]
StartBy = Annotated[
    str | None,
    Option("--start-by", metavar="INSTANT", parser=parse_instant, help="As --finish-by, of the start."),
]
RunsFor = Annotated[
    int | None,
    Option("--runs-for", metavar="DURATION", parser=parse_duration, help="Of a flexible start, such as 6h."),
]
CarbonPolicy = Annotated[
    str | None, Option("--carbon-policy", metavar="POLICY", help="window, threshold or none.")
]
Threshold = Annotated[
    int | None,
    Option("--threshold", metavar="GRAMS", parser=parse_grams, help="Of CO2e per kWh: starts below it."),
]
Elsewhere = Annotated[
    list[str] | None,
    Option("--or-region", metavar="REGION", help="Where a flexible start may be too; repeat for more."),
]


def read_flexible(
    finish_by: str | None,
    start_by: str | None,
    runs_for: int | None,
    policy: str | None,
    threshold: int | None,
    region: str | None,
    elsewhere: list[str] | None,
) -> Flexible | None:
    """Raises typer.BadParameter: there is more of a flexible start than its deadline, or no duration."""
    if finish_by is None and start_by is None:
        if (runs_for, policy, threshold) != (None, None, None) or elsewhere:
            raise typer.BadParameter("By when? Add --finish-by +24h.", param_hint="--finish-by")
        return None
    if runs_for is None:
        raise typer.BadParameter("For how long? Add --runs-for 6h.", param_hint="--runs-for")
    if elsewhere and region is None:
        raise typer.BadParameter("Which region is home? Add --region.", param_hint="--region")
    if policy is None and threshold is not None:
        policy = "threshold"
    flexible: Flexible = given(
        finish_by=finish_by,
        start_deadline=start_by,
        duration_seconds=runs_for,
        policy=policy,
        threshold_mg_per_kwh=threshold,
        regions=list(dict.fromkeys([str(region), *elsewhere])) if elsewhere else None,
    )
    return flexible


def list_plan(rental: Rental) -> list[tuple[str, str | None]]:
    """Return the facts of a planned start; none where nothing was left open."""
    plan = rental["start_plan"]
    if plan is None:
        return []
    used = plan["forecast"]
    return [
        ("planned start", f"{format_instant(plan['planned_start_at'])} in {plan['region']}"),
        ("why then", plan["why"]["text"]),
        ("expected saving", _format_permille(plan["expected_saving_permille"])),
        (
            "forecast",
            None if used is None else f"{used['provider']}, made {format_instant(used['generated_at'])}",
        ),
        ("latest start", format_instant(plan["latest_start_at"])),
    ]


def show_saving(session: Session, rental_id: options.RentalId) -> None:
    """Show what a flexible start saved beside one at once, by the intensities that came."""
    session.show(session.client.rentals.read_carbon_saving(rental_id), _show)


def _show(saving: CarbonSaving) -> None:
    told = ", estimated" if saving["estimated"] else ""
    emitted, immediate, saved = (
        format_milli(milligrams, "g CO2e")
        for milligrams in (saving["mg_co2e"], saving["immediate_mg_co2e"], saving["saved_mg_co2e"])
    )
    print_facts(
        [
            ("rental", saving["rental_id"]),
            ("saving", saving["status"]),
            ("waits for", ", ".join(saving["missing"]) or None),
            ("started", format_known(saving["started_at"])),
            ("emitted", emitted + told),
            ("at once", f"{immediate} in {saving['home_region']}{told}"),
            ("saved", f"{saved}, {_format_permille(saving['saved_permille'])}"),
            ("expected", _format_permille(saving["expected_saving_permille"])),
        ]
    )


def _format_permille(permille: int | None) -> str | None:
    return None if permille is None else f"{permille / 10:.1f} %"
