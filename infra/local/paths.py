"""Where the embedded cloud keeps things: all of it under ``.local`` of the clone."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
CACHE = LOCAL / "cache"
LOGS = LOCAL / "logs"
#: Run as a file, so that the guarded program needs nothing of ours on its path.
GUARD = Path(__file__).with_name("guard.py")
VENV_BIN = Path(sys.executable).parent
CONFINED = {
    "UV_CACHE_DIR": str(CACHE / "uv"),
    "PIP_CACHE_DIR": str(CACHE / "pip"),
    "XDG_CACHE_HOME": str(CACHE),
    "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
}
"""Environment that keeps tools from writing outside the clone."""
