"""What is done to a case before it is sent."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from http import HTTPStatus

import schemathesis
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER

from chalicelib.runtime.http import MAX_IDEMPOTENCY_KEY
from tests.fuzz.seeding import Installation

_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")


def spare(installation: Installation, case: schemathesis.Case) -> None:
    """Nobody loses the standing that the rest of the run asks with."""
    raw = case.operation.definition.raw
    given, body = case.path_parameters or {}, case.body
    if given.get("account_id") in installation.known["account_id"]:
        if raw["operationId"] == "act_on_account":
            given["account_id"] = installation.barred_account_id
        elif installation.is_of_owners(raw):
            given["account_id"] = installation.owner_account_id
    if (
        raw["operationId"] == "act_on_organisation"
        and given.get("account_id") == installation.owner_account_id
    ):
        given["account_id"] = installation.closed_account_id
    if raw["operationId"] == "hand_over_ownership" and isinstance(body, dict) and "user_id" in body:
        body["user_id"] = installation.owner.user_id


def sign_in(installation: Installation, case: schemathesis.Case) -> None:
    """The owner asks for each of their organisations with a token of it: a token is of one."""
    account_id = (case.path_parameters or {}).get("account_id")
    token = (case.headers or {}).get("Authorization", "").removeprefix("Bearer ")
    if token in installation.owner_tokens and account_id in installation.organisations:
        case.headers["Authorization"] = f"Bearer {installation.owner.read_token(account_id)}"


@contextlib.contextmanager
def adjust(installation: Installation) -> Iterator[None]:
    """Each good Idempotency-Key is its own, the run never revokes a key that it asks with, and the owner is
    signed in to what they made.

    What is drawn repeats itself much, and a key with another body is refused before anything of it is seen.
    """
    numbers = itertools.count(1)

    def before_call(_context, case, _kwargs) -> None:
        for name, value in list((case.headers or {}).items()):
            if name.lower() == "idempotency-key" and isinstance(value, str) and _KEY.fullmatch(value):
                case.headers[name] = f"{value[: MAX_IDEMPOTENCY_KEY - 12]}-{next(numbers)}"
        given = case.path_parameters or {}
        spare(installation, case)
        sign_in(installation, case)
        if given.get("key_id") in installation.kept:
            given["key_id"] = installation.known["key_id"][0]

    def after_call(_context, case, response) -> None:
        made = case.operation.definition.raw["operationId"] == "create_organisation"
        if made and response.status_code == HTTPStatus.CREATED:
            installation.organisations.append(response.json()["account_id"])

    hooks = (before_call, after_call)
    for hook in hooks:
        schemathesis.hook(hook)
    try:
        yield
    finally:
        for hook in hooks:
            GLOBAL_HOOK_DISPATCHER.unregister(hook)
