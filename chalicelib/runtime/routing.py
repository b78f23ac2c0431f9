"""Which module has which route: known without importing any slice, see `chalicelib.entrance`.

`make openapi` writes the table beside this module.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.runtime.http import Api

TABLE = Path(__file__).with_name("routes.json")


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Of programs and of pages: path -> method -> the module whose ``api`` has the route."""

    api: Mapping[str, Mapping[str, str]]
    pages: Mapping[str, Mapping[str, str]]

    def find_modules(self, path: str) -> set[str]:
        """Return the modules that have a method of a path; none has an unknown one."""
        return {*self.api.get(path, {}).values(), *self.pages.get(path, {}).values()}


def read_table() -> RouteTable:
    return RouteTable(**json.loads(TABLE.read_bytes()))


def build_table(apis: Iterable["Api"], pages: Iterable["Api"]) -> RouteTable:
    return RouteTable(_tell_modules(apis), _tell_modules(pages))


def render_table(table: RouteTable) -> str:
    """Return the text of the file, the same for the same routes."""
    return json.dumps({"api": table.api, "pages": table.pages}, indent=1, sort_keys=True) + "\n"


def _tell_modules(apis: Iterable["Api"]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for api in apis:
        for operation in api.operations:
            found.setdefault(operation.path, {})[operation.method] = api.module
    return found
