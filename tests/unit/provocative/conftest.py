import pytest

from tests.unit.provocative.terminal import open_terminal


@pytest.fixture
def terminal(monkeypatch, capsys, tmp_path):
    return open_terminal(monkeypatch, capsys, tmp_path)
