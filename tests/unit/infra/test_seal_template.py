"""The production template: who reads and writes seals and anchors, and what nobody may do to them."""

import json

from tests.unit.infra.test_template import as_list, list_statements, select


def find_bucket(template, kind):
    return next(
        name
        for name, each in select(template, "AWS::S3::Bucket").items()
        if f"-{kind}-" in json.dumps(each["Properties"]["BucketName"])
    )


def list_folders(template, action):
    """Return the folders of the bucket of seals in which each role may do this."""
    bucket = find_bucket(template, "seals")
    folders = {}
    for role, statement in list_statements(template):
        if action in as_list(statement["Action"]):
            for each in as_list(statement["Resource"]):
                if bucket in json.dumps(each):
                    folders.setdefault(role, set()).add(each["Fn::Join"][1][-1])
    return folders


def test_seals_and_anchors_are_written_by_one_function_each_in_folders_of_its_own(template):
    assert list_folders(template, "s3:PutObject") == {
        "SealLedgerRole": {"/seals/*", "/heads/*"},
        "AnchorAuditRole": {"/audit/*"},
    }
    assert list_folders(template, "s3:GetObjectVersion") == {
        "ApiHandlerRole": {"/heads/*", "/audit/*"},
        "SealLedgerRole": {"/seals/*", "/heads/*"},
        "VerifySealsRole": {"/seals/*", "/heads/*"},
        "AnchorAuditRole": {"/audit/*"},
        "VerifyAuditRole": {"/audit/*"},
    }
    # What is read is a version: the newest one is whatever somebody has put over it.
    assert not list_folders(template, "s3:GetObject")


def test_nobody_puts_anything_over_a_seal_or_marks_it_as_deleted(template):
    bucket = find_bucket(template, "seals")
    (policy,) = [
        each["Properties"]["PolicyDocument"]["Statement"]
        for each in select(template, "AWS::S3::BucketPolicy").values()
        if each["Properties"]["Bucket"] == {"Ref": bucket}
    ]
    everything = {"Fn::Join": ["", [{"Fn::GetAtt": [bucket, "Arn"]}, "/*"]]}
    refused = {}
    for statement in policy:
        if statement["Resource"] == everything:
            assert statement["Effect"] == "Deny"
            assert statement["Principal"] == {"AWS": "*"}
            for action in as_list(statement["Action"]):
                refused[action] = statement.get("Condition")
    assert refused == {
        "s3:PutObject": {"Null": {"s3:if-none-match": "true"}},
        "s3:DeleteObject": None,
        "s3:DeleteObjectVersion": None,
    }


def test_who_reads_documents_can_tell_one_that_is_gone_from_one_that_may_not_be_read(template):
    bucket = find_bucket(template, "documents")
    may = {}
    for role, statement in list_statements(template):
        if bucket in json.dumps(statement["Resource"]):
            may.setdefault(role, set()).update(as_list(statement["Action"]))
    for role in ("MakeCarbonReportsRole", "BuyRemovalsRole"):
        assert {"s3:GetObject", "s3:ListBucket"} <= may[role]


def test_who_reads_a_stream_may_list_streams(template):
    asked = {"dynamodb:GetRecords": set(), "dynamodb:ListStreams": set()}
    for role, statement in list_statements(template):
        for action in as_list(statement["Action"]):
            if action in asked:
                asked[action].add(role)
    assert asked["dynamodb:GetRecords"] == asked["dynamodb:ListStreams"]
    assert len(asked["dynamodb:GetRecords"]) == 5
