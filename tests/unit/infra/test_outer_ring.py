"""What stands before the API keeps off floods and long bodies, not what renters and Stripe send."""

import json
import re

import pytest

from chalicelib.core.throttling import POLICIES
from chalicelib.runtime.bodies import MAX_BODY_BYTES
from infra.cdk.outer_ring import (
    COUNTED,
    REQUESTS_PER_ADDRESS,
    REQUESTS_PER_SECOND,
    TOO_LONG,
    WEBHOOK_PATH,
    WINDOW_SECONDS,
    build_method_settings,
    build_refusal_body,
    build_rules,
)
from infra.openapi.problems import PROBLEM
from tests.unit.runtime.test_permissions import ROUTES

RULES = {rule["Name"]: rule for rule in build_rules()}


@pytest.mark.parametrize("length", [0, 1, 99_999, 199_999, 262_143, MAX_BODY_BYTES])
def test_a_body_that_the_api_takes_passes(length):
    assert not re.search(TOO_LONG, str(length))


@pytest.mark.parametrize(
    "length",
    [
        MAX_BODY_BYTES + 1,
        262_149,
        262_150,
        262_199,
        262_200,
        263_000,
        270_000,
        300_000,
        999_999,
        10**9,
    ],
)
def test_a_longer_one_does_not(length):
    assert re.search(TOO_LONG, str(length))
    assert re.search(TOO_LONG, f"00{length}")


def test_lengths_around_the_bound_are_told_apart_one_by_one():
    long = {length for length in range(200_000, 330_000) if re.search(TOO_LONG, str(length))}
    assert long == set(range(MAX_BODY_BYTES + 1, 330_000))


def test_the_rules_are_numbered_named_and_watched():
    rules = build_rules()
    assert [rule["Priority"] for rule in rules] == list(range(len(rules)))
    assert len(RULES) == len(rules)
    assert all(rule["VisibilityConfig"]["CloudWatchMetricsEnabled"] for rule in rules)
    assert all(("Action" in rule) != ("OverrideAction" in rule) for rule in rules)


def test_an_address_is_limited_by_what_the_gateway_saw_and_told_when_to_come_again():
    statement = RULES["RequestsPerAddress"]["Statement"]["RateBasedStatement"]
    assert (statement["AggregateKeyType"], statement["EvaluationWindowSec"]) == ("IP", WINDOW_SECONDS)
    assert "ForwardedIPConfig" not in json.dumps(build_rules())
    response = RULES["RequestsPerAddress"]["Action"]["Block"]["CustomResponse"]
    assert response["ResponseCode"] == 429
    assert response["ResponseHeaders"] == [{"Name": "Retry-After", "Value": "300"}]
    body = json.loads(build_refusal_body()["Content"])
    assert set(PROBLEM["required"]) <= set(body)


def test_the_ring_is_wider_than_what_one_key_may():
    widest = max(quota.tokens for each in POLICIES.values() for quota in each.quotas.values())
    assert 3 * widest < REQUESTS_PER_ADDRESS * 60 / WINDOW_SECONDS
    assert 10 * widest < REQUESTS_PER_SECOND * 60


def test_webhooks_of_stripe_have_a_wider_limit_of_their_own():
    assert f"POST {WEBHOOK_PATH}" in ROUTES
    others = RULES["RequestsPerAddress"]["Statement"]["RateBasedStatement"]
    webhooks = RULES["WebhooksPerAddress"]["Statement"]["RateBasedStatement"]
    assert others["ScopeDownStatement"] == {"NotStatement": {"Statement": webhooks["ScopeDownStatement"]}}
    assert webhooks["Limit"] > others["Limit"]


def test_what_renters_run_is_not_taken_for_an_attack():
    managed = RULES["AWSManagedRulesCommonRuleSet"]["Statement"]["ManagedRuleGroupStatement"]
    counted = {each["Name"] for each in managed["RuleActionOverrides"]}
    assert counted == set(COUNTED)
    assert {name for name in counted if name.endswith("_BODY")} >= {
        "SizeRestrictions_BODY",
        "CrossSiteScripting_BODY",
        "EC2MetaDataSSRF_BODY",
    }
    bad = RULES["AWSManagedRulesKnownBadInputsRuleSet"]["Statement"]["ManagedRuleGroupStatement"]
    assert "RuleActionOverrides" not in bad


def test_the_stage_bounds_every_method():
    (settings,) = build_method_settings()
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")


def select(template, kind):
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def test_a_firewall_and_limits_of_the_stage_stand_before_the_api(template):
    (firewall_id,) = firewalls = select(template, "AWS::WAFv2::WebACL")
    properties = firewalls[firewall_id]["Properties"]
    assert (properties["Scope"], properties["DefaultAction"]) == ("REGIONAL", {"Allow": {}})
    assert [rule["Name"] for rule in properties["Rules"]] == [
        "BodyTooLong",
        "RequestsPerAddress",
        "WebhooksPerAddress",
        "AWSManagedRulesKnownBadInputsRuleSet",
        "AWSManagedRulesCommonRuleSet",
    ]
    (association,) = select(template, "AWS::WAFv2::WebACLAssociation").values()
    assert association["Properties"]["WebACLArn"] == {"Fn::GetAtt": [firewall_id, "Arn"]}
    arn = json.dumps(association["Properties"]["ResourceArn"])
    assert '{"Ref": "RestAPI"}' in arn
    assert '{"Ref": "RestAPI.Stage"}' in arn
    (settings,) = template["Resources"]["RestAPI"]["Properties"]["MethodSettings"]
    assert settings["ThrottlingRateLimit"] > 0 < settings["ThrottlingBurstLimit"]
    responses = select(template, "AWS::ApiGateway::GatewayResponse").values()
    (throttled,) = [each for each in responses if each["Properties"]["ResponseType"] == "THROTTLED"]
    assert "gatewayresponse.header.Retry-After" in throttled["Properties"]["ResponseParameters"]
