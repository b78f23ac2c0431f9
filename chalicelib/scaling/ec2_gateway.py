"""`Instances` on EC2, through one botocore client a region.

Every order carries the launch's id as its client token and as a tag: repeated, EC2 answers with the same
instance, and what it made is found by its tags. A listing is complete, or an error.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.scaling.model import LaunchOption
from chalicelib.scaling.ports import (
    TAG_PREFIX,
    Instance,
    InstanceError,
    InsufficientCapacity,
    LaunchOrder,
    OutcomeUnknown,
    QuotaExceeded,
    Refused,
    Throttled,
)

#: Error codes of the EC2 API (API reference, "Error codes for the Amazon EC2 API").
_NO_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "ReservationCapacityExceeded",
        "SpotMaxPriceTooLow",
        "Unsupported",
    }
)
_OVER_QUOTA = frozenset(
    {
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "ResourceCountExceeded",
        "VolumeLimitExceeded",
    }
)
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "BandwidthLimitExceeded"}
)
#: A mismatch says that the token was used: there may be an instance, which its tags will show.
_UNKNOWN = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
        "IdempotentParameterMismatch",
        "RequestTimeout",
    }
)
_NO_SUCH = frozenset({"InvalidInstanceID.NotFound"})
_SERVER_ERROR = 500
_PAGE = 500
#: Far above any pool; a listing that goes on for longer is going in circles.
_MAX_PAGES = 200


class Ec2Instances:
    """``clients`` gives the client of a region; ``stage`` keeps installations in one account apart."""

    def __init__(self, clients: Callable[[str], Any], stage: str) -> None:
        self._clients = clients
        self._stage = stage

    def launch(self, order: LaunchOrder) -> str:
        answer = self._call(order.region, "run_instances", **build_request(order, self._stage))
        made = answer.get("Instances") or []
        if len(made) != 1:
            raise OutcomeUnknown(f"EC2 answered with {len(made)} instances for {order.launch_id}")
        return str(made[0]["InstanceId"])

    def terminate(self, region: str, instance_id: str) -> None:
        try:
            self._call(region, "terminate_instances", InstanceIds=[instance_id])
        except _NoSuchInstance:
            # Whether it is gone is for `find_instance` to say.
            return

    def list_instances(self, region: str, pool: str) -> list[Instance]:
        filters = [
            {"Name": f"tag:{TAG_PREFIX}stage", "Values": [self._stage]},
            {"Name": f"tag:{TAG_PREFIX}pool", "Values": [pool]},
        ]
        found: list[Instance] = []
        token: str | None = None
        for _ in range(_MAX_PAGES):
            more = {} if token is None else {"NextToken": token}
            answer = self._call(region, "describe_instances", Filters=filters, MaxResults=_PAGE, **more)
            found.extend(_read_instances(answer))
            token = answer.get("NextToken") or None
            if token is None:
                return found
        raise OutcomeUnknown("EC2's listing does not end")

    def find_instance(self, region: str, instance_id: str) -> Instance | None:
        try:
            answer = self._call(region, "describe_instances", InstanceIds=[instance_id])
        except _NoSuchInstance:
            return None
        for instance in _read_instances(answer):
            if instance.instance_id == instance_id:
                return instance
        # Neither the instance nor a word that there is none.
        raise OutcomeUnknown(f"EC2 gave no answer about {instance_id}")

    def _call(self, region: str, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self._clients(region), operation)(**parameters)
        except ClientError as error:
            raise read_error(error) from error
        except BotoCoreError as error:
            raise OutcomeUnknown(str(error)) from error


class _NoSuchInstance(InstanceError):
    code = "no_such_instance"


def read_error(error: ClientError) -> InstanceError:
    """Return what EC2's refusal means. Only what is known to have launched nothing is a definite no."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kinds: tuple[tuple[frozenset[str], type[InstanceError]], ...] = (
        (_NO_CAPACITY, InsufficientCapacity),
        (_OVER_QUOTA, QuotaExceeded),
        (_THROTTLED, Throttled),
        (_UNKNOWN, OutcomeUnknown),
        (_NO_SUCH, _NoSuchInstance),
    )
    for codes, kind in kinds:
        if code in codes:
            return kind(code)
    return OutcomeUnknown(code) if status >= _SERVER_ERROR or not code else Refused(code)


def build_request(order: LaunchOrder, stage: str) -> dict[str, Any]:
    """Return the parameters of ``RunInstances``. The same order gives the same parameters."""
    option = order.option
    tags = [
        {"Key": f"{TAG_PREFIX}{name}", "Value": value}
        for name, value in (
            ("stage", stage),
            ("pool", order.pool),
            ("launch_id", order.launch_id),
            ("host_id", order.host_id),
        )
    ]
    kinds = ["instance", "volume", "network-interface"]
    if option.purchase == "spot":
        kinds.append("spot-instances-request")
    request: dict[str, Any] = {
        "ClientToken": order.launch_id,
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": option.instance_type,
        "LaunchTemplate": {"LaunchTemplateId": option.launch_template_id, "Version": "$Default"},
        "Placement": {"AvailabilityZone": option.availability_zone},
        # Workloads in containers are one hop further: with a limit of 1 they cannot ask for the host's role.
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "UserData": order.user_data,
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
    }
    return request | _build_market(option)


def _build_market(option: LaunchOption) -> dict[str, Any]:
    market: dict[str, Any] = {}
    if option.purchase == "spot":
        spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        market["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    else:
        market["InstanceInitiatedShutdownBehavior"] = "terminate"
    if option.purchase == "capacity_block":
        market["InstanceMarketOptions"] = {"MarketType": "capacity-block"}
    if option.capacity_reservation_id is not None:
        target = {"CapacityReservationId": option.capacity_reservation_id}
        market["CapacityReservationSpecification"] = {"CapacityReservationTarget": target}
    return market


def build_user_data(token: str, api_url: str) -> str:
    """Return cloud-init's part: what the image's agent cannot know, then its start.

    The image of the launch template has the agent and the rest of its configuration.

    Raises:
        ValueError: there is no address at which the machine would enrol.
    """
    if not api_url.startswith(("https://", "http://")):
        raise ValueError("PUBLIC_API_URL is not set: a machine could not enrol")
    settings = f"PROVOCATIVE_API_URL={api_url}\nPROVOCATIVE_ENROLMENT_TOKEN={token}\n"
    drop_in = "[Service]\nEnvironmentFile=/etc/provocative/launch.env\n"
    folder = "/etc/systemd/system/provocative-agent.service.d"
    config = {
        "write_files": [
            {"path": "/etc/provocative/launch.env", "permissions": "0600", "content": settings},
            {"path": f"{folder}/launch.conf", "permissions": "0644", "content": drop_in},
        ],
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "provocative-agent"],
            ["systemctl", "restart", "provocative-agent"],
        ],
    }
    # JSON is YAML.
    return "#cloud-config\n" + json.dumps(config, sort_keys=True) + "\n"


def _read_instances(answer: Any) -> list[Instance]:
    return [
        _read_instance(row)
        for reservation in answer.get("Reservations") or []
        for row in reservation.get("Instances") or []
    ]


def _read_instance(row: Any) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags") or []}
    launched: datetime = row["LaunchTime"]
    return Instance(
        instance_id=row["InstanceId"],
        state=row["State"]["Name"],
        launched_at_ms=int(launched.timestamp() * 1000),
        instance_type=row["InstanceType"],
        availability_zone=row.get("Placement", {}).get("AvailabilityZone", ""),
        launch_id=tags.get(f"{TAG_PREFIX}launch_id"),
        host_id=tags.get(f"{TAG_PREFIX}host_id"),
    )
