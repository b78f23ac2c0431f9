"""Where keys and tokens are kept: one JSON file that nobody else can read, a URL per profile.

$XDG_CONFIG_HOME/provocative/credentials.json   0600, in a directory 0700
"""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_PROFILE = "default"


class ProfileError(Exception):
    """The file cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """``api_key`` is an access token where there is a refresh token; ``expires_at``: epoch seconds."""

    api_url: str
    api_key: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: float = 0.0


def locate(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '~')}/.config"
    return Path(base).expanduser() / "provocative" / "credentials.json"


def read_profiles(path: Path) -> dict[str, Profile]:
    """Return the profiles by name; none where there is no file.

    Raises:
        ProfileError: others may read the file, or it is not what `write_profiles` wrote.
    """
    try:
        with path.open(encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            text = opened.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}.") from None
    if mode & 0o077:
        raise ProfileError(f"Others may read {path}, which holds keys. Run: chmod 600 {path}")
    try:
        stored = json.loads(text)["profiles"]
        return {name: _read_profile(each) for name, each in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProfileError(f"{path} is damaged. Remove it and log in again.") from None


def _read_profile(each: Mapping[str, Any]) -> Profile:
    refresh_token, expires_at = str(each.get("refresh_token", "")), float(each.get("expires_at", 0.0))
    return Profile(each["api_url"], each["api_key"], refresh_token, expires_at)


def _build_entry(profile: Profile) -> dict[str, object]:
    entry: dict[str, object] = {"api_url": profile.api_url, "api_key": profile.api_key}
    if profile.refresh_token:
        entry |= {"refresh_token": profile.refresh_token, "expires_at": profile.expires_at}
    return entry


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Replace the file as a whole, never readable by others, not even for a moment.

    Raises:
        ProfileError: it cannot be written.
    """
    stored = {name: _build_entry(profile) for name, profile in profiles.items()}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made with 0600.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".credentials")
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump({"profiles": stored}, opened, indent=2)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise ProfileError(f"{path} cannot be written: {error.strerror}.") from None
