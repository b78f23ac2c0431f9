"""Listings: one page as the API sends it, or all of them as one."""

from collections.abc import Callable
from typing import Any, TypeVar

from provocative.cli.output import print_line
from provocative.cli.session import Session

T = TypeVar("T")


def fetch_page(
    fetch: Callable[..., Any], *, limit: int | None, cursor: str | None, everything: bool, **filters: Any
) -> Any:
    """Return a page; ``everything`` goes on from ``cursor`` to the end and joins what it finds."""
    # Many of a page's items make fewer calls.
    page = fetch(limit=limit or (100 if everything else None), cursor=cursor, **filters)
    while everything and page.get("next_cursor"):
        following = fetch(limit=limit or 100, cursor=page["next_cursor"], **filters)
        page = {**following, "items": [*page["items"], *following["items"]]}
    return page


def show_page(session: Session, page: Any, render: Callable[[list[Any]], None]) -> None:
    """Print a page, and for people how to see the rest."""

    def render_page(body: Any) -> None:
        render(body["items"])
        if body.get("next_cursor"):
            print_line(f"There are more: --all, or --cursor {body['next_cursor']}")

    session.show(page, render_page)
