"""Checks of `make check` that no linter has. Exit 1 with the reasons."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import app
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.routing import TABLE, render_table
from infra.documents import check_page
from infra.openapi.document import render_document
from infra.openapi.views import Undetermined
from infra.supply import check_advisories, check_sbom

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "requirements/lambda.in": "requirements.txt",
    "requirements/dev.in": "requirements/dev.txt",
    "requirements/uv.in": "requirements/uv.txt",
    "requirements/ministack.in": "requirements/ministack.txt",
    "requirements/compiler.in": "requirements/compiler.txt",
    "requirements/peers.in": "requirements/peers.txt",
}
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:[=<>!~;]|$)")
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.MULTILINE)
#: A path that exists on one machine only.
_MACHINE_PATH = re.compile(r"(?<![\w.{}*-])/(?:home|root|Users|work)/[A-Za-z0-9_.-]+/")
MAX_FILE_LINES = 400


def list_tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def check_locks() -> Iterator[str]:
    """Every requirement is pinned in its lock, and Lambda's pins are those that were tested."""
    for source, lock in LOCKS.items():
        pinned = _read_pins(lock)
        for line in (ROOT / source).read_text().splitlines():
            match = _NAME.match(line)
            if match and _normalize(match[1]) not in pinned:
                yield f"{lock} does not pin {match[1]} of {source}; run `make lock`"
    tested = _read_pins("requirements/dev.txt")
    for name, version in _read_pins("requirements.txt").items():
        if tested.get(name) != version:
            yield f"requirements.txt has {name} {version}, the tests run {tested.get(name)}; run `make lock`"


def _read_pins(lock: str) -> dict[str, str]:
    return {_normalize(name): version for name, version in _PINNED.findall((ROOT / lock).read_text())}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_secrets() -> Iterator[str]:
    """Scan what is tracked with detect-secrets; a false alarm is marked where it stands, with a reason."""
    paths = [str(path.relative_to(ROOT)) for path in list_tracked() if path.suffix not in {".png", ".svg"}]
    paths = [path for path in paths if not path.startswith("requirements")]
    scan = subprocess.run(
        [sys.executable, "-m", "detect_secrets", "scan", "--no-verify", *paths],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for path, findings in json.loads(scan.stdout)["results"].items():
        for finding in findings:
            yield f"{path}:{finding['line_number']} looks like a secret ({finding['type']})"


def check_paths() -> Iterator[str]:
    """Nothing names a path of one machine."""
    for path in list_tracked():
        if path.suffix == ".png":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if _MACHINE_PATH.search(line):
                yield f"{path.relative_to(ROOT)}:{number} names a path of one machine"


def check_packages() -> Iterator[str]:
    """Packages' ``__init__.py`` are empty, but for the wiring's, which imports no slice; files stay short."""
    for path in list_tracked():
        if path.suffix != ".py":
            continue
        text = path.read_text()
        where = path.relative_to(ROOT)
        free = where.parts[0] == "tests" or where.parent == Path("chalicelib/wiring")
        if path.name == "__init__.py" and text.strip() and not free:
            yield f"{path.relative_to(ROOT)} is not empty: a function would import more than its slice"
        lines = text.count("\n")
        if lines > MAX_FILE_LINES:
            yield f"{path.relative_to(ROOT)} has {lines} lines; split it by what it is about"


def check_documents() -> Iterator[str]:
    """Documents name files, tests, routes and pages that exist."""
    tracked = {str(path.relative_to(ROOT)): path for path in list_tracked() if path.suffix != ".png"}
    files = {name: path.read_text(errors="replace") for name, path in tracked.items()}
    for name in (name for name in files if name.endswith(".md")):
        yield from check_page(name, files[name], files)


def check_api_document() -> Iterator[str]:
    """The API's document says what routes and bodies say now."""
    where = DOCUMENT.relative_to(ROOT)
    try:
        wanted = render_document(app.APIS)
    except Undetermined as error:
        yield f"{where} cannot be written: {error}"
        return
    if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != wanted:
        yield f"{where} is not what the routes say; run `make openapi`"


def check_route_table() -> Iterator[str]:
    """The entrance of the API finds each route where it is."""
    if not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != render_table(app.TABLE):
        yield f"{TABLE.relative_to(ROOT)} is not what the routes say; run `make openapi`"


CHECKS: tuple[Callable[[], Iterator[str]], ...] = (
    check_locks,
    check_secrets,
    check_paths,
    check_packages,
    check_documents,
    check_api_document,
    check_route_table,
    check_sbom,
    check_advisories,
)


def main() -> int:
    problems = [problem for check in CHECKS for problem in check()]
    for problem in problems:
        print(problem)
    print(f"{len(CHECKS)} further checks, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
