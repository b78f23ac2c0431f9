"""JSON Schema 2020-12, as far as the API's document uses it; any other keyword is an error here."""

import re

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "null": type(None),
    "boolean": bool,
}
#: Say something to people, or to those who make values.
ANNOTATIONS = {"title", "description", "default", "examples", "format"}


class UnknownKeyword(Exception):
    """The checker, or the schema, is wrong."""


def find_faults(schema, value, root, where="$"):
    """Yield what of ``value`` the schema refuses. ``root`` resolves references."""
    for keyword, wanted in schema.items():
        if keyword not in ANNOTATIONS:
            check = CHECKS.get(keyword)
            if check is None:
                raise UnknownKeyword(f"{keyword} at {where}")
            yield from check(wanted, value, root, where, schema)


def resolve(reference, root):
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _check_reference(wanted, value, root, where, _schema):
    yield from find_faults(resolve(wanted, root), value, root, where)


def _check_type(wanted, value, _root, where, _schema):
    kinds = wanted if isinstance(wanted, list) else [wanted]
    if not any(_is_of(kind, value) for kind in kinds):
        yield f"{where} is no {wanted}: {value!r}"


def _is_of(kind, value):
    if kind in {"integer", "number"}:
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def _check_any(wanted, value, root, where, _schema):
    faults = [list(find_faults(each, value, root, where)) for each in wanted]
    if all(faults):
        yield f"{where} is none of {len(wanted)}: {faults}"


def _check_members(wanted, value, root, where, _schema):
    if isinstance(value, dict):
        for name in wanted.keys() & value.keys():
            yield from find_faults(wanted[name], value[name], root, f"{where}.{name}")


def _check_required(wanted, value, _root, where, _schema):
    if isinstance(value, dict):
        yield from (f"{where}.{name} is missing" for name in wanted if name not in value)


def _check_others(wanted, value, root, where, schema):
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name in value:
        if name in known or any(re.search(pattern, name) for pattern in patterns):
            continue
        if wanted is False:
            yield f"{where}.{name} is not known"
        elif wanted is not True:
            yield from find_faults(wanted, value[name], root, f"{where}.{name}")


def _check_patterns(wanted, value, root, where, _schema):
    if isinstance(value, dict):
        for pattern, schema in wanted.items():
            for name in (name for name in value if re.search(pattern, name)):
                yield from find_faults(schema, value[name], root, f"{where}.{name}")


def _check_names(wanted, value, root, where, _schema):
    if isinstance(value, dict):
        for name in value:
            yield from find_faults(wanted, name, root, f"{where} ({name})")


def _check_items(wanted, value, root, where, schema):
    if isinstance(value, list):
        for number, each in enumerate(value[len(schema.get("prefixItems", [])) :]):
            yield from find_faults(wanted, each, root, f"{where}[{number}]")


def _check_places(wanted, value, root, where, _schema):
    if isinstance(value, list):
        for number, (schema, each) in enumerate(zip(wanted, value, strict=False)):
            yield from find_faults(schema, each, root, f"{where}[{number}]")


def _bound(kind, holds):
    def check(wanted, value, _root, where, _schema):
        if isinstance(value, kind) and not isinstance(value, bool) and not holds(value, wanted):
            yield f"{where} is out of bounds: {value!r}, {wanted}"

    return check


CHECKS = {
    "$ref": _check_reference,
    "type": _check_type,
    "anyOf": _check_any,
    "properties": _check_members,
    "required": _check_required,
    "additionalProperties": _check_others,
    "patternProperties": _check_patterns,
    "propertyNames": _check_names,
    "items": _check_items,
    "prefixItems": _check_places,
    "enum": _bound(object, lambda value, wanted: value in wanted),
    "const": _bound(object, lambda value, wanted: value == wanted),
    "minimum": _bound(int | float, lambda value, wanted: value >= wanted),
    "maximum": _bound(int | float, lambda value, wanted: value <= wanted),
    "exclusiveMinimum": _bound(int | float, lambda value, wanted: value > wanted),
    "exclusiveMaximum": _bound(int | float, lambda value, wanted: value < wanted),
    "minLength": _bound(str, lambda value, wanted: len(value) >= wanted),
    "maxLength": _bound(str, lambda value, wanted: len(value) <= wanted),
    "pattern": _bound(str, lambda value, wanted: re.search(wanted, value) is not None),
    "minItems": _bound(list, lambda value, wanted: len(value) >= wanted),
    "maxItems": _bound(list, lambda value, wanted: len(value) <= wanted),
    "minProperties": _bound(dict, lambda value, wanted: len(value) >= wanted),
    "maxProperties": _bound(dict, lambda value, wanted: len(value) <= wanted),
}
