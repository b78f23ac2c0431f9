"""Makes the filter of the commonest passwords: ``python -m infra.passwords``.

The list is Django's ``common-passwords.txt.gz`` (BSD-3-Clause): 20,000 passwords by Royce Williams, from the
breaches of Have I Been Pwned and others; Django compares with it too.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

from chalicelib.identity.common_gateway import FILE, hash_common

LIST = "contrib/auth/common-passwords.txt.gz"


def read_passwords() -> list[str]:
    django = find_spec("django")
    assert django is not None, "Django is a development requirement"
    assert django.origin is not None
    with gzip.open(Path(django.origin).parent / LIST, "rt", encoding="utf-8") as file:
        return sorted({line.strip().casefold() for line in file if line.strip()})


def build_filter(passwords: list[str]) -> bytes:
    return b"".join(sorted({hash_common(password) for password in passwords}))


if __name__ == "__main__":
    FILE.write_bytes(build_filter(read_passwords()))
    print(f"{FILE}: {FILE.stat().st_size} bytes")
