"""How a function becomes a verb: it takes a `Session` first, and gets --json and --profile for nothing."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from provocative.cli.session import Session, Surroundings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, as the API sent it.")]
Name = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Use the key of this profile.")]

Body = Callable[..., None]


def verb(app: typer.Typer, name: str | None = None, *, hidden: bool = False) -> Callable[[Body], Body]:
    """Register ``function(session, *, ...)`` under its name; its docstring is its help."""

    def register(function: Body) -> Body:
        spoken = name or function.__name__.replace("_", "-")
        app.command(spoken, hidden=hidden)(_open_session(function))
        return function

    return register


def group(app: typer.Typer, name: str, about: str, default: Body | None = None) -> typer.Typer:
    """Add verbs under a noun; the noun alone does what ``default`` does."""
    nested = typer.Typer(
        rich_markup_mode=None, invoke_without_command=default is not None, no_args_is_help=default is None
    )
    if default is not None:
        nested.callback(help=about)(_open_session(default, only_alone=True))
        nested.command("list")(_open_session(default))
    else:
        nested.callback(help=about)(_do_nothing)
    app.add_typer(nested, name=name)
    return nested


def _do_nothing() -> None:
    pass


def _open_session(function: Body, *, only_alone: bool = False) -> Callable[..., None]:
    """``only_alone``: leave it to the verb that follows, if one does."""

    @functools.wraps(function)
    def run(_context: typer.Context, *, _json: bool, _profile: str | None, **given: Any) -> None:
        # A flag that stands before the verb counts for it too.
        shared = _context.meta
        shared["json"] = _json or shared.get("json", False)
        shared["profile"] = _profile or shared.get("profile")
        if only_alone and _context.invoked_subcommand is not None:
            return
        around = _context.obj if isinstance(_context.obj, Surroundings) else Surroundings()
        session = Session(around, as_json=shared["json"], profile_name=shared["profile"])
        try:
            function(session, **given)
        finally:
            session.close()

    signature = inspect.signature(function)
    own = list(signature.parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("_context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *own,
        inspect.Parameter("_json", keyword, default=False, annotation=Json),
        inspect.Parameter("_profile", keyword, default=None, annotation=Name),
    ]
    vars(run)["__signature__"] = signature.replace(parameters=added)
    run.__annotations__ = {each.name: each.annotation for each in added}
    return run
