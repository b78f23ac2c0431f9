"""AES-256-GCM (NIST SP 800-38D), written as text.

``v1.`` and, in base64url without padding: nonce (12 bytes), ciphertext, tag (16 bytes). Nonces are random: a
key is good for 2^32 seals (section 8.3), and a person has a handful.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from chalicelib.privacy.model import BrokenSeal

VERSION = "v1."
NONCE_BYTES = 12
KEY_BYTES = 32


class AesGcm:
    """`cryptography` is loaded with the first seal that is made or opened."""

    def encrypt(self, key: bytes, plain: bytes, bound_to: bytes) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, plain, bound_to)
        return VERSION + urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def decrypt(self, key: bytes, sealed: str, bound_to: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not sealed.startswith(VERSION):
            raise BrokenSeal("The text is not sealed as this version writes it.")
        text = sealed.removeprefix(VERSION)
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain: bytes = AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], bound_to)
        except (ValueError, InvalidTag) as error:
            raise BrokenSeal("The sealed text does not open for this person and field.") from error
        return plain
