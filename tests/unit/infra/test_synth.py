"""Builds of the functions: made once for the same input, by whoever is first."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.local import synth
from infra.local.progress import Progress
from infra.local.synth import Synthesis, synthesize

#: Long enough for a second one to come in, were it let in.
PATIENCE_SECONDS = 0.5


def test_who_wants_what_is_being_made_waits_for_it(monkeypatch, tmp_path):
    made, both_are_in = [], threading.Barrier(2)

    def run(synthesis, folder):
        made.append(folder)
        with pytest.raises(threading.BrokenBarrierError):
            both_are_in.wait(PATIENCE_SECONDS)
        folder.mkdir()
        (folder / "manifest.json").touch()

    monkeypatch.setattr(synth, "LOCAL", tmp_path)
    monkeypatch.setattr(synth, "_run", run)
    wanted = Synthesis({"stage": "local"})
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: synthesize(wanted, Progress()), range(2))
    assert made == [first]
    assert first == second
