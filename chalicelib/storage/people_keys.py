"""Keys of the table of people."""

PERSON = "PERSON"
FACTORS = "FACTORS"
EMAIL = "EMAIL"
SESSION = "SESSION"
TOKEN = "TOKEN"  # noqa: S105  # a sort key
TRIES = "TRIES"
LINK = "LINK"
PASSKEY_PREFIX = "PASSKEY#"
LINK_PREFIX = "LINK#"


def person(user_id: str) -> str:
    """The person's record, second factors, passkeys and links."""
    return f"PERSON#{user_id}"


def email(email_key: str) -> str:
    return f"EMAIL#{email_key}"


def session(session_id: str) -> str:
    return f"SESSION#{session_id}"


def token(digest: str) -> str:
    return f"TOKEN#{digest}"


def tries(name: str) -> str:
    return f"TRIES#{name}"


def passkey(credential_id: str) -> str:
    return f"{PASSKEY_PREFIX}{credential_id}"


def link(digest: str) -> str:
    """``digest`` is of issuer and subject."""
    return f"{LINK_PREFIX}{digest}"
