"""The production template: who may use the keys of persons, and what an erasure can and cannot take away."""

import json

from tests.unit.infra.test_template import as_list, list_statements, select


def test_only_who_seals_may_use_the_key_that_wraps_the_keys_of_persons(template):
    ((name, key),) = select(template, "AWS::KMS::Key").items()
    assert key["Properties"]["EnableKeyRotation"] is True
    assert key["DeletionPolicy"] == "Retain"
    ((_, alias),) = select(template, "AWS::KMS::Alias").items()
    assert alias["Properties"]["AliasName"] == "alias/provocative-prod-persons"
    users = set()
    for role, statement in list_statements(template):
        actions = {each for each in as_list(statement["Action"]) if each.startswith("kms:")}
        if actions and name in json.dumps(statement["Resource"]):
            assert actions == {"kms:GenerateDataKey", "kms:Decrypt"}
            users.add(role)
        assert not (actions & {"kms:GenerateDataKey", "kms:Decrypt"}) or name in json.dumps(
            statement["Resource"]
        )
    assert users == {"ApiHandlerRole", "RunPrivacyRequestsRole"}


def test_erasing_cannot_take_away_what_the_law_keeps(template):
    tables = {
        name: each["Properties"]["TableName"].removeprefix("provocative-prod-")
        for name, each in select(template, "AWS::DynamoDB::Table").items()
    }
    removed = set()
    for role, statement in list_statements(template):
        if "Condition" in statement:
            # Notes of who issued a key alone: see `test_template.py`.
            continue
        if role == "RunPrivacyRequestsRole" and "dynamodb:DeleteItem" in as_list(statement["Action"]):
            removed |= {table for name, table in tables.items() if name in json.dumps(statement["Resource"])}
    assert removed == {
        *("budgets", "commands", "idempotency", "payments", "rentals", "reports", "statements"),
        *("oauth", "organisations", "people", "templates", "webhooks"),
    }


def test_exports_and_drafts_are_gone_after_a_day_in_every_version(template):
    bucket = next(
        each["Properties"]
        for each in select(template, "AWS::S3::Bucket").values()
        if "-documents-" in json.dumps(each["Properties"]["BucketName"])
    )
    rules = {each["Prefix"]: each for each in bucket["LifecycleConfiguration"]["Rules"]}
    assert set(rules) == {"drafts/", "exports/", "statements/"}
    days = {prefix: rule["ExpirationInDays"] for prefix, rule in rules.items()}
    assert days == {"drafts/": 1, "exports/": 1, "statements/": 3653 + 366}
    for rule in rules.values():
        assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 1
