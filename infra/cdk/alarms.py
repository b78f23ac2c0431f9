"""Alarms: a dead letter is a promise that waits for a person."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class Alarms(Construct):
    def __init__(self, scope: Construct, construct_id: str, *, dead: dict[str, sqs.Queue]) -> None:
        super().__init__(scope, construct_id)
        for name, queue in dead.items():
            cloudwatch.Alarm(
                self,
                f"{name}DeadLetters",
                alarm_description=f"{name}: a message could not be processed; see docs/runbook.md",
                metric=queue.metric_approximate_number_of_messages_visible(
                    period=Duration.minutes(1), statistic="Maximum"
                ),
                threshold=1,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
