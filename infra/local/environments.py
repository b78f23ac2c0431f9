"""Virtual environments beside the main one, for programs whose packages must not mix with ours.

Each is built from its lock ``requirements/<name>.txt`` into ``.local/<name>`` when it is first needed, and
rebuilt when the lock changes.
"""

import hashlib
import os
import subprocess
import venv
from pathlib import Path

from infra.local.paths import CONFINED, LOCAL, LOGS, ROOT, VENV_BIN
from infra.local.progress import Progress, StepFailed


def ensure_environment(name: str, purpose: str, progress: Progress) -> Path:
    """Return the Python of the environment, installing it if need be.

    Raises:
        StepFailed: the packages could not be installed.
    """
    home, lock = LOCAL / name, ROOT / "requirements" / f"{name}.txt"
    python = home / "bin" / "python"
    marker = home / ".lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if marker.exists() and marker.read_text() == digest and python.exists():
        return python
    with progress.step(f"installing {purpose} (once)"):
        venv.create(home, clear=True, symlinks=True, with_pip=False)
        _install(python, lock, purpose)
    marker.write_text(digest)
    return python


def _install(python: Path, lock: Path, purpose: str) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"install-{lock.stem}.log"
    command = [str(VENV_BIN / "uv"), "pip", "sync", "--python", str(python), "--require-hashes", str(lock)]
    with log.open("w") as output:
        done = subprocess.run(
            command, env={**os.environ, **CONFINED}, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        last = log.read_text().strip().splitlines()[-1:] or ["no output"]
        raise StepFailed(f"{purpose} could not be installed: {last[0]}", f"see {log}")
