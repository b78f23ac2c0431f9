"""What people write into what the API takes: durations, sizes, prices, shares, instants. Exact, no floats.

Every function raises `typer.BadParameter` with a sentence that shows how to write it.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import typer

MICROS_PER_UNIT = 1_000_000
_PPM_PER_PERCENT = 10_000
_MIB = 1024**2
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (7 * 86_400, 86_400, 3600, 60, 1)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B?)", re.IGNORECASE)
_SIZE_UNITS = {
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
    "ti": 1024**4,
}
_MAX_DIGITS = 15


def parse_duration(text: str) -> int:
    """Return seconds: ``90s``, ``15m``, ``2h30m``, ``7d``."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()) or len(text) > _MAX_DIGITS:
        raise typer.BadParameter(f"'{text}' is no duration; write 90s, 15m, 2h30m or 7d.")
    return sum(int(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)


def parse_bytes(text: str) -> int:
    """Return bytes: ``500GiB`` is 500 x 2^30, ``80GB`` is 80 x 10^9."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > _MAX_DIGITS:
        raise typer.BadParameter(f"'{text}' is no size; write 500GiB, 80GB or 1TiB.")
    return int(Decimal(match[1]) * _SIZE_UNITS[match[2].lower().removesuffix("b")])


def parse_mib(text: str) -> int:
    """Return MiB, rounded down: a card of 80 GB has 76,293."""
    return parse_bytes(text) // _MIB


def parse_gib(text: str) -> int:
    """Return GiB, which must be whole."""
    gib, rest = divmod(parse_bytes(text), 1024**3)
    if rest or not gib:
        raise typer.BadParameter(f"'{text}' is no whole number of GiB; write {gib + 1}GiB.")
    return gib


def parse_money(text: str) -> int:
    """Return micro-units: ``2.49`` is 2,490,000."""
    value = _read_decimal(text)
    micros = None if value is None else value * MICROS_PER_UNIT
    if micros is None or micros != micros.to_integral_value():
        raise typer.BadParameter(f"'{text}' is no amount; write 2.49, with at most six decimals.")
    return int(micros)


def parse_share(text: str) -> int:
    """Return millionths: ``99.5%`` is 995,000."""
    value = _read_decimal(text.strip().removesuffix("%"))
    if value is None or not text.strip().endswith("%") or value > 100:  # noqa: PLR2004
        raise typer.BadParameter(f"'{text}' is no share; write 99.5%.")
    return int(value * _PPM_PER_PERCENT)


def parse_grams(text: str) -> int:
    """Return milligrams per kWh from grams: ``45.5`` is 45,500."""
    value = _read_decimal(text)
    if value is None:
        raise typer.BadParameter(f"'{text}' is no intensity; write grams of CO2e per kWh, such as 45.")
    return int(value * 1000)


def _read_decimal(text: str) -> Decimal | None:
    """Return a number that is finite and not negative, or ``None``."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    fits = value.is_finite() and value >= 0 and len(text) <= _MAX_DIGITS and "e" not in text.lower()
    return value if fits else None


def parse_instant(text: str, now: datetime | None = None) -> str:
    """Return RFC 3339 in UTC: from the same, from ``now`` or from ``+2h30m``.

    An instant without an offset is refused: whose clock it means is not known.
    """
    if text == "now" or text.startswith("+"):
        moment = now or datetime.now(UTC)
        ahead = 0 if text == "now" else parse_duration(text[1:])
        return format_instant(moment + timedelta(seconds=ahead))
    told = typer.BadParameter(
        f"'{text}' is no instant; write 2026-11-23T09:00Z, 2026-11-23T10:00+01:00 or +2h30m."
    )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise told from None
    if moment.tzinfo is None:
        raise told
    return format_instant(moment.astimezone(UTC))


def format_instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def given(**members: Any) -> Any:
    """Return the members of a request that were given: what is left out keeps the API's own default."""
    return {name: value for name, value in members.items() if value is not None}
