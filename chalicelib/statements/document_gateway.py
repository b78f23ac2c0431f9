"""Documents in S3."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Clock
from chalicelib.statements.ports import Link

LINK_SECONDS = 300
#: Up to this a document is held in memory.
SPOOL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class S3Documents:
    """``connect`` makes the client at the first use: its description of S3 is large."""

    connect: Callable[[], Any]
    bucket: str
    clock: Clock

    def keep(self, key: str, chunks: Iterable[bytes], content_type: str) -> str:
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.seek(0)
            try:
                self.connect().put_object(Bucket=self.bucket, Key=key, Body=file, ContentType=content_type)
            except (BotoCoreError, ClientError) as error:
                raise Unavailable("The document could not be kept; try again.") from error
        return digest.hexdigest()

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
