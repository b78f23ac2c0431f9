"""Verbs of budgets: what the account, a label or a rental may spend."""

from typing import Annotated, Any

import typer

from provocative.cli import options
from provocative.cli.money_views import show_budget, show_budgets
from provocative.cli.output import print_line
from provocative.cli.parsing import given, parse_money
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.requests import BudgetChange, BudgetRequest

_Id = Annotated[str, typer.Argument(metavar="BUDGET", help="As budgets shows it, bud_….")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as research.")]
_Amount = Annotated[
    int, typer.Option("--limit", metavar="AMOUNT", parser=parse_money, help="Such as 500 or 12.50.")
]
_NewAmount = Annotated[
    int | None, typer.Option("--limit", metavar="AMOUNT", parser=parse_money, help="Such as 500 or 12.50.")
]
_OfLabel = Annotated[
    str | None, typer.Option("--label", "-l", metavar="LABEL", help="Of rentals with this label alone.")
]
_OfRental = Annotated[str | None, typer.Option("--rental", metavar="RENTAL", help="Of this rental alone.")]
_Total = Annotated[bool, typer.Option("--total", help="In all, not in each month.")]
_Soft = Annotated[bool | None, typer.Option("--hard/--soft", help="Stop what runs, or tell only.")]
_Alerts = Annotated[
    list[int] | None, typer.Option("--alert", metavar="PERCENT", min=1, max=100, help="May be repeated.")
]


def register(app: typer.Typer) -> None:
    nested = group(app, "budgets", "What may be spent: list, create, change, remove.", budgets)
    verb(nested)(create)
    verb(nested)(show)
    verb(nested)(change)
    verb(nested)(remove)


def budgets(session: Session) -> None:
    """List the budgets: spent, set aside for what runs, left."""
    session.show(session.client.money.list_budgets(), show_budgets)


def create(
    session: Session,
    name: _Name,
    *,
    limit: _Amount,
    label: _OfLabel = None,
    rental: _OfRental = None,
    total: _Total = False,
    hard: _Soft = None,
    alerts: _Alerts = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Set a budget of the account, a label or a rental; a hard one stops its rentals, and no others."""
    if label is not None and rental is not None:
        raise typer.BadParameter("A budget is of a label or of a rental, not of both.")
    scope = "account" if label is None and rental is None else "label" if rental is None else "rental"
    request: BudgetRequest = given(
        name=name,
        limit_micros=limit,
        scope=scope,
        scope_value=label or rental,
        period="total" if total else None,
        hard_stop=hard,
        alert_percents=alerts or None,
    )
    made = session.client.money.create_budget(request, idempotency_key=idempotency_key)
    session.show(made, show_budget)


def show(session: Session, budget_id: _Id) -> None:
    """Show one budget."""
    session.show(session.client.money.read_budget(budget_id), show_budget)


def change(
    session: Session,
    budget_id: _Id,
    *,
    limit: _NewAmount = None,
    hard: _Soft = None,
    alerts: _Alerts = None,
) -> None:
    """Change a budget; what is above a lower limit is stopped within a minute or so."""
    request: BudgetChange = given(limit_micros=limit, hard_stop=hard, alert_percents=alerts or None)
    session.show(session.client.money.change_budget(budget_id, request), show_budget)


def remove(session: Session, budget_id: _Id, *, yes: options.Yes = False) -> None:
    """Remove a budget; what ran under it goes on."""
    session.confirm(f"Remove {budget_id}? What ran under it goes on.", yes=yes)
    session.client.money.remove_budget(budget_id)
    body: dict[str, Any] = {"budget_id": budget_id, "removed": True}
    session.show(body, lambda _: print_line(f"{budget_id} is removed."))
