"""The template of the production stage, as it would be deployed."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.progress import Progress
from infra.local.synth import Synthesis, synthesize


@pytest.fixture(scope="session")
def production() -> Path:
    return synthesize(Synthesis({"stage": "prod", "architecture": "arm64"}), Progress())


@pytest.fixture(scope="session")
def template(production: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((production / "prod.template.json").read_text())
    return found
