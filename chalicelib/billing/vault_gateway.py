"""Seals and anchors in S3, in a bucket whose versions are locked.

A lock keeps a version, and no new one away from over it: what stands is the first version of a name, and
whatever lies over it is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.billing.sealing import Kept
from chalicelib.core.errors import Unavailable

#: Somebody was first, or is writing at the same time.
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@dataclass(frozen=True, slots=True)
class S3Vault:
    """``connect`` makes the client at the first use: its description of S3 is large."""

    connect: Callable[[], Any]
    bucket: str

    def read(self, name: str) -> Kept | None:
        try:
            first, covered = self._find_first(name)
            if first is None:
                return None
            found = self.connect().get_object(Bucket=self.bucket, Key=name, VersionId=first)
            body: bytes = found["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("The seals could not be read; try again.") from error
        return Kept(body, covered)

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
        except BotoCoreError as error:
            raise Unavailable("The seal could not be kept; try again.") from error
        # Also after a put that succeeded: to S3 a name that is marked as deleted is free.
        standing = self.read(name)
        if standing is None:
            raise Unavailable("The seal could not be kept; try again.")
        return standing.body

    def _find_first(self, name: str) -> tuple[str | None, bool]:
        """Return the first version of the name, and whether another, or a mark of deletion, came after."""
        versions: list[str] = []
        marks = 0
        pages = self.connect().get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=name)
        for page in pages:
            versions += [each["VersionId"] for each in page.get("Versions", ()) if each["Key"] == name]
            marks += sum(each["Key"] == name for each in page.get("DeleteMarkers", ()))
        # S3 lists the versions of a name from the newest to the oldest.
        return versions[-1] if versions else None, len(versions) > 1 or marks > 0
