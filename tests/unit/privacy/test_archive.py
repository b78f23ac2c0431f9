"""Every version of a subject's documents is removed; a failure is told, and tried again by itself."""

import io
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.privacy import functions
from chalicelib.privacy.archive_gateway import LINK_SECONDS, S3Archive
from tests.fakes.database import FakeClock
from tests.fakes.events import TICK
from tests.unit.privacy.office import Office

REFUSED = ClientError({"Error": {"Code": "AccessDenied"}}, "any")


class Bucket:
    """A bucket that keeps versions; two to a page."""

    def __init__(self):
        self.versions, self.markers, self.error, self.left = [], [], None, []

    def put_object(self, *, Bucket, Key, Body, ContentType):  # noqa: N803  # botocore's names
        if self.error is not None:
            raise self.error
        self.versions.append({"Key": Key, "VersionId": str(len(self.versions)), "Body": Body.read()})

    def get_object(self, *, Bucket, Key):  # noqa: N803
        if self.error is not None:
            raise self.error
        found = [each["Body"] for each in self.versions if each["Key"] == Key]
        if not found:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(found[-1])}

    def get_paginator(self, name):
        assert name == "list_object_versions"
        return SimpleNamespace(paginate=self.paginate)

    def paginate(self, *, Bucket, Prefix):  # noqa: N803
        if self.error is not None:
            raise self.error
        found = [each for each in self.versions if each["Key"].startswith(Prefix)]
        marks = [each for each in self.markers if each["Key"].startswith(Prefix)]
        pages = [{"Versions": found[at : at + 2]} for at in range(0, len(found), 2)]
        return [*pages, {"DeleteMarkers": marks}, {}]

    def delete_objects(self, *, Bucket, Delete):  # noqa: N803
        gone = {(each["Key"], each["VersionId"]) for each in Delete["Objects"]}
        self.versions = [each for each in self.versions if (each["Key"], each["VersionId"]) not in gone]
        self.markers = [each for each in self.markers if (each["Key"], each["VersionId"]) not in gone]
        return {"Errors": self.left}

    def generate_presigned_url(self, operation, *, Params, ExpiresIn):  # noqa: N803
        return f"https://{Params['Bucket']}/{Params['Key']}?for={ExpiresIn}"


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def archive(bucket):
    return S3Archive(lambda: bucket, "documents", FakeClock())


def test_every_version_and_every_mark_of_a_removal_goes_and_nothing_of_others(archive, bucket):
    for key in ("exports/a/1.zip", "exports/a/1.zip", "exports/a/2.zip", "exports/ab/1.zip"):
        archive.keep(key, io.BytesIO(b"x"))
    bucket.markers = [{"Key": "exports/a/1.zip", "VersionId": "mark"}]
    assert archive.remove_all("exports/a/") == 4
    assert [each["Key"] for each in bucket.versions] == ["exports/ab/1.zip"]
    assert bucket.markers == []
    assert archive.remove_all("exports/a/") == 0


def test_what_is_kept_is_fetched_to_go_on_with_and_what_has_expired_is_nothing(archive, bucket):
    file = io.BytesIO()
    archive.fetch("exports/a/1.zip", file)
    assert file.getvalue() == b""
    for body in (b"older", b"newer"):
        archive.keep("exports/a/1.zip", io.BytesIO(body))
    archive.fetch("exports/a/1.zip", file)
    assert file.getvalue() == b"newer"
    bucket.error = REFUSED
    with pytest.raises(Unavailable):
        archive.fetch("exports/a/1.zip", file)


def test_a_link_lasts_minutes(archive):
    link = archive.link("exports/a/1.zip", "export.zip")
    assert link.url.endswith(f"?for={LINK_SECONDS}")
    assert link.expires_at_ms == archive.clock.now_ms() + LINK_SECONDS * 1000


def test_what_could_not_be_kept_or_removed_is_tried_again(archive, bucket):
    archive.keep("exports/a/1.zip", io.BytesIO(b"x"))
    bucket.left = [{"Key": "exports/a/1.zip"}]
    with pytest.raises(Unavailable):
        archive.remove_all("exports/a/")
    bucket.error = REFUSED
    for call in (lambda: archive.remove_all("x"), lambda: archive.keep("x", io.BytesIO(b""))):
        with pytest.raises(Unavailable):
            call()


def test_the_schedule_does_what_was_asked_for_and_counts_what_failed(monkeypatch):
    office, counted = Office(monkeypatch), []
    monkeypatch.setattr(functions, "put_metrics", lambda stage, **metrics: counted.append(metrics))
    made = office.make("export")
    functions.run_privacy_requests(TICK, None)
    assert office.read(made).state == "completed"
    office.make()
    monkeypatch.setattr(office.archive, "remove_all", refuse)
    functions.run_privacy_requests(TICK, None)
    assert counted == [{"privacy_requests_failed": 0}, {"privacy_requests_failed": 1}]


def refuse(_prefix):
    raise Unavailable("no")
