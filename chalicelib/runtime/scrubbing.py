"""What no log line may have: credentials, in whatever field they come, and characters that end or colour it.

Each kind is known by its own form, so a line says what was there and not what it was. No pattern looks at a
character again and again: they take time in proportion to the text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

#: Longer texts are cut: a log is no archive.
MAX_CHARACTERS = 16_384
#: Both cases, and a digit or many capitals.
_MIXED = r"(?=[0-9A-Z]*+[a-z])(?=[0-9a-z]*+[A-Z])(?=[A-Za-z]*+[0-9]|(?:[a-z]*+[A-Z]){8})"
_KINDS: tuple[tuple[str, str], ...] = (
    # Ours: keys, enrolment tokens and whatever else begins as they do.
    ("key", r"pc_[a-z]{2,12}_[0-9A-Za-z_]{8,}"),
    # Ours of OAuth: refresh tokens, clients' secrets, codes.
    ("oauth", r"p(?:rt|cs|cc)_[0-9A-Za-z_]{8,}"),
    # Ours, behind the ids of what they open: sessions and invitations.
    ("secret", r"[a-z]{2,5}_[0-9a-z]{26}(?:\.[a-z]{2,5}_[0-9a-z]{26})?\.[0-9A-Za-z]{32,}"),
    # What a device shows, and what somebody wrote down for the day without an app.
    ("user_code", r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}"),
    ("recovery", r"[2-7a-z]{6}(?:-[2-7a-z]{6}){3}"),
    # Stripe's: secret, restricted and publishable keys, secrets of webhooks. Source: Stripe API, keys.
    ("stripe", r"(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{8,}"),
    ("whsec", r"whsec_[0-9A-Za-z+/=_-]{8,}"),
    # AWS: ids of keys. Source: IAM user guide, unique identifiers.
    ("aws", r"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    # Ours without a prefix: what mails link to, states, devices' codes. Digests and ids mix no cases, and the
    # long names of errors have no digits and few capitals.
    ("text", rf"(?<![0-9A-Za-z]){_MIXED}[0-9A-Za-z]{{32,}}"),
    # The secret of an app for codes.
    ("totp", r"[2-7A-Z]{32,}"),
)
_FOUND = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS))
#: Words of base64url with dots between them, from the first one on: each character is looked at once.
_WORDS = re.compile(r"(?<![0-9A-Za-z_-])[0-9A-Za-z_-]++(?:\.[0-9A-Za-z_-]*+)++")
#: How JSON that begins a token looks in base64url. Source: RFC 7519, section 3.
_JSON_BEGINS = "eyJ"
#: A header that is repeated in a text: its name stays.
_HEADER = re.compile(
    r"(?P<name>authorization|proxy-authorization|cookie|set-cookie|x-api-key|stripe-signature)"
    r"(?P<mark>[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\r\n\"']{1,4096}",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(?P<name>bearer|basic)(?P<mark> {1,4})[0-9A-Za-z._~+/=-]{4,}", re.IGNORECASE)
#: A field of a form, a query or JSON in a text, by how its name ends. ``code`` is an error's too, in JSON.
_FIELD = re.compile(
    r"(?P<name>token|secret|password|verifier|signature|(?:user|device)_code|recovery|\bcode(?==))"
    r"(?P<mark>=|[\"']\s{0,4}:\s{0,4}[\"'])[^\s&\"']{6,4096}",
    re.IGNORECASE,
)
#: Fields that hold nothing else, however they are written.
_NAMES = frozenset(
    {
        *("authorization", "cookie", "set-cookie", "api_key", "x-api-key"),
        *("token", "access_token", "refresh_token", "id_token", "form_token"),
        *("secret", "client_secret", "password", "code_verifier", "device_code", "user_code"),
    }
)


def scrub(text: str) -> str:
    """Return ``text`` with each credential replaced by its kind."""
    cut = text[:MAX_CHARACTERS]
    cut = _WORDS.sub(_cut_token, cut)
    cut = _FOUND.sub(lambda found: f"[{found.lastgroup}]", cut)
    cut = _HEADER.sub(_keep_name, cut)
    cut = _SCHEME.sub(_keep_name, cut)
    return _FIELD.sub(_keep_name, cut)


def serialize(record: Mapping[str, Any]) -> str:
    """Return a log record as one line of ASCII: line ends and escapes are written out."""
    return json.dumps(_clean(record), default=lambda value: scrub(str(value)), separators=(",", ":"))


def _cut_token(found: re.Match[str]) -> str:
    text = found[0]
    start = text.find(_JSON_BEGINS)
    return text if start < 0 or "." not in text[start:] else f"{text[:start]}[jwt]"


def _keep_name(found: re.Match[str]) -> str:
    return f"{found['name']}{found['mark']}[removed]"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {
            scrub(str(key)): "[removed]" if str(key).lower() in _NAMES else _clean(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    return value
