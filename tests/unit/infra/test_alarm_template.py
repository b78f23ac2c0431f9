"""The production template: what functions say is kept, and what has gone wrong calls a person."""

import ast
import re
from fnmatch import fnmatchcase

from chalicelib.runtime.observability import METRICS_NAMESPACE
from infra.cdk.table_access import TABLE_ACCESS
from infra.local.paths import ROOT
from tests.unit.infra.test_template import as_list, list_statements, select

_MINUTES = {"minute": 1, "minutes": 1, "hour": 60, "hours": 60, "day": 1440, "days": 1440}


def list_alarms(template, namespace):
    alarms = [each["Properties"] for each in select(template, "AWS::CloudWatch::Alarm").values()]
    return [each for each in alarms if each["Namespace"] == namespace]


def find_rates(template):
    """Return the minutes between two runs of each scheduled function."""
    rates = {}
    for name, function in select(template, "AWS::Serverless::Function").items():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "Schedule":
                number, unit = re.fullmatch(r"rate\((\d+) (\w+)\)", event["Properties"]["Schedule"]).groups()
                rates[name] = int(number) * _MINUTES[unit]
    return rates


def find_metric_owners():
    """Return the functions, by their names in the template, that put each metric."""
    owners = {}
    for path in (ROOT / "chalicelib").rglob("functions.py"):
        parts = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)]
        used = {each.name: {one.id for one in ast.walk(each) if isinstance(one, ast.Name)} for each in parts}
        for part in parts:
            for call in ast.walk(part):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "put_metrics":
                    names = {part.name, *(name for name, called in used.items() if part.name in called)}
                    handlers = {find_function(each) for each in parts if each.name in names} - {None}
                    for keyword in call.keywords:
                        owners.setdefault(keyword.arg, set()).update(handlers)
    return owners


def find_function(definition):
    """Return what the template calls this handler; ``None``: it is none."""
    for decorator in definition.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "name":
                return "".join(part.capitalize() for part in keyword.value.value.split("_"))
    return None


def test_every_function_has_a_log_group_that_is_kept_for_a_bounded_time_and_may_write_there(template):
    functions = select(template, "AWS::Serverless::Function")
    groups = {}
    for group in select(template, "AWS::Logs::LogGroup").values():
        properties = group["Properties"]
        assert properties["RetentionInDays"] == 90
        assert group["DeletionPolicy"] == group["UpdateReplacePolicy"] == "Retain"
        start, reference = properties["LogGroupName"]["Fn::Join"][1]
        assert start == "/aws/lambda/"
        groups[reference["Ref"]] = properties
    assert set(groups) == set(functions) == set(TABLE_ACCESS)
    written = {}
    for role, statement in list_statements(template):
        actions = {each for each in as_list(statement["Action"]) if each.startswith("logs:")}
        if actions:
            assert actions == {"logs:CreateLogStream", "logs:PutLogEvents"}
            (resource,) = as_list(statement["Resource"])
            written[role] = resource["Fn::Join"][1][-1]
    for name, function in functions.items():
        # CloudFormation names a function after stack and resource, and adds twelve characters.
        group = f":log-group:/aws/lambda/prod-{name}-ABCDEFGHIJKL"
        allowed = written[function["Properties"]["Role"]["Fn::GetAtt"][0]]
        assert fnmatchcase(group, allowed), (group, allowed)
        assert fnmatchcase(f"{group}:log-stream:2026/11/30/[$LATEST]0f", allowed)
        assert len(f"prod-{name}-ABCDEFGHIJKL") <= 64
        assert sum(fnmatchcase(f":log-group:/aws/lambda/prod-{each}-A", allowed) for each in functions) == 1


def test_an_alarm_that_waits_for_several_runs_looks_at_periods_that_each_have_one(template):
    """A period without a run is as one that is well: shorter ones would never ring."""
    rates, owners = find_rates(template), find_metric_owners()
    assert rates["RunPrivacyRequests"] == 5
    assert owners["privacy_requests_failed"] == {"RunPrivacyRequests"}
    for alarm in list_alarms(template, METRICS_NAMESPACE):
        # What a queue, a stream or a request drives has no rate; ticks of the watch come every five seconds.
        functions = owners.get(alarm["MetricName"], set())
        every_minutes = max((rates.get(each, 1) for each in functions), default=1)
        runs, of = alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]
        if runs > 1:
            assert alarm["Period"] == 60 * every_minutes, alarm["MetricName"]
            # A run that is late leaves a period out.
            assert of == runs + 1
        else:
            assert alarm["Period"] <= 60 * every_minutes
            assert of == 1
        # CloudWatch looks back for a day at most.
        assert of * alarm["Period"] <= 86_400
        assert alarm["TreatMissingData"] == "notBreaching"


def test_an_export_that_has_failed_for_half_an_hour_calls_a_person(template):
    (alarm,) = [
        each
        for each in list_alarms(template, METRICS_NAMESPACE)
        if each["MetricName"] == "privacy_requests_failed"
    ]
    assert (alarm["Period"], alarm["DatapointsToAlarm"]) == (300, 6)


def test_a_function_that_fails_calls_a_person(template):
    alarms = {}
    for alarm in list_alarms(template, "AWS/Lambda"):
        assert (alarm["MetricName"], alarm["Statistic"], alarm["Period"]) == ("Errors", "Sum", 60)
        (dimension,) = alarm["Dimensions"]
        assert dimension["Name"] == "FunctionName"
        alarms[dimension["Value"]["Ref"]] = (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"])
    assert set(alarms) == set(select(template, "AWS::Serverless::Function"))
    # Nobody tries again for whoever calls these.
    by_hand = {name for name, (runs, _) in alarms.items() if runs == 1}
    assert by_hand == {"BootstrapInstallation", "VerifySeals"}
    assert alarms.pop("ScalePools") == (3, 4)
    assert {each for name, each in alarms.items() if name not in by_hand} == {(3, 15)}


def test_every_alarm_tells_one_topic_that_alarms_may_reach(template):
    ((name, topic),) = select(template, "AWS::SNS::Topic").items()
    assert topic["Properties"]["TopicName"] == "provocative-prod-alarms"
    for alarm in select(template, "AWS::CloudWatch::Alarm").values():
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": name}]
        assert alarm["Properties"].get("ActionsEnabled", True)
    (policy,) = select(template, "AWS::SNS::TopicPolicy").values()
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = [each for each in statements if each["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Action"] == "sns:Publish"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert any("aws:SecureTransport" in str(each) for each in statements if each["Effect"] == "Deny")
    assert template["Outputs"]["AlarmsTopicArn"]["Value"] == {"Ref": name}
    assert not select(template, "AWS::SNS::Subscription")


def test_a_dead_letter_calls_a_person(template):
    alarms = [each["Properties"] for each in select(template, "AWS::CloudWatch::Alarm").values()]
    assert all("docs/runbook.md" in properties["AlarmDescription"] for properties in alarms)
    watched = set()
    for properties in alarms:
        if properties["Namespace"] != "AWS/SQS":
            continue
        assert (properties["Threshold"], properties["EvaluationPeriods"]) == (1, 1)
        watched.add(properties["Dimensions"][0]["Value"]["Fn::GetAtt"][0])
    dead = {name for name in select(template, "AWS::SQS::Queue") if "Dead" in name}
    assert watched == dead


def test_each_metric_that_functions_put_has_an_alarm_of_its_own_stage(template):
    alarms = [each["Properties"] for each in select(template, "AWS::CloudWatch::Alarm").values()]
    own = {each["MetricName"]: each for each in alarms if each["Namespace"] == METRICS_NAMESPACE}
    put = set()
    code = ROOT / "chalicelib"
    for path in (*code.rglob("functions.py"), *(code / "wiring").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "put_metrics":
                put |= {keyword.arg for keyword in call.keywords}
    assert set(own) == put >= {"regions_braked", "regions_blind", "instances_not_ending"}
    for properties in own.values():
        assert properties["Dimensions"] == [{"Name": "stage", "Value": "prod"}]
        assert properties["Statistic"] == "Maximum"
