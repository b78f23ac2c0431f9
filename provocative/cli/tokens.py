"""Tokens of a profile that a browser signed in: refreshed before they expire, one process at a time."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from provocative.authorisation import Authorisation
from provocative.cli import profiles

#: So long before its end a token is changed: a request is on its way for a while.
EARLY_SECONDS = 60.0


class TokenSource:
    """Returns an access token that is good for a minute at least."""

    def __init__(
        self,
        path: Path,
        name: str,
        profile: profiles.Profile,
        *,
        read_now: Callable[[], float],
        open_authorisation: Callable[[str], Authorisation],
    ) -> None:
        self._path, self._name, self._profile = path, name, profile
        self._read_now, self._open = read_now, open_authorisation

    def __call__(self) -> str:
        """Raises ApiError: it could not be refreshed. Raises ProfileError: nor written."""
        if not self._is_good():
            with _lock(self._path):
                # Another process may have done it meanwhile.
                self._profile = profiles.read_profiles(self._path).get(self._name, self._profile)
                if not self._is_good():
                    self._refresh()
        return self._profile.api_key

    def _is_good(self) -> bool:
        return self._read_now() < self._profile.expires_at - EARLY_SECONDS

    def _refresh(self) -> None:
        authorisation = self._open(self._profile.api_url)
        try:
            tokens = authorisation.refresh(self._profile.refresh_token)
        finally:
            authorisation.close()
        self._profile = replace(
            self._profile,
            api_key=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=tokens.expires_at,
        )
        stored = profiles.read_profiles(self._path)
        profiles.write_profiles(self._path, {**stored, self._name: self._profile})


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as held:
        path.with_suffix(".lock").chmod(0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
