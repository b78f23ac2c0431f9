"""The production template: data survives, rights are least, nothing waits for ever, a person is called."""

import json
import subprocess
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from chalicelib.webhooks.delivery_gateway import LIMIT_SECONDS
from chalicelib.webhooks.model import MAX_ENDPOINTS
from chalicelib.wiring.webhooks import ATTEMPTS_AT_ONCE
from infra.cdk.queues import MAX_RECEIVES
from infra.cdk.table_access import TABLE_ACCESS
from infra.cdk.tables import TABLES
from infra.local.paths import VENV_BIN

DAY = 86_400
BATCHED = {
    *("OnHeartbeat", "OnTelemetry", "OnCharge", "OnStripeEvent", "OnWatch"),
    *("OnCommandRecorded", "OnCapacityChanged", "OnEventRecorded", "OnLedgerTampered", "OnAuditRecorded"),
}
APPEND_ONLY = {spec.name for spec in TABLES if spec.append_only}


def select(template, kind):
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def list_statements(template):
    """Yield (role, statement) of every role's policies."""
    for name, role in select(template, "AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_every_table_can_be_restored_is_encrypted_and_cannot_be_dropped_by_mistake(template):
    tables = select(template, "AWS::DynamoDB::Table")
    assert len(tables) == len(TABLES)
    for table in tables.values():
        properties = table["Properties"]
        recoverable = properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        # A destroyed key must not come back.
        assert recoverable == (not properties["TableName"].endswith("-person-keys"))
        assert recoverable or "StreamSpecification" not in properties
        assert properties["SSESpecification"]["SSEEnabled"]
        assert properties["DeletionProtectionEnabled"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"


def test_every_source_queue_has_dead_letters_that_outlive_it(template):
    queues = select(template, "AWS::SQS::Queue")
    sources = {name: each for name, each in queues.items() if "RedrivePolicy" in each["Properties"]}
    assert len(sources) == 5
    for source in sources.values():
        redrive = source["Properties"]["RedrivePolicy"]
        dead = queues[redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]]
        assert redrive["maxReceiveCount"] == MAX_RECEIVES
        assert source["Properties"]["MessageRetentionPeriod"] == 4 * DAY
        assert dead["Properties"]["MessageRetentionPeriod"] == 14 * DAY
        assert source["Properties"].get("FifoQueue") == dead["Properties"].get("FifoQueue")
    assert all(each["Properties"]["SqsManagedSseEnabled"] for each in queues.values())


def test_a_message_stays_hidden_longer_than_its_function_may_run(template):
    queues = select(template, "AWS::SQS::Queue")
    for function in select(template, "AWS::Serverless::Function").values():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "SQS":
                queue = queues[event["Properties"]["Queue"]["Fn::GetAtt"][0]]["Properties"]
                assert queue["VisibilityTimeout"] >= 6 * function["Properties"]["Timeout"]


def test_plain_http_is_refused_by_every_queue(template):
    denied = {}
    for policy in select(template, "AWS::SQS::QueuePolicy").values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny" and "aws:SecureTransport" in str(statement["Condition"]):
                for queue in policy["Properties"]["Queues"]:
                    denied[queue["Ref"]] = statement
    assert set(denied) == set(select(template, "AWS::SQS::Queue"))


def test_every_batch_reports_its_failures_one_by_one(template):
    functions = select(template, "AWS::Serverless::Function")
    batched = set()
    for name, function in functions.items():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] in {"SQS", "DynamoDB"}:
                assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
                batched.add(name)
    assert batched == BATCHED


@pytest.mark.parametrize("function", ["OnCommandRecorded", "OnEventRecorded", "OnAuditRecorded"])
def test_what_cannot_be_delivered_does_not_block_the_stream_for_ever(template, function):
    (event,) = select(template, "AWS::Serverless::Function")[function]["Properties"]["Events"].values()
    properties = event["Properties"]
    assert properties["BisectBatchOnFunctionError"]
    assert 0 < properties["MaximumRetryAttempts"] < 100
    assert properties["DestinationConfig"]["OnFailure"]["Type"] == "SQS"


def test_a_posting_invokes_nobody_and_only_a_change_of_the_ledger_does(template):
    table = next(
        each["Properties"]
        for each in select(template, "AWS::DynamoDB::Table").values()
        if each["Properties"]["TableName"] == "provocative-prod-ledger"
    )
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert "TimeToLiveSpecification" not in table
    functions = select(template, "AWS::Serverless::Function")
    (event,) = functions["OnLedgerTampered"]["Properties"]["Events"].values()
    (one,) = event["Properties"]["FilterCriteria"]["Filters"]
    assert json.loads(one["Pattern"]) == {"eventName": ["MODIFY", "REMOVE"]}
    filtered = {
        name
        for name, function in functions.items()
        for each in function["Properties"].get("Events", {}).values()
        if "FilterCriteria" in each["Properties"]
    }
    assert filtered == {"OnLedgerTampered"}


def test_seals_are_locked_for_ten_years_and_two_functions_add_to_them(template):
    name, bucket = next(
        (name, each)
        for name, each in select(template, "AWS::S3::Bucket").items()
        if "-seals-" in json.dumps(each["Properties"]["BucketName"])
    )
    properties = bucket["Properties"]
    assert properties["ObjectLockEnabled"] is True
    assert properties["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {
        "Days": 3653,
        "Mode": "COMPLIANCE",
    }
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    actions: dict[str, set[str]] = {}
    for role, statement in list_statements(template):
        if name in json.dumps(statement["Resource"]):
            asked = {each for each in as_list(statement["Action"]) if each.startswith("s3:")}
            actions.setdefault(role, set()).update(asked)
    # Who could not list would take what was removed for what cannot be read just now.
    read = {"s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    assert actions == {
        "ApiHandlerRole": read,
        "VerifySealsRole": read,
        "SealLedgerRole": {*read, "s3:PutObject"},
        "AnchorAuditRole": {*read, "s3:PutObject"},
        "VerifyAuditRole": read,
    }


def test_events_of_different_accounts_do_not_wait_for_one_another(template):
    """A shard of the stream is worked on in lanes by partition key, which is the account."""
    function = select(template, "AWS::Serverless::Function")["OnEventRecorded"]["Properties"]
    (event,) = function["Events"].values()
    assert event["Properties"]["ParallelizationFactor"] == 10
    assert (
        event["Properties"]["BatchSize"] * MAX_ENDPOINTS * LIMIT_SECONDS
        < ATTEMPTS_AT_ONCE * function["Timeout"]
    )


def test_who_resolves_names_that_renters_choose_does_not_wait_for_their_name_servers(template):
    functions = select(template, "AWS::Serverless::Function")
    told = {
        name: each["Properties"]["Environment"]["Variables"].get("RES_OPTIONS")
        for name, each in functions.items()
    }
    asking = {name for name, options in told.items() if options is not None}
    assert asking == {"OnEventRecorded", "DeliverDueEvents"}
    assert {told[name] for name in asking} == {"timeout:1 attempts:2"}


def test_functions_run_on_arm_with_a_bounded_time_and_a_role_of_their_own(template):
    functions = select(template, "AWS::Serverless::Function")
    roles = set()
    for name, function in functions.items():
        properties = function["Properties"]
        assert properties["Architectures"] == ["arm64"]
        assert properties["Runtime"].startswith("python3.1")
        # An export is made in one go.
        assert 0 < properties["Timeout"] <= (300 if name == "RunPrivacyRequests" else 60)
        assert 256 <= properties["MemorySize"] <= 1769
        roles.add(properties["Role"]["Fn::GetAtt"][0])
    assert len(roles) == len(functions) == len(TABLE_ACCESS)
    assert functions["APIHandler"]["Properties"]["Timeout"] <= 29
    # Not `app.app`: that one imports every slice.
    assert functions["APIHandler"]["Properties"]["Handler"] == "chalicelib.entrance.app"


def test_the_api_is_regional_and_its_own_refusals_are_problem_documents(template):
    (api,) = select(template, "AWS::Serverless::Api").values()
    assert "REGIONAL" in json.dumps(api["Properties"]["EndpointConfiguration"])
    responses = select(template, "AWS::ApiGateway::GatewayResponse").values()
    assert {each["Properties"]["ResponseType"] for each in responses} == {
        "DEFAULT_4XX",
        "DEFAULT_5XX",
        "THROTTLED",
    }
    for each in responses:
        sent = each["Properties"]["ResponseParameters"]
        assert sent["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
        assert sent["gatewayresponse.header.X-Content-Type-Options"] == "'nosniff'"
        assert sent["gatewayresponse.header.Cache-Control"] == "'no-store'"
        assert "max-age=" in sent["gatewayresponse.header.Strict-Transport-Security"]
        assert "gatewayresponse.header.Access-Control-Allow-Origin" not in sent


def test_every_method_of_a_path_reaches_the_function_which_says_what_there_is(template):
    (api,) = select(template, "AWS::Serverless::Api").values()
    paths = api["Properties"]["DefinitionBody"]["paths"]
    assert len(paths) > 80
    for path, methods in paths.items():
        passed = methods["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
        assert passed["type"] == "aws_proxy", path
        assert all(each["x-amazon-apigateway-integration"] == passed for each in methods.values()), path


def test_no_role_has_a_wildcard_action_or_an_unbounded_resource(template):
    seen = 0
    for role, statement in list_statements(template):
        for action in as_list(statement["Action"]):
            assert "*" not in action, (role, action)
        # EC2, KMS and DynamoDB know no resource for these.
        unbounded = (["ec2:DescribeInstances"], ["kms:CreateKey"], ["dynamodb:ListStreams"])
        if statement["Action"] not in unbounded:
            assert "*" not in as_list(statement["Resource"]), (role, statement)
        seen += 1
    assert seen > 15
    for role in select(template, "AWS::IAM::Role").values():
        assert not role["Properties"].get("ManagedPolicyArns")


def test_nobody_can_change_or_remove_what_stands_in_the_books_or_the_audit_trail(template):
    tables = {
        name: each["Properties"]["TableName"].removeprefix("provocative-prod-")
        for name, each in select(template, "AWS::DynamoDB::Table").items()
    }
    protected = {name for name, table in tables.items() if table in APPEND_ONLY}
    assert len(protected) == len(APPEND_ONLY) == 5
    writers = 0
    for role, statement in list_statements(template):
        touched = {name for name in protected if name in json.dumps(statement["Resource"])}
        if touched:
            for action in as_list(statement["Action"]):
                for change in ("dynamodb:*Update*", "dynamodb:*Delete*"):
                    assert not fnmatchcase(action, change), (role, action)
                assert action != "dynamodb:BatchWriteItem"
                writers += action == "dynamodb:PutItem"
    assert writers > 0
    deletable = {"scheduling", "scaling", "budgets", "marks", "organisations", "people"}
    emptied = [name for name, table in tables.items() if table in deletable]
    for role, statement in list_statements(template):
        # What it may take away stands in `infra.cdk.table_access`: nothing of books and trail.
        if "dynamodb:DeleteItem" in as_list(statement["Action"]) and role != "RunPrivacyRequestsRole":
            if "Condition" in statement:
                continue
            for each in as_list(statement["Resource"]):
                assert any(name in json.dumps(each) for name in emptied)


def test_of_accounts_and_keys_none_can_be_taken_away_but_the_notes_of_who_issued_them(template):
    accounts = next(
        name
        for name, each in select(template, "AWS::DynamoDB::Table").items()
        if each["Properties"]["TableName"] == "provocative-prod-accounts"
    )
    takers = {
        role: statement.get("Condition")
        for role, statement in list_statements(template)
        if "dynamodb:DeleteItem" in as_list(statement["Action"])
        and accounts in json.dumps(statement["Resource"])
    }
    notes = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "ISSUER#*"}}
    assert takers == {"ApiHandlerRole": notes, "RunPrivacyRequestsRole": notes}


def test_who_places_or_pays_by_itself_can_read_whether_the_account_may(template):
    accounts = next(
        name
        for name, each in select(template, "AWS::DynamoDB::Table").items()
        if each["Properties"]["TableName"] == "provocative-prod-accounts"
    )
    readers = {
        role
        for role, statement in list_statements(template)
        if "dynamodb:GetItem" in as_list(statement["Action"])
        and accounts in json.dumps(statement["Resource"])
    }
    placing = {"OnCapacityChangedRole", "SweepLinesRole", "ScalePoolsRole", "OnWatchRole"}
    assert placing | {"RefillWalletsRole"} <= readers


def test_who_writes_events_can_neither_read_nor_change_what_stands_there(template):
    """Only the API and the two that deliver do more with the outbox than put what is new."""
    outbox = next(
        name
        for name, each in select(template, "AWS::DynamoDB::Table").items()
        if each["Properties"]["TableName"] == "provocative-prod-webhooks"
    )
    actions: dict[str, set[str]] = {}
    for role, statement in list_statements(template):
        if any(outbox in json.dumps(each) for each in as_list(statement["Resource"])):
            actions.setdefault(role, set()).update(as_list(statement["Action"]))
    more = {role for role, allowed in actions.items() if allowed != {"dynamodb:PutItem"}}
    assert more == {"ApiHandlerRole", "OnEventRecordedRole", "DeliverDueEventsRole", "RunPrivacyRequestsRole"}
    assert len(actions) > len(more)
    removers = {role for role, allowed in actions.items() if "dynamodb:DeleteItem" in allowed}
    assert removers == {"RunPrivacyRequestsRole"}


def test_only_the_minute_of_the_pools_may_touch_instances_and_only_those_of_its_stage(template):
    seen = {}
    for role, statement in list_statements(template):
        for action in as_list(statement["Action"]):
            if action.startswith(("ec2:", "iam:")):
                assert role == "ScalePoolsRole" or (role, action) == ("OnWatchRole", "ec2:DescribeInstances")
                seen.setdefault(action, []).append(statement.get("Condition"))
    assert set(seen) == {
        "ec2:RunInstances",
        "ec2:CreateTags",
        "ec2:TerminateInstances",
        "ec2:DescribeInstances",
        "iam:PassRole",
    }
    assert seen["ec2:TerminateInstances"] == [{"StringEquals": {"aws:ResourceTag/provocative:stage": "prod"}}]
    assert {"StringEquals": {"aws:RequestTag/provocative:stage": "prod"}} in seen["ec2:RunInstances"]
    assert None not in [*seen["ec2:RunInstances"], *seen["ec2:CreateTags"], *seen["iam:PassRole"]]


def test_only_the_function_that_launches_is_told_where_machines_enrol(template):
    told = {
        name
        for name, function in select(template, "AWS::Serverless::Function").items()
        if "PUBLIC_API_URL" in function["Properties"]["Environment"]["Variables"]
    }
    assert told == {"ScalePools"}


def test_no_secret_is_in_the_environment_of_a_function(template):
    for function in select(template, "AWS::Serverless::Function").values():
        for name, value in function["Properties"]["Environment"]["Variables"].items():
            assert "{{resolve" not in json.dumps(value), name
            assert not any(word in name for word in ("PASSWORD", "TOKEN", "API_KEY"))


def test_cfn_lint_has_nothing_to_say(production):
    done = subprocess.run(
        [
            str(VENV_BIN / "cfn-lint"),
            "--non-zero-exit-code",
            "warning",
            str(production / "prod.template.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_template_has_room_to_grow(production):
    """CloudFormation takes 1 MB: a stage that outgrows it can be deployed no more."""
    assert (production / "prod.template.json").stat().st_size < 800_000


def test_archives_hold_bytecode_for_the_functions_own_python_and_no_tests(production: Path):
    names = {}
    for archive in production.glob("asset.*.zip"):
        with zipfile.ZipFile(archive) as opened:
            names[archive.name] = opened.namelist()
    code = next(each for each in names.values() if "app.py" in each)
    assert any(name.endswith(".pyc") for name in code)
    assert not any(name.startswith(("tests/", "host_agent/", "infra/", "docs/")) for name in code)
