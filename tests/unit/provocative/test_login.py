"""Keys on this machine: kept where nobody else reads them, never shown, never sent elsewhere."""

import stat

import pytest

from provocative.cli.profiles import Profile, ProfileError, locate, read_profiles, write_profiles
from tests.unit.provocative.terminal import URL


def login(terminal, role="renter", *more, **expected):
    return terminal("login", "--url", URL, *more, stdin=terminal.keys[role] + "\n", role=None, **expected)


def test_a_login_keeps_the_key_for_its_owner_alone(terminal, tmp_path):
    assert "Logged in as renter of acc_" in login(terminal).out
    path = tmp_path / ".config" / "provocative" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert terminal("whoami", role=None).out.startswith("profile")
    path.chmod(0o644)
    assert "chmod 600" in terminal("ps", role=None, code=2).err


def test_profiles_stand_beside_one_another(terminal):
    login(terminal)
    login(terminal, "operator", "--profile", "ops")
    assert terminal.read("whoami", role=None)["role"] == "renter"
    assert terminal("hosts", "--profile", "ops", role=None).out
    terminal.environ = {"PROVOCATIVE_PROFILE": "ops"}
    assert terminal.read("whoami", role=None)["role"] == "operator"
    terminal.environ = {}
    assert terminal("logout", role=None).out == "Forgot the key of 'default'.\n"
    assert "provocative login" in terminal("ps", role=None, code=4).err
    assert terminal("logout", role=None).out == "There is no profile 'default'.\n"


def test_a_key_that_is_not_known_is_not_kept(terminal, tmp_path):
    refused = terminal("login", "--url", URL, stdin="pc_live_x_y\n", role=None, code=4)
    assert "error:" in refused.err
    assert not (tmp_path / ".config").exists()
    assert "one word" in terminal("login", "--url", URL, stdin="two words\n", role=None, code=2).err
    assert "Add --url" in terminal("login", stdin="pc_live_x_y\n", role=None, code=2).err


def test_a_key_goes_over_nothing_that_others_read(terminal):
    refused = terminal("login", "--url", "http://api.example", stdin="pc_live_x_y\n", role=None, code=2)
    assert "https://" in refused.err
    assert not terminal.gateway.requests


def test_the_key_of_a_profile_is_not_sent_to_another_url(terminal):
    login(terminal)
    terminal.gateway.requests.clear()
    terminal.environ = {"PROVOCATIVE_API_URL": "https://elsewhere.example"}
    assert "not sent there" in terminal("ps", role=None, code=4).err
    assert not terminal.gateway.requests


def test_a_damaged_file_says_what_to_do_and_a_read_only_place_too(tmp_path, monkeypatch):
    path = locate({"HOME": str(tmp_path)})
    write_profiles(path, {"default": Profile(URL, "k")})
    assert read_profiles(path) == {"default": Profile(URL, "k")}
    path.write_text("{")
    with pytest.raises(ProfileError, match="log in again"):
        read_profiles(path)
    with pytest.raises(ProfileError, match="cannot be written"):
        write_profiles(tmp_path / ".config" / "provocative" / "credentials.json" / "x", {})
    assert list(path.parent.iterdir()) == [path]
