"""Seals in S3, in a bucket whose objects are locked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.errors import Unavailable

#: Somebody was first, or is writing at the same time.
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@dataclass(frozen=True, slots=True)
class S3Vault:
    """``connect`` makes the client at the first use: its description of S3 is large."""

    connect: Callable[[], Any]
    bucket: str

    def read(self, name: str) -> bytes | None:
        try:
            body: bytes = self.connect().get_object(Bucket=self.bucket, Key=name)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise Unavailable("The seals could not be read; try again.") from error
        except BotoCoreError as error:
            raise Unavailable("The seals could not be read; try again.") from error
        return body

    def keep(self, name: str, body: bytes) -> bytes:
        try:
            self.connect().put_object(
                Bucket=self.bucket,
                Key=name,
                Body=body,
                ContentType="application/json",
                IfNoneMatch="*",
                # A locked bucket asks for a checksum.
                ChecksumAlgorithm="SHA256",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _TAKEN:
                raise Unavailable("The seal could not be kept; try again.") from error
            standing = self.read(name)
            if standing is None:
                raise Unavailable("The seal could not be kept; try again.") from error
            return standing
        except BotoCoreError as error:
            raise Unavailable("The seal could not be kept; try again.") from error
        return body
