"""Documents in S3."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.core.ports import Clock
from chalicelib.statements.ports import Link

LINK_SECONDS = 300
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class S3Documents:
    """``connect`` makes the client at the first use: its description of S3 is large."""

    connect: Callable[[], Any]
    bucket: str
    clock: Clock

    def keep(self, key: str, file: BinaryIO, content_type: str) -> str:
        digest, start = hashlib.sha256(), file.tell()
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        file.seek(start)
        try:
            self.connect().put_object(Bucket=self.bucket, Key=key, Body=file, ContentType=content_type)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("The document could not be kept; try again.") from error
        return digest.hexdigest()

    def read(self, key: str) -> BinaryIO:
        """Return what is kept, to be closed by whoever asks.

        Raises:
            NotFound: nothing is.
            Unavailable: try again.
        """
        try:
            found: BinaryIO = self.connect().get_object(Bucket=self.bucket, Key=key)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFound("The document is not there.") from error
            raise Unavailable("The document could not be read; try again.") from error
        except BotoCoreError as error:
            raise Unavailable("The document could not be read; try again.") from error
        return found

    def link(self, key: str, file_name: str) -> Link:
        url = self.connect().generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": key,
                "ResponseContentDisposition": f'attachment; filename="{file_name}"',
            },
            ExpiresIn=LINK_SECONDS,
        )
        return Link(url, self.clock.now_ms() + LINK_SECONDS * 1000)
