"""Exports in S3, and the end of all that is kept there of a subject."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Clock
from chalicelib.privacy.service import Link

#: A link is asked for again as often as it is needed, for as long as the document is there.
LINK_SECONDS = 300


@dataclass(frozen=True, slots=True)
class S3Archive:
    """``connect`` makes the client at the first use: its description of S3 is large."""

    connect: Callable[[], Any]
    bucket: str
    clock: Clock

    def keep(self, key: str, file: BinaryIO) -> None:
        try:
            self.connect().put_object(Bucket=self.bucket, Key=key, Body=file, ContentType="application/zip")
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("The export could not be kept; try again.") from error

    def fetch(self, key: str, file: BinaryIO) -> None:
        """Without the right to list the bucket, what has expired would look like what may not be read."""
        try:
            body = self.connect().get_object(Bucket=self.bucket, Key=key)["Body"]
            shutil.copyfileobj(body, file)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise Unavailable("The export could not be gone on with; try again.") from error
        except (BotoCoreError, OSError) as error:
            raise Unavailable("The export could not be gone on with; try again.") from error

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

    def remove_all(self, prefix: str) -> int:
        """The bucket keeps versions: each is removed, and each mark of a removal."""
        removed = 0
        try:
            client = self.connect()
            pages = client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                named = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                if named:
                    answer = client.delete_objects(
                        Bucket=self.bucket, Delete={"Objects": named, "Quiet": True}
                    )
                    if answer.get("Errors"):
                        raise Unavailable("Documents could not be removed; try again.")
                removed += len(named)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("Documents could not be removed; try again.") from error
        return removed
