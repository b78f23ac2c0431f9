"""Alarms: what waits for a person. Each is described in docs/runbook.md."""

from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from chalicelib.runtime.observability import METRICS_NAMESPACE


@dataclass(frozen=True, slots=True)
class Watched:
    """An alarm on a metric of `put_metrics`: so high at every minute of ``minutes``."""

    name: str
    metric: str
    means: str
    threshold: int = 1
    minutes: int = 1


WATCHED = (
    Watched("StormBrake", "regions_braked", "many hosts are silent at once and nothing is failed over"),
    # Shorter than that it is a deployment, or a queue that was slow for a moment.
    Watched("RegionBlind", "regions_blind", "no heartbeat of a region is processed", minutes=3),
    Watched("InstancesNotEnding", "instances_not_ending", "EC2 has not confirmed an end within 15 minutes"),
    Watched("PoolsBlind", "pools_blind", "EC2's list of a pool's instances cannot be believed", minutes=5),
    Watched(
        "OldestWait", "oldest_wait_seconds", "a rental has waited for an hour", threshold=3600, minutes=5
    ),
    Watched(
        "WebhooksOverdue",
        "oldest_webhook_overdue_seconds",
        "an event waits to be delivered",
        threshold=600,
        minutes=5,
    ),
    Watched(
        "ForeignPayments", "foreign_payments", "Stripe has a payment or an order that we did not ask for"
    ),
    Watched("StripeDrift", "stripe_drift_cents", "the ledger and Stripe's balance differ"),
    Watched("RefillsFailed", "refills_failed", "auto top-ups cannot be carried out", minutes=15),
    Watched("RemovalsOverdue", "removals_overdue", "removals are planned for hours and not ordered"),
    Watched("StatementsFailed", "statements_failed", "a month that is over cannot be issued"),
    Watched(
        "LedgerTampered", "ledger_rows_tampered", "somebody changed or removed what stands in the ledger"
    ),
    Watched("SealMismatch", "seal_mismatches", "wallets or ledger contradict what was sealed"),
    Watched("LedgerNotSealed", "days_unsealed", "days are over and not sealed", threshold=2),
    Watched(
        "AuditTampered", "audit_rows_tampered", "somebody changed or removed an entry of the audit trail"
    ),
    Watched("AuditContradicted", "audit_problems", "the audit trail contradicts its chains or its anchors"),
    Watched("AuditNotLinked", "audit_entries_overdue", "entries of the audit trail were not linked in time"),
    Watched(
        "AuditAnchorMismatch", "audit_anchor_mismatches", "a chain or an anchor contradicts what is kept"
    ),
    Watched(
        "AuditNotAnchored", "audit_anchor_age_minutes", "no heads of the audit trail are kept", threshold=180
    ),
    Watched(
        "AuditNotVerified", "audit_verification_age_minutes", "the audit trail is not verified", threshold=180
    ),
    Watched("StripeEventsMissed", "stripe_events_missed", "webhooks of Stripe do not arrive", threshold=10),
    Watched("CarbonReportsFailed", "carbon_reports_failed", "a carbon report that is due cannot be made"),
    Watched("PrivacyFailed", "privacy_requests_failed", "an export or an erasure cannot be done", minutes=30),
    Watched("GridFailing", "grid_series_failing", "a provider of grid intensity gives no figure for long"),
    Watched(
        "PromisesAtRisk", "reservations_at_risk", "a host cannot keep a reservation, and no other has room"
    ),
)


class Alarms(Construct):
    """``scale_pools_name`` is the function that scales; ``stage`` keeps those of one account apart."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        dead: dict[str, sqs.Queue],
        stage: str,
        scale_pools_name: str,
    ) -> None:
        super().__init__(scope, construct_id)
        minute = Duration.minutes(1)
        for name, queue in dead.items():
            metric = queue.metric_approximate_number_of_messages_visible(period=minute, statistic="Maximum")
            self._add(f"{name}DeadLetters", metric, f"{name}: a message could not be processed")
        for each in WATCHED:
            own = cloudwatch.Metric(
                namespace=METRICS_NAMESPACE,
                metric_name=each.metric,
                dimensions_map={"stage": stage},
                period=minute,
                statistic="Maximum",
            )
            self._add(each.name, own, each.means, each.threshold, each.minutes)
        errors = cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions_map={"FunctionName": scale_pools_name},
            period=minute,
            statistic="Sum",
        )
        self._add("ScalingFails", errors, "a pool could not be scaled, minute after minute", minutes=3)

    def _add(
        self, name: str, metric: cloudwatch.IMetric, means: str, threshold: int = 1, minutes: int = 1
    ) -> None:
        cloudwatch.Alarm(
            self,
            name,
            alarm_description=f"{means}; see docs/runbook.md",
            metric=metric,
            threshold=threshold,
            evaluation_periods=minutes,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
