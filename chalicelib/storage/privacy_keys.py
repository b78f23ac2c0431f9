"""Keys of persons' data keys and of what people ask of their data (see `chalicelib.storage.keys`)."""

PERSON_KEY = "KEY"


def person(user_id: str) -> str:
    return f"USER#{user_id}"


OPEN = "OPEN"
REQUEST_PREFIX = "REQUEST#"
CONSENT_PREFIX = "CONSENT#"


def subject(subject_id: str) -> str:
    """Whose data it is about: an account or a person."""
    return f"SUBJECT#{subject_id}"


def request(request_id: str) -> str:
    """Sorts by time, as ids of requests do."""
    return f"{REQUEST_PREFIX}{request_id}"


def consents(purpose: str) -> str:
    return f"{CONSENT_PREFIX}{purpose}#"


def consent(purpose: str, at_ms: int, consent_id: str) -> str:
    """Sorts by purpose, then instant."""
    return f"{consents(purpose)}{at_ms:013d}#{consent_id}"
