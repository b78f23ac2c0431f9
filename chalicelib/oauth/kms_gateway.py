"""Signing keys in KMS: they are made there, sign there, and are never seen."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.oauth.keyring import P256_ORDER

STAGE_TAG, PURPOSE_TAG, PURPOSE = "provocative:stage", "provocative:purpose", "token-signing"
#: The least that KMS offers: until then a mistake can be taken back.
PENDING_DAYS = 7
_GONE = frozenset({"KMSInvalidStateException", "NotFoundException"})


class KmsSigner:
    """`chalicelib.oauth.ports.TokenSigner`. ``connect``: to a botocore ``kms`` client, once used."""

    def __init__(self, connect: Callable[[], Any], stage: str) -> None:
        self._connect, self._stage = connect, stage

    def make_key(self) -> str:
        """Raises Unavailable."""
        made = self._call(
            "create_key",
            KeySpec="ECC_NIST_P256",
            KeyUsage="SIGN_VERIFY",
            Description="Signs access tokens",
            Tags=[
                {"TagKey": STAGE_TAG, "TagValue": self._stage},
                {"TagKey": PURPOSE_TAG, "TagValue": PURPOSE},
            ],
        )
        return str(made["KeyMetadata"]["Arn"])

    def read_key(self, key_ref: str) -> tuple[str, str]:
        """Raises Unavailable: also while a new key's tags are not known everywhere, which takes minutes."""
        return read_point(bytes(self._call("get_public_key", KeyId=key_ref)["PublicKey"]))

    def sign(self, key_ref: str, message: bytes) -> bytes:
        """Raises Unavailable."""
        # The digest, not the message: KMS takes 4,096 bytes of a message.
        answer = self._call(
            "sign",
            KeyId=key_ref,
            Message=hashlib.sha256(message).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
        return raw_signature(bytes(answer["Signature"]))

    def drop_key(self, key_ref: str) -> None:
        """Raises Unavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._connect().schedule_key_deletion(KeyId=key_ref, PendingWindowInDays=PENDING_DAYS)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _GONE:
                raise Unavailable("The keeper of the signing keys did not answer; try again.") from error
        except BotoCoreError as error:
            raise Unavailable("The keeper of the signing keys did not answer; try again.") from error

    def _call(self, name: str, **parameters: object) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: Mapping[str, Any] = getattr(self._connect(), name)(**parameters)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("The keeper of the signing keys did not answer; try again.") from error
        return answer


def raw_signature(der: bytes) -> bytes:
    """Return r and s of 32 bytes each, s of its two values the lower: a signature has one text.

    RFC 7518, section 3.4, asks for the two numbers; whoever knows one signature knows the one with the other
    s, so that we sign with one of them and take no other.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    return r.to_bytes(32) + min(s, P256_ORDER - s).to_bytes(32)


def read_point(der: bytes) -> tuple[str, str]:
    """Return x and y of a public key in SubjectPublicKeyInfo (RFC 5280), as a JWK has them.

    Raises:
        TypeError: it is no key of P-256.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(der)
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise TypeError("not a public key of P-256")
    numbers = key.public_numbers()
    x, y = (
        base64.urlsafe_b64encode(each.to_bytes(32)).rstrip(b"=").decode() for each in (numbers.x, numbers.y)
    )
    return x, y
