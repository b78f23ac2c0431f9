"""What documents say of the code: the files, tests, routes and pages that they name are there."""

import posixpath
import re
from collections.abc import Iterator, Mapping

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"[\w./-]+\.py")
_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/v1/[^\s?]*)")
_DECLARED = re.compile(r"\.route\(\s*\"([A-Z]+)\",\s*\"([^\"]+)\"")
_MEMBER = re.compile(r"(\w+(?:\.\w+)+)\.(\w+)(?:\(\))?")
_PARAMETER = re.compile(r"\{\w+\}")
_ROW = re.compile(r"\| ([^|]+) \| (yes|partly) \|")
#: The second cell of its rows says whether there is a feature.
FEATURES = "docs/features.md"


def check_page(page: str, text: str, files: Mapping[str, str]) -> Iterator[str]:
    """Say what ``page`` names that is not there.

    ``files`` are the texts of all that is tracked, by path from the root. A test is named as
    ``path.py::test_name`` and looked for in that very file, or by its name alone; a file by the end of its
    path; what a module declares as ``slice.module.name``.
    """
    for target in _LINK.findall(text):
        if not _exists(posixpath.join(posixpath.dirname(page), target), files):
            yield f"{page} links to {target}, which is not there"
    for code in _CODE.findall(text):
        yield from _check_code(page, code, files)
    if page == FEATURES:
        yield from _check_rows(text)


def _exists(path: str, files: Mapping[str, str]) -> bool:
    wanted = posixpath.normpath(path)
    return any(name == wanted or name.startswith(f"{wanted}/") for name in files)


def _check_code(page: str, code: str, files: Mapping[str, str]) -> Iterator[str]:
    file, _, test = code.partition("::")
    route, member = _ROUTE.match(code), _MEMBER.fullmatch(code)
    if _FILE.fullmatch(file):
        found = [text for name, text in files.items() if f"/{name}".endswith(f"/{file}")]
        if not found:
            yield f"{page} names {file}, which is not there"
        elif "::" in code and not any(_defines(text, test) for text in found):
            yield f"{page} names the test {test}, which is not in {file}"
    elif code.startswith("test_") and code.isidentifier():
        tests = (text for name, text in files.items() if name.startswith("tests/"))
        if not any(_defines(text, code) for text in tests):
            yield f"{page} names the test {code}, which is not there"
    elif route is not None and _normalize(*route.groups()) not in _read_routes(files):
        yield f"{page} names the route {route[0]}, which is not there"
    elif member is not None:
        path = f"{member[1].replace('.', '/')}.py"
        source = files.get(path, files.get(f"chalicelib/{path}"))
        if source is not None and not _declares(source, member[2]):
            yield f"{page} names {code}, which is not there"


def _defines(text: str, test: str) -> bool:
    return re.search(rf"^\s*def {re.escape(test)}\(", text, re.MULTILINE) is not None


def _declares(text: str, name: str) -> bool:
    return re.search(rf"^\s*(?:def |class )?{re.escape(name)}\b", text, re.MULTILINE) is not None


def _read_routes(files: Mapping[str, str]) -> set[str]:
    sources = (text for name, text in files.items() if name.startswith("chalicelib/"))
    return {_normalize(*found) for text in sources for found in _DECLARED.findall(text)}


def _normalize(method: str, path: str) -> str:
    return f"{method} {_PARAMETER.sub('{}', path)}"


def _check_rows(text: str) -> Iterator[str]:
    """A *yes* or *partly* names the test that shows it."""
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is not None and "test_" not in line:
            yield f"{FEATURES} says {row[2]} of '{row[1]}' and names no test"
