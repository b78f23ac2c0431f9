"""What EC2 is asked for, word by word, and what its answers mean."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.session import get_session
from botocore.stub import ANY, Stubber

from chalicelib.scaling.ec2_gateway import Ec2Instances, build_request, build_user_data
from chalicelib.scaling.ports import (
    InsufficientCapacity,
    LaunchOrder,
    OutcomeUnknown,
    QuotaExceeded,
    Refused,
    Throttled,
)
from tests.unit.scaling.cloud import ON_DEMAND, POOL, REGION

ORDER = LaunchOrder("lch_1", "hst_1", POOL, REGION, ON_DEMAND, "#cloud-config\n{}\n")
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def ec2():
    client = get_session().create_client(
        "ec2", region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stub:
        yield stub, Ec2Instances(lambda region: {REGION: client}[region], "prod")
        stub.assert_no_pending_responses()


def show(instance_id, state="running", **tags):
    return {
        "InstanceId": instance_id,
        "State": {"Name": state},
        "LaunchTime": AT,
        "InstanceType": "p5.48xlarge",
        "Placement": {"AvailabilityZone": "eu-north-1a"},
        "Tags": [{"Key": f"provocative:{key}", "Value": value} for key, value in tags.items()],
    }


def test_an_order_names_its_token_its_tags_and_a_closed_metadata_service(ec2):
    stub, instances = ec2
    tags = [
        {"Key": "provocative:stage", "Value": "prod"},
        {"Key": "provocative:pool", "Value": POOL},
        {"Key": "provocative:launch_id", "Value": "lch_1"},
        {"Key": "provocative:host_id", "Value": "hst_1"},
    ]
    expected = {
        "ClientToken": "lch_1",
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": "p5.48xlarge",
        "LaunchTemplate": {"LaunchTemplateId": "lt-0aaaaaaaaaaaaaaaa", "Version": "$Default"},
        "Placement": {"AvailabilityZone": "eu-north-1a"},
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": ANY,
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
    }
    stub.add_response("run_instances", {"Instances": [show("i-1")]}, expected)
    assert instances.launch(ORDER) == "i-1"


def test_spot_and_capacity_blocks_are_asked_for_as_such():
    spot = build_request(replace(ORDER, option=replace(ON_DEMAND, purchase="spot")), "prod")
    assert spot["InstanceMarketOptions"]["MarketType"] == "spot"
    assert spot["InstanceMarketOptions"]["SpotOptions"]["InstanceInterruptionBehavior"] == "terminate"
    assert "InstanceInitiatedShutdownBehavior" not in spot
    assert "spot-instances-request" in {each["ResourceType"] for each in spot["TagSpecifications"]}
    option = replace(ON_DEMAND, purchase="capacity_block", capacity_reservation_id="cr-1")
    block = build_request(replace(ORDER, option=option), "prod")
    assert block["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
    target = {"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}}
    assert block["CapacityReservationSpecification"] == target
    assert "InstanceMarketOptions" not in build_request(ORDER, "prod")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InsufficientInstanceCapacity", 500, InsufficientCapacity),
        ("SpotMaxPriceTooLow", 400, InsufficientCapacity),
        ("VcpuLimitExceeded", 400, QuotaExceeded),
        ("MaxSpotInstanceCountExceeded", 400, QuotaExceeded),
        ("RequestLimitExceeded", 503, Throttled),
        ("InternalError", 500, OutcomeUnknown),
        ("NeverHeardOfIt", 503, OutcomeUnknown),
        ("IdempotentParameterMismatch", 400, OutcomeUnknown),
        ("InvalidLaunchTemplateId.NotFound", 400, Refused),
        ("UnauthorizedOperation", 403, Refused),
        ("IdempotentInstanceTerminated", 400, Refused),
    ],
)
def test_a_refusal_is_definite_only_where_nothing_was_launched(ec2, code, status, kind):
    stub, instances = ec2
    stub.add_client_error("run_instances", code, "no", status)
    with pytest.raises(kind) as caught:
        instances.launch(ORDER)
    assert type(caught.value) is kind


def test_no_answer_is_an_unknown_outcome():
    class Silent:
        def run_instances(self, **_):
            raise ReadTimeoutError(endpoint_url="https://ec2")

    with pytest.raises(OutcomeUnknown):
        Ec2Instances(lambda _region: Silent(), "prod").launch(ORDER)


def test_an_answer_without_an_instance_is_an_unknown_outcome(ec2):
    stub, instances = ec2
    stub.add_response("run_instances", {"Instances": []})
    with pytest.raises(OutcomeUnknown):
        instances.launch(ORDER)


def test_a_list_has_every_page_of_this_stages_pool(ec2):
    stub, instances = ec2
    asked = {
        "Filters": [
            {"Name": "tag:provocative:stage", "Values": ["prod"]},
            {"Name": "tag:provocative:pool", "Values": [POOL]},
        ],
        "MaxResults": 500,
    }
    first = {
        "Reservations": [{"Instances": [show("i-1", launch_id="lch_1", host_id="hst_1")]}],
        "NextToken": "t",
    }
    second = {"Reservations": [{"Instances": [show("i-2", "terminated"), show("i-3", "pending")]}]}
    stub.add_response("describe_instances", first, asked)
    stub.add_response("describe_instances", second, asked | {"NextToken": "t"})
    listed = instances.list_instances(REGION, POOL)
    assert [(each.instance_id, each.state, each.launch_id) for each in listed] == [
        ("i-1", "running", "lch_1"),
        ("i-2", "terminated", None),
        ("i-3", "pending", None),
    ]
    assert listed[0].launched_at_ms == int(AT.timestamp() * 1000)


def test_a_list_of_which_a_page_is_missing_is_an_error(ec2):
    stub, instances = ec2
    stub.add_response("describe_instances", {"Reservations": [], "NextToken": "t"})
    stub.add_client_error("describe_instances", "RequestLimitExceeded", "slow down", 503)
    with pytest.raises(Throttled):
        instances.list_instances(REGION, POOL)


def test_an_instance_is_gone_only_when_ec2_says_so(ec2):
    stub, instances = ec2
    stub.add_client_error("describe_instances", "InvalidInstanceID.NotFound", "none", 400)
    assert instances.find_instance(REGION, "i-1") is None
    stub.add_response("describe_instances", {"Reservations": []})
    with pytest.raises(OutcomeUnknown):
        instances.find_instance(REGION, "i-1")
    stub.add_response("describe_instances", {"Reservations": [{"Instances": [show("i-1", "terminated")]}]})
    found = instances.find_instance(REGION, "i-1")
    assert found is not None
    assert found.ended


def test_an_end_may_be_ordered_again(ec2):
    stub, instances = ec2
    stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
    stub.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "none", 400)
    stub.add_client_error("terminate_instances", "OperationNotPermitted", "protected", 400)
    instances.terminate(REGION, "i-1")
    instances.terminate(REGION, "i-1")
    with pytest.raises(Refused):
        instances.terminate(REGION, "i-1")


def test_user_data_tells_the_agent_where_and_with_what_to_enrol():
    text = build_user_data("pc_enrol_x", "https://api.example/api")
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    config = json.loads(body)
    env, drop_in = config["write_files"]
    assert env["content"].splitlines() == [
        "PROVOCATIVE_API_URL=https://api.example/api",
        "PROVOCATIVE_ENROLMENT_TOKEN=pc_enrol_x",
    ]
    assert env["permissions"] == "0600"
    assert env["path"] in drop_in["content"]
    assert build_user_data("pc_enrol_x", "https://api.example/api") == text
    with pytest.raises(ValueError, match="PUBLIC_API_URL"):
        build_user_data("pc_enrol_x", "")
