"""The command line ``provocative``: all verbs, and how a run ends."""

import os
import sys

import typer

from provocative.cli import (
    accounts,
    agreements,
    audit,
    budgets,
    catalog,
    hosts,
    login,
    logs,
    maintenance,
    money,
    paying,
    pools,
    purchases,
    removals,
    rent,
    rentals,
    reports,
    reservations,
    statements,
    templates,
    webhooks,
)
from provocative.cli.failures import report
from provocative.cli.session import Surroundings
from provocative.version import VERSION

_EXIT_ABORTED = 1
_EXIT_INTERRUPTED = 130
_MODULES = (
    login,
    catalog,
    rent,
    rentals,
    logs,
    money,
    paying,
    purchases,
    budgets,
    statements,
    reservations,
    templates,
    webhooks,
    hosts,
    maintenance,
    pools,
    accounts,
    agreements,
    removals,
    reports,
    audit,
)


def build_app() -> typer.Typer:
    """Return the application; tests run it in their own process."""
    app = typer.Typer(
        name="provocative",
        help="Rent GPUs by the second, and run the fleet. Every verb has --help, --json and --profile.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_take_version)
    for module in _MODULES:
        module.register(app)
    return app


def _show_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        typer.echo(f"provocative {VERSION}")
        raise typer.Exit


def _take_version(
    *,
    _version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def run(arguments: list[str], surroundings: Surroundings | None = None) -> int:
    """Run one command line and return its exit code; what fails is told on standard error."""
    try:
        # Without typer's own handling: its exit codes and messages are ours.
        code = build_app()(args=arguments, prog_name="provocative", standalone_mode=False, obj=surroundings)
    except typer.Abort:
        typer.echo("Nothing was done.", err=True)
        return _EXIT_ABORTED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who read has enough, as `head` has; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = report(error, as_json="--json" in arguments)
        if told is None:
            raise
        return told
    return code if isinstance(code, int) else 0


def main() -> None:
    sys.exit(run(sys.argv[1:]))
