"""Command queues (SQS) and host credentials (STS): the two AWS services of which hosts get a share."""

import json
from dataclasses import dataclass
from typing import Any

from chalicelib.fleet.service import HostCredentials

#: A command that nobody fetched for a day is stale: the rental it belongs to was ended long before.
COMMAND_RETENTION_SECONDS = 86_400
#: An agent makes a command durable in milliseconds. A poll whose agent died swallows one for this long.
VISIBILITY_TIMEOUT_SECONDS = 5
CREDENTIAL_LIFETIME_SECONDS = 3600
#: AWS checks a batch as SendMessage; the embedded cloud checks it under its own name.
SEND_ACTIONS = ("sqs:SendMessage", "sqs:SendMessageBatch")


@dataclass(frozen=True, slots=True)
class AwsHostIdentities:
    """``sqs`` and ``sts`` are botocore clients."""

    sqs: Any
    sts: Any
    command_queue_prefix: str
    host_role_arn: str
    ingest_queue_arns: tuple[str, ...]

    def ensure_command_queue(self, host_id: str) -> str:
        answer = self.sqs.create_queue(
            QueueName=f"{self.command_queue_prefix}{host_id}",
            Attributes={
                "MessageRetentionPeriod": str(COMMAND_RETENTION_SECONDS),
                "VisibilityTimeout": str(VISIBILITY_TIMEOUT_SECONDS),
                "SqsManagedSseEnabled": "true",
            },
        )
        return str(answer["QueueUrl"])

    def issue_credentials(self, host_id: str) -> HostCredentials:
        answer = self.sts.assume_role(
            RoleArn=self.host_role_arn,
            RoleSessionName=host_id,
            DurationSeconds=CREDENTIAL_LIFETIME_SECONDS,
            Policy=json.dumps(self.build_session_policy(host_id)),
        )
        given = answer["Credentials"]
        return HostCredentials(
            given["AccessKeyId"],
            given["SecretAccessKey"],
            given["SessionToken"],
            int(given["Expiration"].timestamp() * 1000),
        )

    def build_session_policy(self, host_id: str) -> dict[str, Any]:
        """Narrows the role, which covers all hosts, to the queues that this host needs."""
        arn_prefix = self.ingest_queue_arns[0].rpartition(":")[0]
        own_queue = f"{arn_prefix}:{self.command_queue_prefix}{host_id}"
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": list(SEND_ACTIONS),
                    "Resource": list(self.ingest_queue_arns),
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "sqs:ReceiveMessage",
                        "sqs:DeleteMessage",
                        "sqs:ChangeMessageVisibility",
                    ],
                    "Resource": own_queue,
                },
            ],
        }
