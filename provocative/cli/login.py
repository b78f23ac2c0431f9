"""Verbs of keys on this machine: login, logout, whoami."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from provocative.cli import profiles
from provocative.cli.output import print_facts, print_line
from provocative.cli.session import KEY_VARIABLE, URL_VARIABLE, Refused, Session
from provocative.cli.verbs import verb

_KEY = re.compile(r"pc_live_([0-9a-z]+)_[0-9A-Za-z]+")
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The API; asked for if it is not known.")
]

Device = Annotated[
    bool, typer.Option("--device", help="Sign in by a browser, here or elsewhere, without a key.")
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Sign in anew by a browser: for keys, ownership, closing, which ask for it within 5 min.",
    ),
]
#: The page asks whoever signed in longer ago to sign in again. Source: OpenID Connect Core 1.0, 3.1.2.1.
_FRESH_SECONDS = 60


def register(app: typer.Typer) -> None:
    verb(app)(login)
    verb(app)(logout)
    verb(app)(whoami)


def login(session: Session, *, url: Url = None, device: Device = False, fresh: Fresh = False) -> None:
    """Keep a key on this machine, after asking the API whose it is; with --device sign in by a browser.

    The key is asked for, or read from standard input; it is never an argument, where others could read it.
    """
    environ = session.surroundings.environ
    path = profiles.locate(environ)
    stored, name = profiles.read_profiles(path), session.chosen_profile
    known = stored.get(name)
    api_url = url or environ.get(URL_VARIABLE) or (known.api_url if known else None)
    if api_url is None:
        if not sys.stdin.isatty():
            raise Refused("It is not known where to log in.", code="usage", hint="Add --url.", exit_code=2)
        api_url = typer.prompt("URL of the API", err=True)
    if device or fresh:
        _sign_in(session, path, str(api_url).rstrip("/"), f"?max_age={_FRESH_SECONDS}" if fresh else "")
        return
    if sys.stdin.isatty():
        api_key = typer.prompt("Key (not shown)", hide_input=True, err=True)
    else:
        api_key = sys.stdin.readline()
    assert api_url is not None
    profile = profiles.Profile(api_url.rstrip("/"), api_key.strip())
    identity = identify(session, name, profile)
    stored[name] = profile
    profiles.write_profiles(path, stored)
    session.show(identity, lambda found: _show_login(found, environ.get(KEY_VARIABLE) is not None))


def _sign_in(session: Session, path: Path, api_url: str, query: str) -> None:
    """The device flow: a code here, a decision in a browser anywhere."""
    authorisation = session.open_authorisation(api_url)
    try:
        begun = authorisation.begin()
        session.say(f"Open {begun.verification_uri}{query}")
        session.say(f"and type {begun.user_code}")
        tokens = authorisation.wait(begun)
    finally:
        authorisation.close()
    profile = profiles.Profile(api_url, tokens.access_token, tokens.refresh_token, tokens.expires_at)
    name = session.chosen_profile
    profiles.write_profiles(path, {**profiles.read_profiles(path), name: profile})
    told = {"profile": name, "api_url": api_url, "signed_in": True}
    session.show(told, lambda _: print_line(f"Signed in; profile '{name}'."))


def _show_login(identity: dict[str, Any], overruled: bool) -> None:  # noqa: FBT001
    print_line(f"Logged in as {identity['role']} of {identity['account_id']}, key '{identity['label']}'.")
    if overruled:
        print_line(f"{KEY_VARIABLE} is set and wins over this profile.")


def logout(session: Session) -> None:
    """Forget the key of a profile. The key itself stays valid; 'keys revoke' ends it. A sign-in ends."""
    path = profiles.locate(session.surroundings.environ)
    stored, name = profiles.read_profiles(path), session.chosen_profile
    known = stored.get(name)
    if known is not None and known.refresh_token:
        authorisation = session.open_authorisation(known.api_url)
        try:
            authorisation.revoke(known.refresh_token)
        finally:
            authorisation.close()
    forgotten = stored.pop(name, None) is not None
    if forgotten:
        profiles.write_profiles(path, stored)
    text = f"Forgot the key of '{name}'." if forgotten else f"There is no profile '{name}'."
    session.show({"profile": name, "forgotten": forgotten}, lambda _: print_line(text))


def whoami(session: Session) -> None:
    """Show which API, account and role the key in use belongs to."""
    identity = identify(session, session.chosen_profile, session.find_profile())

    def render(found: dict[str, Any]) -> None:
        print_facts((name.replace("_", " "), value) for name, value in found.items() if value)

    session.show(identity, render)


def identify(session: Session, name: str, profile: profiles.Profile) -> dict[str, Any]:
    """Return whose key it is; the API tells it in the list of the account's keys.

    Raises:
        ApiError: the key is not known, or the API did not answer.
    """
    from provocative.client import list_all

    match = _KEY.fullmatch(profile.api_key)
    client = session.open_client(profile.api_url, session.choose_credential(profile))
    try:
        wanted = None if match is None else f"key_{match[1]}"
        own = next(
            (key for key in list_all(client.accounts.list_keys, limit=100) if key["key_id"] == wanted), None
        )
    finally:
        client.close()
    about: dict[str, Any] = {"profile": name, "api_url": profile.api_url, "key_id": wanted}
    if own is None:
        # The key works, else the list would have been refused.
        return {**about, "account_id": None, "role": None, "label": None}
    return {**about, "account_id": own["account_id"], "role": own["role"], "label": own["label"]}
