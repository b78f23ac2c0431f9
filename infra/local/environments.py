"""MiniStack's own virtual environment, built from its lock and rebuilt when the lock changes."""

import hashlib
import os
import subprocess
import venv
from pathlib import Path

from infra.local.paths import CONFINED, LOCAL, LOGS, ROOT, VENV_BIN
from infra.local.progress import Progress, StepFailed

LOCK = ROOT / "requirements" / "ministack.txt"


def ensure_ministack(progress: Progress) -> Path:
    """Return the Python that runs MiniStack, installing it if need be.

    Raises:
        StepFailed: the packages could not be installed.
    """
    home = LOCAL / "ministack"
    python = home / "bin" / "python"
    marker = home / ".lock"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if marker.exists() and marker.read_text() == digest and python.exists():
        return python
    with progress.step("installing the embedded cloud (once)"):
        venv.create(home, clear=True, symlinks=True, with_pip=False)
        _install(python)
    marker.write_text(digest)
    return python


def _install(python: Path) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "install.log"
    command = [
        str(VENV_BIN / "uv"),
        "pip",
        "sync",
        "--python",
        str(python),
        "--require-hashes",
        str(LOCK),
    ]
    with log.open("w") as output:
        done = subprocess.run(
            command, env={**os.environ, **CONFINED}, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        last = log.read_text().strip().splitlines()[-1:] or ["no output"]
        raise StepFailed(f"the embedded cloud could not be installed: {last[0]}", f"see {log}")
