"""Keys of persons' data keys and of what people ask of their data (see `chalicelib.storage.keys`)."""

PERSON_KEY = "KEY"


def person(user_id: str) -> str:
    return f"USER#{user_id}"
