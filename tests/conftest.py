"""Fixtures: the embedded cloud with the stack deployed, once per run."""

from collections.abc import Iterator

import pytest

from infra.local.cloud import EmbeddedCloud, run_cloud
from infra.local.progress import Progress


@pytest.fixture(scope="session")
def cloud() -> Iterator[EmbeddedCloud]:
    with run_cloud("test", Progress()) as running:
        yield running
