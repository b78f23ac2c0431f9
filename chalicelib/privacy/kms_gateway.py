"""Data keys of persons from AWS KMS, each bound to its person by the encryption context."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class KmsKeyService:
    """``connect`` makes the client at the first use; ``key_id`` is the key as roles name it, by ARN."""

    connect: Callable[[], Any]
    key_id: str

    def make_key(self, user_id: str) -> tuple[bytes, bytes]:
        try:
            made = self.connect().generate_data_key(
                KeyId=self.key_id, KeySpec="AES_256", EncryptionContext={"user_id": user_id}
            )
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("A person's key could not be made; try again.") from error
        return made["Plaintext"], made["CiphertextBlob"]

    def unwrap_key(self, user_id: str, wrapped: bytes) -> bytes:
        try:
            opened = self.connect().decrypt(
                KeyId=self.key_id, CiphertextBlob=wrapped, EncryptionContext={"user_id": user_id}
            )
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("A person's key could not be read; try again.") from error
        plain: bytes = opened["Plaintext"]
        return plain
