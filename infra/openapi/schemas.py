"""Schemas of the bodies, from the pydantic models; what is said in comments beside a field is said of it."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from infra.openapi.sources import find_class, read_lines

Schema = dict[str, Any]
REFERENCE = "#/components/schemas/"
#: What pydantic calls a model whose name two slices have: module and name.
_CLASHING = re.compile(r"chalicelib__([a-z]+)__[a-z_]+?__([A-Z]\w*)")


class _Schemas(GenerateJsonSchema):
    def field_title_should_be_set(self, _schema: Any) -> bool:
        """A title that repeats the field's name says nothing."""
        return False


def build_schemas(
    requests: Iterable[type[BaseModel]], responses: Iterable[type[BaseModel]]
) -> tuple[dict[type[BaseModel], Schema], dict[str, Schema]]:
    """Return a reference to each model, and all schemas by name."""
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((each, "validation") for each in requests),
        *((each, "serialization") for each in responses),
    ]
    references, found = models_json_schema(
        wanted, ref_template=REFERENCE + "{model}", schema_generator=_Schemas
    )
    models = {name: model for model in _list_models(BaseModel) for name in _list_names(model)}
    schemas = {}
    for name, schema in found["$defs"].items():
        _describe(schema, models[name])
        schemas[_shorten(name)] = _shorten_references(schema)
    short = {model: _shorten_references(references[model, mode]) for model, mode in wanted}
    return short, dict(sorted(schemas.items()))


def _list_models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _list_models(each)


def _list_names(model: type[BaseModel]) -> tuple[str, str]:
    return model.__name__, f"{model.__module__}.{model.__qualname__}".replace(".", "__")


def _shorten(name: str) -> str:
    match = _CLASHING.fullmatch(name)
    return name if match is None else f"{match[1].title()}{match[2]}"


def _shorten_references(value: Any) -> Any:
    if isinstance(value, list):
        return [_shorten_references(each) for each in value]
    if not isinstance(value, dict):
        return value
    shortened = {
        key: REFERENCE + _shorten(each.removeprefix(REFERENCE))
        if key == "$ref" and isinstance(each, str)
        else _shorten_references(each)
        for key, each in value.items()
    }
    if isinstance(shortened.get("patternProperties"), dict):
        # pydantic leaves open that a name of another form is refused.
        shortened.setdefault("additionalProperties", False)
    return shortened


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    if "description" in schema:
        schema["description"] = mark_down(schema["description"])
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            for field, text in _read_comments(base):
                schema["properties"][field].setdefault("description", mark_down(text))


def _read_comments(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield each field of a class that has a ``#:`` comment above it, and the comment."""
    lines = read_lines(model.__module__)
    for node in find_class(model.__module__, model.__name__).body:
        if not isinstance(node, ast.AnnAssign):
            continue
        above, texts = node.lineno - 2, list[str]()
        while lines[above].strip().startswith("#:"):
            texts.insert(0, lines[above].strip().removeprefix("#:").strip())
            above -= 1
        if texts:
            yield ast.unparse(node.target), " ".join(texts)


def mark_down(text: str) -> str:
    """Docstrings mark code as reStructuredText does; OpenAPI reads Markdown."""
    return " ".join(text.replace("``", "`").split())
