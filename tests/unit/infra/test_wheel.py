"""The agent's wheel: the agent and the wire, nothing of the cloud side, and it starts."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.local.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_the_agent_and_the_wire_and_nothing_of_the_cloud(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if ".dist-info/" not in name]
    assert "host_agent/__main__.py" in names
    assert "chalicelib/wire/v1.py" in names
    assert "host_agent/xid_classes.json" in names
    assert "host_agent/provocative-agent.service" in names
    assert "host_agent/provocative-agent-containers.conf" in names
    outside = [name for name in names if not name.startswith(("host_agent/", "chalicelib/wire/"))]
    assert outside == ["chalicelib/__init__.py"]


def test_it_runs_where_only_the_wheel_is(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import host_agent.service, sys; print(host_agent.service.__file__)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(tmp_path))
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "host_agent", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "usage" in asked.stdout
