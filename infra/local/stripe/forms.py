"""Form parameters with brackets, as Stripe's libraries send them, checked against what a route knows."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from infra.local.stripe.errors import Object, refuse_parameter

_PART = re.compile(r"\[([^\]]*)\]")
PAGING = (
    "limit:int starting_after ending_before "
    "created:int created.gt:int created.gte:int created.lt:int created.lte:int"
)


def _read_bool(text: str) -> bool:
    return {"true": True, "false": False}[text]


_READERS: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "bool": _read_bool}


@dataclass(frozen=True, slots=True)
class Spec:
    """The parameters of a route: dotted path to kind (str, int, bool or map), and those it must be given."""

    kinds: dict[str, str]
    required: frozenset[str]

    def read(self, pairs: Iterable[tuple[str, str]]) -> Object:
        """Return the nested parameters.

        Raises:
            Refused: one is unknown, missing or not of its kind.
        """
        root: Object = {}
        for name, text in pairs:
            parts = [name.partition("[")[0], *_PART.findall(name)]
            kind = self._find_kind(name, parts)
            try:
                value = _READERS[kind](text)
            except (KeyError, ValueError):
                raise refuse_parameter(f"Invalid {kind}: {text}", "parameter_invalid_" + kind, name) from None
            _place(root, parts, value)
        for name in sorted(self.required - root.keys()):
            raise refuse_parameter(f"Missing required param: {name}.", "parameter_missing", name)
        return {name: _as_lists(value) for name, value in root.items()}

    def _find_kind(self, name: str, parts: list[str]) -> str:
        path = ".".join("#" if part.isdecimal() or not part else part for part in parts)
        if path in self.kinds and self.kinds[path] != "map":
            return self.kinds[path]
        if self.kinds.get(path.rpartition(".")[0]) == "map":
            return "str"
        raise refuse_parameter(f"Received unknown parameter: {name}", "parameter_unknown", name)


def describe(text: str) -> Spec:
    """Build a spec from words such as ``amount:int! metadata:map``; ``expand`` is always known."""
    kinds = {"expand.#": "str"}
    required = set()
    for word in text.split():
        name, _, kind = word.rstrip("!").partition(":")
        kinds[name] = kind or "str"
        if word.endswith("!"):
            required.add(name.partition(".")[0])
    return Spec(kinds, frozenset(required))


def _place(root: Object, parts: list[str], value: Any) -> None:
    node = root
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise refuse_parameter(f"Invalid object: {part}", "parameter_invalid", part)
    node[parts[-1] or str(len(node))] = value


def _as_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdecimal() for name in value):
        return [_as_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _as_lists(inner) for name, inner in value.items()}
