"""What the commands print, and their exit codes (sysexits.h where it has one)."""

import sys

import msgspec

EX_NOT_WELL = 1
EX_NOINPUT, EX_UNAVAILABLE, EX_SOFTWARE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 66, 69, 70, 75, 77, 78


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def say_json(value: object) -> None:
    say(msgspec.json.encode(value).decode())


def hint(text: str) -> None:
    """Print what people want to see and programs do not."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def fail(code: int, message: str) -> int:
    hint(f"provocative-agent: {message}")
    return code
