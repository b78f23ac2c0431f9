"""One run of one verb: which API with which key, and how its result is told."""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from provocative.cli import profiles

if TYPE_CHECKING:
    import httpx

    from provocative.authorisation import Authorisation
    from provocative.client import Client

T = TypeVar("T")
#: A key, or what returns an access token that is good.
Credential = str | Callable[[], str]
KEY_VARIABLE = "PROVOCATIVE_API_KEY"
URL_VARIABLE = "PROVOCATIVE_API_URL"
PROFILE_VARIABLE = "PROVOCATIVE_PROFILE"


class NotLoggedIn(Exception):
    """There is no key to use; the text says what to do."""


class Refused(Exception):
    """What was asked for did not come about; ``problem`` is the same for machines."""

    def __init__(self, detail: str, *, code: str, hint: str | None = None, exit_code: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.hint = hint
        self.exit_code = exit_code


def _read_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run takes from its process; tests give their own."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _read_now
    execute: Callable[[str, list[str]], None] = os.execvp
    transport: "httpx.BaseTransport | None" = None


@dataclass(slots=True)
class Session:
    """``as_json``: standard output is exactly one JSON document."""

    surroundings: Surroundings = field(default_factory=Surroundings)
    as_json: bool = False
    profile_name: str | None = None
    _client: "Client | None" = None

    @property
    def client(self) -> "Client":
        """The client, opened when it is first needed. Raises NotLoggedIn."""
        if self._client is None:
            profile = self.find_profile()
            self._client = self.open_client(profile.api_url, self.choose_credential(profile))
        return self._client

    def choose_credential(self, profile: profiles.Profile) -> Credential:
        """Return the key of a profile, or what returns an access token that is good."""
        if not profile.refresh_token:
            return profile.api_key
        from provocative.cli.tokens import TokenSource

        return TokenSource(
            profiles.locate(self.surroundings.environ),
            self.chosen_profile,
            profile,
            read_now=lambda: self.surroundings.now().timestamp(),
            open_authorisation=self.open_authorisation,
        )

    def open_authorisation(self, api_url: str) -> "Authorisation":
        from provocative.authorisation import Authorisation

        around = self.surroundings
        try:
            return Authorisation(
                api_url,
                read_now=lambda: around.now().timestamp(),
                sleep=around.sleep,
                transport=around.transport,
            )
        except ValueError as error:
            raise Refused(str(error), code="unusable_profile", exit_code=2) from None

    def open_client(self, api_url: str, api_key: Credential) -> "Client":
        from provocative.client import Client

        try:
            around = self.surroundings
            return Client(api_url, api_key, sleep=around.sleep, draw=around.draw, transport=around.transport)
        except ValueError as error:
            raise Refused(str(error), code="unusable_profile", exit_code=2) from None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def chosen_profile(self) -> str:
        environ = self.surroundings.environ
        return self.profile_name or environ.get(PROFILE_VARIABLE) or profiles.DEFAULT_PROFILE

    def find_profile(self) -> profiles.Profile:
        """Return key and URL: from the environment, what is missing there from the profile.

        Raises:
            NotLoggedIn: either is nowhere.
            ProfileError: the file of profiles cannot be used.
        """
        environ = self.surroundings.environ
        # Whoever names a profile means it.
        given = {} if self.profile_name else environ
        api_url, api_key = given.get(URL_VARIABLE), given.get(KEY_VARIABLE)
        if not (api_url and api_key):
            stored = profiles.read_profiles(profiles.locate(environ)).get(self.chosen_profile)
            if stored is None:
                missing = URL_VARIABLE if api_key else KEY_VARIABLE
                raise NotLoggedIn(f"There is no profile '{self.chosen_profile}', and {missing} is not set.")
            if api_key and not api_url:
                api_url = stored.api_url
            elif api_url and not api_key and api_url.rstrip("/") != stored.api_url.rstrip("/"):
                raise NotLoggedIn(
                    f"{URL_VARIABLE} is not the API of the profile '{self.chosen_profile}', whose key was "
                    f"not sent there. Set {KEY_VARIABLE} too."
                )
            if not api_key:
                return stored
            api_url = api_url or stored.api_url
        return profiles.Profile(api_url, api_key)

    def show(self, body: T, render: Callable[[T], None]) -> None:
        """Print a result: the API's own body as JSON, or what ``render`` makes of it for people."""
        if self.as_json:
            self.print_json(body)
        else:
            render(body)

    def print_json(self, body: object) -> None:
        typer.echo(json.dumps(body, indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """Tell people what happens meanwhile; machines read nothing of it."""
        if not self.as_json:
            typer.echo(text, err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return if the answer is yes.

        Raises:
            Refused: there is nobody to ask.
            typer.Abort: the answer is no.
        """
        if yes:
            return
        if self.as_json or not sys.stdin.isatty():
            raise Refused(
                "Nobody is there to confirm this.", code="not_confirmed", hint="Add --yes.", exit_code=2
            )
        typer.confirm(question, abort=True, err=True)


def read_json_file(path: Any) -> dict[str, Any]:
    """Return the object in a JSON file. Raises typer.BadParameter: there is none."""
    try:
        found = json.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{path} holds no JSON object.")
    return found
