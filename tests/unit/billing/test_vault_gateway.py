"""What stands in the vault is the first version of a name, and what lies over it is told."""

import io
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.billing.sealing import Kept
from chalicelib.billing.vault_gateway import S3Vault
from chalicelib.core.errors import Unavailable

NAME = "audit/000000000001.json"


class Bucket:
    """A bucket with versions, listed as S3 does: by name, the newest first, two to a page."""

    def __init__(self):
        self.versions, self.error = [], None

    def put(self, name, body):
        self.versions.append({"Key": name, "VersionId": f"v{len(self.versions)}", "Body": body})

    def mark_deleted(self, name):
        self.put(name, None)

    def put_object(self, *, Bucket, Key, Body, ContentType, IfNoneMatch, ChecksumAlgorithm):  # noqa: N803
        assert (IfNoneMatch, ChecksumAlgorithm) == ("*", "SHA256")
        if self.error is not None:
            raise self.error
        newest = next((each for each in reversed(self.versions) if each["Key"] == Key), None)
        # A mark of deletion is nothing to S3: the name is free.
        if newest is not None and newest["Body"] is not None:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.put(Key, Body)

    def get_object(self, *, Bucket, Key, VersionId):  # noqa: N803  # botocore's names
        (found,) = (each for each in self.versions if (each["Key"], each["VersionId"]) == (Key, VersionId))
        return {"Body": io.BytesIO(found["Body"])}

    def get_paginator(self, name):
        assert name == "list_object_versions"
        return SimpleNamespace(paginate=self.paginate)

    def paginate(self, *, Bucket, Prefix):  # noqa: N803
        if self.error is not None and self.error.response["Error"]["Code"] == "AccessDenied":
            raise self.error
        found = [each for each in reversed(self.versions) if each["Key"].startswith(Prefix)]
        found.sort(key=lambda each: each["Key"])
        for at in range(0, len(found), 2):
            part = found[at : at + 2]
            page = {
                "Versions": [each for each in part if each["Body"] is not None],
                "DeleteMarkers": [each for each in part if each["Body"] is None],
            }
            yield {kind: rows for kind, rows in page.items() if rows}


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def vault(bucket):
    return S3Vault(lambda: bucket, "seals")


def test_what_is_kept_is_read_and_what_is_not_is_missing(bucket, vault):
    bucket.put(f"{NAME}.later", b"another name")
    assert vault.read(NAME) is None
    assert vault.keep(NAME, b"first") == b"first"
    assert vault.read(NAME) == Kept(b"first")
    assert vault.keep(NAME, b"second") == b"first"
    assert vault.read(NAME) == Kept(b"first")


@pytest.mark.parametrize("later", [1, 2, 5])
def test_a_version_that_was_put_over_it_is_told_and_not_read(bucket, vault, later):
    vault.keep(NAME, b"first")
    for number in range(later):
        bucket.put(NAME, b"forged %d" % number)
    assert vault.read(NAME) == Kept(b"first", covered=True)
    assert vault.keep(NAME, b"again") == b"first"


def test_a_mark_of_deletion_hides_nothing_and_frees_no_name(bucket, vault):
    vault.keep(NAME, b"first")
    bucket.mark_deleted(NAME)
    assert vault.read(NAME) == Kept(b"first", covered=True)
    assert vault.keep(NAME, b"second") == b"first"
    assert vault.read(NAME) == Kept(b"first", covered=True)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "any"),
        ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject"),
    ],
)
def test_what_cannot_be_kept_now_is_tried_again(bucket, vault, error):
    bucket.error = error
    with pytest.raises(Unavailable):
        vault.keep(NAME, b"first")


def test_what_cannot_be_reached_is_not_taken_for_missing():
    def connect():
        raise EndpointConnectionError(endpoint_url="https://s3")

    with pytest.raises(Unavailable):
        S3Vault(connect, "seals").read(NAME)
    with pytest.raises(Unavailable):
        S3Vault(connect, "seals").keep(NAME, b"first")
