"""Queues with their dead-letter queues.

A standard queue's dead letters keep their original enqueue time, so the dead-letter queue must keep messages
longer than the source does: 14 days against 4.
"""

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

SOURCE_RETENTION = Duration.days(4)
DEAD_LETTER_RETENTION = Duration.days(14)
MAX_RECEIVES = 5
#: Six times the consumer's timeout (30 s), as AWS asks for Lambda's event source mappings.
VISIBILITY_TIMEOUT = Duration.seconds(180)


class Queues(Construct):
    """Ingest, charges, Stripe's events, ticks of the watch, stream records that could not be delivered."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, enforce_tls: bool) -> None:
        super().__init__(scope, construct_id)
        self._prefix = prefix
        self._enforce_tls = enforce_tls
        self.heartbeats_dead = self._build_dead("HeartbeatsDead", "heartbeats-dlq")
        self.heartbeats = self._build("Heartbeats", "heartbeats", self.heartbeats_dead)
        self.telemetry_dead = self._build_dead("TelemetryDead", "telemetry-dlq")
        self.telemetry = self._build("Telemetry", "telemetry", self.telemetry_dead)
        self.charges_dead = self._build_dead("ChargesDead", "charges-dlq.fifo", fifo=True)
        self.charges = self._build("Charges", "charges.fifo", self.charges_dead, fifo=True)
        self.watches_dead = self._build_dead("WatchesDead", "watches-dlq")
        self.watches = self._build("Watches", "watches", self.watches_dead)
        self.payments_dead = self._build_dead("PaymentsDead", "payments-dlq")
        self.payments = self._build("Payments", "payments", self.payments_dead)
        self.commands_dead = self._build_dead("CommandsDead", "commands-dlq")
        self.webhooks_dead = self._build_dead("WebhooksDead", "webhooks-dlq")
        self.audit_dead = self._build_dead("AuditDead", "audit-dlq")

    @property
    def dead_letter_queues(self) -> dict[str, sqs.Queue]:
        return {
            "Heartbeats": self.heartbeats_dead,
            "Telemetry": self.telemetry_dead,
            "Charges": self.charges_dead,
            "Watches": self.watches_dead,
            "Payments": self.payments_dead,
            "Commands": self.commands_dead,
            "Webhooks": self.webhooks_dead,
            "Audit": self.audit_dead,
        }

    def _build(self, construct_id: str, name: str, dead: sqs.Queue, *, fifo: bool | None = None) -> sqs.Queue:
        return sqs.Queue(
            self,
            construct_id,
            queue_name=f"{self._prefix}-{name}",
            fifo=fifo,
            # Of accounts, not of the queue: 10,000 rentals are charged each minute.
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP if fifo else None,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID if fifo else None,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=self._enforce_tls,
            retention_period=SOURCE_RETENTION,
            visibility_timeout=VISIBILITY_TIMEOUT,
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=MAX_RECEIVES),
        )

    def _build_dead(self, construct_id: str, name: str, *, fifo: bool | None = None) -> sqs.Queue:
        return sqs.Queue(
            self,
            construct_id,
            queue_name=f"{self._prefix}-{name}",
            fifo=fifo,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=self._enforce_tls,
            retention_period=DEAD_LETTER_RETENTION,
        )
