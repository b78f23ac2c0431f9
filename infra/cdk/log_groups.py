"""A log group for each function: no role may make one, so without it a function says nothing."""

from collections.abc import Mapping

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

#: 90 days: long enough to look into what is told late, and no longer, since addresses and ids stand there.
KEPT = logs.RetentionDays.THREE_MONTHS


class LogGroups(Construct):
    """``names``: each function of the template -> the name that it gets when it is made."""

    def __init__(
        self, scope: Construct, construct_id: str, *, names: Mapping[str, str], protected: bool
    ) -> None:
        super().__init__(scope, construct_id)
        for function, name in names.items():
            logs.LogGroup(
                self,
                function,
                # Where Lambda writes unless it is told otherwise.
                log_group_name=f"/aws/lambda/{name}",
                retention=KEPT,
                removal_policy=RemovalPolicy.RETAIN if protected else RemovalPolicy.DESTROY,
            )
