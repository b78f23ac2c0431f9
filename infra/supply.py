"""What the functions are made of: a list of their dependencies, and what is known against what is pinned.

The list is CycloneDX; nothing of it is committed, as it is `requirements.txt` in other words. Advisories come
from the package index, by pip-audit; who is offline is told so, and works on.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SBOM = ROOT / "dist" / "sbom.cdx.json"
SHIPPED = ROOT / "requirements.txt"
AUDITED = ROOT / "requirements" / "dev.txt"
ALLOWED = ROOT / "requirements" / "advisories.toml"
#: Of a package of which nothing that an advisory could be about is called.
EVERY = "*"
ANSWERS = ROOT / ".local" / "audit"
#: Of everything; the first pin alone says before whether anybody answers.
AUDIT_SECONDS = 120
PROBE_SECONDS = 10
_ADDRESS_SECONDS = "3"


@dataclass(frozen=True, slots=True)
class Advisory:
    """Something known against a pinned package. ``ids``: all its names, of the index first."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """``audited`` and ``skipped`` count packages; nothing audited means that nobody answered."""

    advisories: tuple[Advisory, ...]
    audited: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """Somebody lives with an advisory, for a reason and until a day; with ``*``, with all of one package."""

    advisory: str
    package: str
    reason: str
    owner: str
    expires: date

    def covers(self, found: Advisory) -> bool:
        return self.package == found.package and self.advisory in (*found.ids, EVERY)


def write_sbom(source: Path = SHIPPED, target: Path = SBOM) -> None:
    """Write the dependencies of ``source`` as CycloneDX JSON, validated; the same pins give the same bytes.

    Raises:
        subprocess.CalledProcessError: it cannot be made, or is not valid.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(source)]
    options = ["--of", "JSON", "--output-reproducible", "--validate", "-o", str(target)]
    subprocess.run([*command, *options], check=True, capture_output=True, text=True)


def check_sbom(source: Path = SHIPPED, target: Path = SBOM) -> Iterator[str]:
    """The list of what is shipped names every pin; it is made again when the pins have changed."""
    mark, digest = target.with_suffix(".sha256"), hashlib.sha256(source.read_bytes()).hexdigest()
    if not target.is_file() or not mark.is_file() or mark.read_text() != digest:
        try:
            write_sbom(source, target)
        except subprocess.CalledProcessError as error:
            yield f"{target.name} cannot be written: {(error.stderr or '').strip()[-300:]}"
            return
        mark.write_text(digest)
    pinned = {
        line.split("==")[0] for line in source.read_text().splitlines() if "==" in line and line[0] != " "
    }
    listed = {each["name"] for each in json.loads(target.read_text())["components"]}
    for name in sorted(pinned ^ listed):
        yield f"{target.name} and {source.name} do not agree on {name}"


def ask_advisories(lock: Path = AUDITED) -> str:
    """Return what pip-audit says of a lock, as JSON; empty when nobody answers in time."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "first.txt"
        first = next(line for line in SHIPPED.read_text().splitlines() if "==" in line)
        probe.write_text(f"{first}\n")
        if not read_audit(_run_audit(probe, PROBE_SECONDS)).audited:
            return ""
    return _run_audit(lock, AUDIT_SECONDS)


def _run_audit(lock: Path, seconds: int) -> str:
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-r", str(lock)]
    options = ["-f", "json", "--progress-spinner", "off", "--timeout", _ADDRESS_SECONDS, "--desc", "off"]
    cache = ["--cache-dir", str(ANSWERS / "cache")]
    try:
        done = subprocess.run(
            [*command, *options, *cache], check=False, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def ask_once_a_day(lock: Path = AUDITED) -> str:
    """Return today's answer for these pins; one that says something is kept."""
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    kept = ANSWERS / f"{key}-{date.today().isoformat()}.json"  # noqa: DTZ011 - the day of whoever works here
    if kept.is_file():
        return kept.read_text()
    answer = ask_advisories(lock)
    if read_audit(answer).audited:
        ANSWERS.mkdir(parents=True, exist_ok=True)
        kept.write_text(answer)
    return answer


def read_audit(answer: str) -> Audit:
    """Return what an answer of pip-audit says; none at all when it is no answer."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit((), 0, 0)
    audited = [each for each in dependencies if "skip_reason" not in each]
    found = [
        Advisory(
            each["name"],
            each["version"],
            (vulnerability["id"], *vulnerability.get("aliases", ())),
            tuple(vulnerability.get("fix_versions", ())),
        )
        for each in audited
        for vulnerability in each.get("vulns", ())
    ]
    return Audit(tuple(found), len(audited), len(dependencies) - len(audited))


def read_allowances(text: str) -> tuple[Allowance, ...]:
    """Raises ValueError: an entry lacks a member, a reason or an owner."""
    entries = tomllib.loads(text).get("advisory", [])
    allowed = []
    for entry in entries:
        if set(entry) != {"id", "package", "reason", "owner", "expires"}:
            raise ValueError("an entry has id, package, reason, owner and expires, and nothing else")
        said = entry["reason"].strip() and entry["owner"].strip()
        if not said or not isinstance(entry["expires"], date):
            raise ValueError(f"{entry['id']} needs a reason, an owner and a date")
        allowed.append(
            Allowance(entry["id"], entry["package"], entry["reason"], entry["owner"], entry["expires"])
        )
    return tuple(allowed)


def judge(audit: Audit, allowed: Sequence[Allowance], today: date) -> Iterator[str]:
    """Say what is known against a pin and allowed by nobody, and which allowance is over or for nothing."""
    used = set()
    for found in audit.advisories:
        covering = [each for each in allowed if each.covers(found)]
        used.update(covering)
        if not covering:
            remedy = f"fixed in {', '.join(found.fixed_in)}" if found.fixed_in else "not fixed yet"
            yield f"{found.package} {found.version} has {found.ids[0]}, {remedy}"
    for each in allowed:
        if each.expires < today:
            what = f"{each.advisory} of {each.package}"
            yield f"{ALLOWED.name} allowed {what} until {each.expires}: {each.owner}"
        elif audit.audited and not audit.skipped and each not in used:
            yield f"{ALLOWED.name} allows {each.advisory} of {each.package}, which nobody needs"


def check_advisories(
    ask: Callable[[], str] = ask_once_a_day, allowed: Path = ALLOWED, today: date | None = None
) -> Iterator[str]:
    """Nothing is known against what is pinned, as far as somebody answers."""
    try:
        allowances = read_allowances(allowed.read_text())
    except (ValueError, tomllib.TOMLDecodeError) as error:
        yield f"{allowed.name}: {error}"
        return
    audit = read_audit(ask())
    if not audit.audited:
        print("advisories: nobody answered; what is pinned was not audited")
    elif audit.skipped:
        print(f"advisories: {audit.audited} packages were audited, {audit.skipped} could not be")
    yield from judge(audit, allowances, today or date.today())  # noqa: DTZ011 - the day of whoever works here
