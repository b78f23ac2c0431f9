"""Where the embedded cloud keeps things: all of it under ``.local`` of the clone."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
CACHE = LOCAL / "cache"
LOGS = LOCAL / "logs"
VENV_BIN = Path(sys.executable).parent
CONFINED = {
    "UV_CACHE_DIR": str(CACHE / "uv"),
    "PIP_CACHE_DIR": str(CACHE / "pip"),
    "XDG_CACHE_HOME": str(CACHE),
    "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
}
"""Environment that keeps tools from writing outside the clone."""
