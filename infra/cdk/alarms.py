"""Alarms: what waits for a person. Each is described in docs/runbook.md, and tells one topic."""

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from chalicelib.runtime.observability import METRICS_NAMESPACE


@dataclass(frozen=True, slots=True)
class Watched:
    """An alarm on a metric of `put_metrics`: so high in every run of ``minutes``.

    ``every_minutes``: how often a run puts it, where more than one run counts.
    """

    name: str
    metric: str
    means: str
    threshold: int = 1
    minutes: int = 1
    every_minutes: int = 1


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
    Watched(
        "PrivacyFailed",
        "privacy_requests_failed",
        "an export or an erasure cannot be done",
        minutes=30,
        every_minutes=5,
    ),
    Watched("NoticesUntold", "notices_untold", "a person was not told of a change to their account"),
    Watched("GridFailing", "grid_series_failing", "a provider of grid intensity gives no figure for long"),
    Watched(
        "PromisesAtRisk", "reservations_at_risk", "a host cannot keep a reservation, and no other has room"
    ),
)


#: A run that fails is tried twice more, after one minute and two; a batch, until it is put aside.
FAILED_MINUTES = 3
#: So many minutes are looked at: the tries of a run that takes its five minutes are among them.
FAILURES_MINUTES = 15
#: Whoever calls these has no second try made for them.
BY_HAND = frozenset({"BootstrapInstallation", "VerifySeals"})


class Alarms(Construct):
    """``functions``: each function and the name that it gets; ``stage`` keeps those of one account apart."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        dead: Mapping[str, sqs.Queue],
        stage: str,
        prefix: str,
        enforce_tls: bool,
        functions: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = self._add_topic(prefix, enforce_tls=enforce_tls)
        minute = Duration.minutes(1)
        for name, queue in dead.items():
            metric = queue.metric_approximate_number_of_messages_visible(period=minute, statistic="Maximum")
            self._add(f"{name}DeadLetters", metric, f"{name}: a message could not be processed")
        for each in WATCHED:
            own = cloudwatch.Metric(
                namespace=METRICS_NAMESPACE,
                metric_name=each.metric,
                dimensions_map={"stage": stage},
                period=Duration.minutes(each.every_minutes),
                statistic="Maximum",
            )
            self._add(each.name, own, each.means, each.threshold, each.minutes // each.every_minutes)
        for function, function_name in functions.items():
            errors = cloudwatch.Metric(
                namespace="AWS/Lambda",
                metric_name="Errors",
                dimensions_map={"FunctionName": function_name},
                period=minute,
                statistic="Sum",
            )
            if function == "ScalePools":
                self._add("ScalingFails", errors, "a pool could not be scaled, minute after minute", runs=3)
            elif function in BY_HAND:
                self._add(f"{function}Fails", errors, f"{function} failed")
            else:
                means = f"{function} fails again and again"
                self._add(f"{function}Fails", errors, means, runs=FAILED_MINUTES, of=FAILURES_MINUTES)

    def _add_topic(self, prefix: str, *, enforce_tls: bool) -> sns.Topic:
        """Who is called subscribes to it by hand: addresses of people are in no template.

        Not encrypted by a key of ours: what it carries is an alarm's name, its description and numbers.
        """
        topic = sns.Topic(self, "Topic", topic_name=f"{prefix}-alarms", enforce_ssl=enforce_tls)
        # A policy of one's own takes the place of the one that lets an account's alarms in.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            )
        )
        return topic

    def _add(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        means: str,
        threshold: int = 1,
        runs: int = 1,
        of: int | None = None,
    ) -> None:
        """Ring when ``runs`` of the last periods are so high.

        ``of``: how many are looked at. Where several runs count, one more than they are: a run that is late
        leaves one out.
        """
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_description=f"{means}; see docs/runbook.md",
            metric=metric,
            threshold=threshold,
            datapoints_to_alarm=runs,
            evaluation_periods=of or (runs if runs == 1 else runs + 1),
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))
