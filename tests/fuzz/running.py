"""One run of Schemathesis over the API's document: every operation, every phase, all checks, from a seed."""

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.config._checks import NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES
from schemathesis.engine import events
from schemathesis.reporting.junitxml import JunitXmlWriter
from schemathesis.reporting.recorders import grouped_failures_from_recorder
from schemathesis.specs.openapi.schemas import OpenApiSchema

from chalicelib.runtime.api_document import DOCUMENT
from tests.fuzz.expected import build_operations
from tests.fuzz.hooks import adjust
from tests.fuzz.seeding import Installation

#: The day before the first instant of the document's examples.
EXAMPLES_OF = date(2026, 11, 30)
_INSTANT = re.compile(r'"(20[0-9]{2}-[0-9]{2}-[0-9]{2})T')


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is asked: ``examples`` of an operation, ``chains`` of calls with ``steps`` each, at most.

    ``methods``: those that are tried where a path does not have them.
    """

    name: str
    examples: int
    chains: int
    steps: int
    max_seconds: int
    seed: int = 20261130
    methods: tuple[str, ...] = ("get", "put", "post", "delete", "options", "patch", "trace", "query")
    phases: tuple[str, ...] = ("examples", "coverage", "fuzzing", "stateful")


_TOLD_CASES = 1_000
#: The embedded cloud starts a process where AWS has a function warm.
REQUEST_SECONDS = 60
#: Chains are drawn until time is out; a slow machine draws no fewer than these and calls it a run.
MIN_STATEFUL_CASES = 1_000
FULL = Profile("full", examples=3, chains=30, steps=8, max_seconds=750)
#: In memory nothing is waited for: what is rare is drawn here.
DEEP = Profile("deep", examples=8, chains=60, steps=8, max_seconds=600)
#: The bounds of every schema, and no chance: drawing costs more time than the tests have.
SHORT = Profile(
    "short", 1, chains=1, steps=2, max_seconds=600, methods=("patch",), phases=("examples", "coverage")
)


@dataclass(slots=True)
class Outcome:
    """``covered`` are the operations that were asked, ``answers`` are counted by status."""

    operations: int
    covered: set[str] = field(default_factory=set)
    cases: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    by_operation: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    links: int = 0
    stopped: str = ""
    seconds: float = 0.0

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.answers.items() if status >= 500)

    @property
    def holds(self) -> bool:
        """Nothing was wrong, and all was asked: time may cut short the last phase alone, which has no end."""
        ended = self.stopped == "completed" or (
            self.stopped == "max_time" and self.cases["stateful"] >= MIN_STATEFUL_CASES
        )
        done = len(self.covered) == self.operations and ended
        return done and not (self.failures or self.errors or self.server_errors)

    @property
    def accepted(self) -> set[str]:
        """Operations that did what was asked at least once."""
        return {
            name for name, answers in self.by_operation.items() if any(status < 400 for status in answers)
        }


def build_config(profile: Profile, dictionaries: Mapping[str, list[str]], url: str) -> SchemathesisConfig:
    """``dictionaries``: the name of a parameter -> ids of what is there, of which some cases take one."""
    generation = {
        "max-examples": profile.examples,
        "deterministic": False,
        "database": "none",
        "no-shrink": True,
    }
    return SchemathesisConfig.from_dict(
        {
            "seed": profile.seed,
            "base-url": url,
            "max-time": profile.max_seconds,
            "suppress-health-check": ["all"],
            "continue-on-failure": True,
            "request-timeout": REQUEST_SECONDS,
            "dictionaries": {name: {"values": values} for name, values in dictionaries.items()},
            "parameters": {
                f"{place}.{name}": {"dictionary": name, "probability": 0.7}
                for place in ("path", "query", "body")
                for name in dictionaries
            },
            "generation": generation,
            "phases": {
                **{name: {"enabled": name in profile.phases} for name in ("examples", "fuzzing")},
                "coverage": {
                    "enabled": "coverage" in profile.phases,
                    "unexpected-methods": list(profile.methods),
                },
                "stateful": {
                    "enabled": "stateful" in profile.phases,
                    "max-steps": profile.steps,
                    "generation": {"max-examples": profile.chains},
                },
            },
            "checks": {
                "enabled": True,
                # Too large is refused before it is read.
                "negative_data_rejection": {
                    "expected-statuses": [*NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES, "413"]
                },
            },
            "operations": build_operations(),
        }
    )


def load(profile: Profile, installation: Installation, url: str) -> OpenApiSchema:
    schema = schemathesis.openapi.from_dict(
        shift_examples(json.loads(DOCUMENT.read_text()), installation.today),
        config=build_config(profile, installation.known, url),
    )

    @schema.auth(refresh_interval=None)
    class Keys:
        def get(self, _case, context):
            return installation.find_key(context.operation.definition.raw)

        def set(self, case, key, _context):
            if key is not None:
                case.headers["Authorization"] = f"Bearer {key}"

    return schema


def fuzz(
    profile: Profile,
    installation: Installation,
    url: str,
    folder: Path,
    say: Callable[[str], None] = lambda _line: None,
) -> Outcome:
    """Ask the API at ``url``; ``folder`` gets the report as JUnit XML, ``say`` how far it is."""
    schema = load(profile, installation, url)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(schema.statistic.operations.total)
    writer = JunitXmlWriter(folder / f"{profile.name}.xml", schema.config.output)
    started, told = time.monotonic(), 0
    say(f"  ... fuzzing for {profile.max_seconds / 60:.0f} minutes at most")
    logging.disable(logging.CRITICAL)
    try:
        with adjust(installation), writer:
            for event in engine.from_schema(schema).execute():
                _note(event, outcome, writer)
                if outcome.cases.total() >= told + _TOLD_CASES:
                    told = outcome.cases.total()
                    spent = time.monotonic() - started
                    say(f"  {spent:6.0f} s: {told} cases, {len(outcome.failures)} failures")
    finally:
        logging.disable(logging.NOTSET)
    outcome.seconds = time.monotonic() - started
    return outcome


def _note(event: events.EngineEvent, outcome: Outcome, writer: JunitXmlWriter) -> None:
    match event:
        case events.ScenarioFinished():
            _note_scenario(event, outcome)
            writer.write(event.recorder, event.elapsed_time, status=event.status)
        case events.NonFatalError():
            outcome.errors.append(f"{event.label}: {event.value!r}")
            writer.record_error(event.label, repr(event.value))
        case events.FatalError():
            outcome.errors.append(repr(event.exception))
        case events.EngineFinished():
            outcome.stopped = str(event.stop_reason)


def _note_scenario(event: events.ScenarioFinished, outcome: Outcome) -> None:
    recorder = event.recorder
    for case_id, node in recorder.cases.items():
        label = node.value.operation.label
        interaction = recorder.interactions.get(case_id)
        if interaction is None or interaction.response is None:
            continue
        outcome.cases[event.phase.value] += 1
        outcome.covered.add(label)
        outcome.answers[interaction.response.status_code] += 1
        outcome.by_operation.setdefault(label, Counter())[interaction.response.status_code] += 1
        if node.parent_id is not None:
            outcome.links += 1
    for checks in recorder.checks.values():
        outcome.checks.update(each.name for each in checks)
    for group in grouped_failures_from_recorder(recorder):
        label = recorder.cases[group.case_id].value.operation.label
        for failure in group.failures:
            answered = "" if group.response is None else group.response.text[:400]
            outcome.failures.append(
                f"[{event.phase.value}] {label}: {failure.title}: {failure.message[:600]}\n"
                f"   {group.code_sample[:700]}\n   {group.response and group.response.status_code} {answered}"
            )


def shift_examples(document: dict[str, Any], today: date) -> dict[str, Any]:
    """Move the instants of examples by as many days as the document is old, so that they lie ahead."""
    days = max(0, (today - EXAMPLES_OF).days)
    text = json.dumps(document)
    return json.loads(_INSTANT.sub(lambda match: _add_days(match[1], days), text))


def _add_days(text: str, days: int) -> str:
    return f'"{(date.fromisoformat(text) + timedelta(days=days)).isoformat()}T'
