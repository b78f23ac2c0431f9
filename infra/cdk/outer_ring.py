"""What stands before the API: a web application firewall and the stage's own limits.

They know nothing of keys. They keep off what is too much or too crude before a function is paid for; who may
call how often is decided inside (`chalicelib.runtime.throttling`).
"""

from typing import Any

from aws_cdk import CfnResource
from constructs import Construct

#: Of each method of the stage. The account's own limit of API Gateway bounds their sum.
REQUESTS_PER_SECOND = 1_000
BURST_REQUESTS = 2_000
WINDOW_SECONDS = 300
#: Of one address in `WINDOW_SECONDS`: a whole office of people, several times what one key may.
REQUESTS_PER_ADDRESS = 20_000
#: Stripe sends from a few addresses, and all events of a busy day may come again at once.
WEBHOOKS_PER_ADDRESS = 100_000
WEBHOOK_PATH = "/v1/stripe/events"
#: Rules of the managed sets that are counted, not enforced. Bodies are commands and environments that renters
#: write: scripts, addresses and markup are what they are for, and nothing of them is rendered or fetched by
#: the API. Its query holds addresses of loopback where a program signs in. Hosts send no User-Agent.
COUNTED = (
    "SizeRestrictions_BODY",
    "GenericLFI_BODY",
    "GenericRFI_BODY",
    "CrossSiteScripting_BODY",
    "EC2MetaDataSSRF_BODY",
    "GenericRFI_QUERYARGUMENTS",
    "NoUserAgent_HEADER",
)
#: Decimal numbers above the API's own bound, 262,144. The firewall sees 16 KiB of a body: the length that is
#: announced decides.
TOO_LONG = (
    "^0*([1-9][0-9]{6,}|[3-9][0-9]{5}|2[7-9][0-9]{4}|26[3-9][0-9]{3}|262[2-9][0-9]{2}|2621[5-9][0-9]|"
    "26214[5-9])$"
)
_PLAIN = [{"Priority": 0, "Type": "NONE"}]
_REFUSAL = "TooMany"


class OuterRing(Construct):
    """The firewall of the API's stage."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, stage_arn: object) -> None:
        super().__init__(scope, construct_id)
        firewall = CfnResource(
            self,
            "Firewall",
            type="AWS::WAFv2::WebACL",
            properties={
                "Name": f"{prefix}-api",
                "Scope": "REGIONAL",
                "DefaultAction": {"Allow": {}},
                "VisibilityConfig": _watch("Api"),
                "CustomResponseBodies": {_REFUSAL: build_refusal_body()},
                "Rules": build_rules(),
            },
        )
        CfnResource(
            self,
            "Association",
            type="AWS::WAFv2::WebACLAssociation",
            properties={"WebACLArn": firewall.get_att("Arn").to_string(), "ResourceArn": stage_arn},
        )


def build_method_settings() -> list[dict[str, Any]]:
    """Return the limits of the stage, as ``AWS::Serverless::Api`` takes them."""
    return [
        {
            "ResourcePath": "/*",
            "HttpMethod": "*",
            "ThrottlingRateLimit": REQUESTS_PER_SECOND,
            "ThrottlingBurstLimit": BURST_REQUESTS,
        }
    ]


def build_rules() -> list[dict[str, Any]]:
    """Return the rules in the order in which they are looked at."""
    webhooks = _match_path(WEBHOOK_PATH)
    rules = [
        _block(
            "BodyTooLong",
            {
                "RegexMatchStatement": {
                    "FieldToMatch": {"SingleHeader": {"Name": "content-length"}},
                    "RegexString": TOO_LONG,
                    "TextTransformations": _PLAIN,
                }
            },
            {"CustomResponse": {"ResponseCode": 413}},
        ),
        _limit("RequestsPerAddress", REQUESTS_PER_ADDRESS, {"NotStatement": {"Statement": webhooks}}),
        _limit("WebhooksPerAddress", WEBHOOKS_PER_ADDRESS, webhooks),
        _manage("AWSManagedRulesKnownBadInputsRuleSet", ()),
        _manage("AWSManagedRulesCommonRuleSet", COUNTED),
    ]
    return [{**rule, "Priority": priority} for priority, rule in enumerate(rules)]


def build_refusal_body() -> dict[str, str]:
    """Return the problem document of who asks too often."""
    return {
        "ContentType": "APPLICATION_JSON",
        "Content": '{"type":"urn:provocative:problem:gateway","title":"Too Many Requests","status":429,'
        '"code":"gateway_THROTTLED","detail":"Too many requests come from this address.",'
        '"request_id":"none"}',
    }


def _limit(name: str, requests: int, counted: dict[str, Any]) -> dict[str, Any]:
    statement = {
        "RateBasedStatement": {
            # The address that the gateway sees: what is forwarded by name is the caller's own word.
            "AggregateKeyType": "IP",
            "EvaluationWindowSec": WINDOW_SECONDS,
            "Limit": requests,
            "ScopeDownStatement": counted,
        }
    }
    response = {
        "ResponseCode": 429,
        "CustomResponseBodyKey": _REFUSAL,
        "ResponseHeaders": [{"Name": "Retry-After", "Value": str(WINDOW_SECONDS)}],
    }
    return _block(name, statement, {"CustomResponse": response})


def _match_path(path: str) -> dict[str, Any]:
    # Its end: whether the name of the stage stands before it depends on how the API is reached.
    return {
        "ByteMatchStatement": {
            "FieldToMatch": {"UriPath": {}},
            "PositionalConstraint": "ENDS_WITH",
            "SearchString": path,
            "TextTransformations": _PLAIN,
        }
    }


def _block(name: str, statement: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "Statement": statement,
        "Action": {"Block": response},
        "VisibilityConfig": _watch(name),
    }


def _manage(name: str, counted: tuple[str, ...]) -> dict[str, Any]:
    managed: dict[str, Any] = {"VendorName": "AWS", "Name": name}
    if counted:
        overrides = [{"Name": each, "ActionToUse": {"Count": {}}} for each in counted]
        managed["RuleActionOverrides"] = overrides
    return {
        "Name": name,
        "Statement": {"ManagedRuleGroupStatement": managed},
        # The set's own actions stand.
        "OverrideAction": {"None": {}},
        "VisibilityConfig": _watch(name),
    }


def _watch(name: str) -> dict[str, Any]:
    return {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": name}
