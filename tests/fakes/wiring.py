"""Other factories in place of the wiring's own, wherever one of them calls another."""

from types import ModuleType
from typing import Any

import pytest

from chalicelib import wiring

MODULES = [wiring, *(value for value in vars(wiring).values() if isinstance(value, ModuleType))]


def rewire(monkeypatch: pytest.MonkeyPatch, **served: Any) -> None:
    """Let each named factory return what is given for it."""
    for name, value in served.items():
        for module in MODULES:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda value=value: value)
