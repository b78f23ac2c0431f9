"""Payments: Stripe, its secrets, its events."""

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.rentals import billing_ports
from chalicelib.wiring.statements import statement_ports
from chalicelib.wiring.system import aws_client, bind_tables, clock, settings, sqs_client

if TYPE_CHECKING:
    from chalicelib.payments.ports import PaymentPorts, ResidualReader, StripeSecrets
    from chalicelib.payments.stripe_gateway import StripePayments
    from chalicelib.runtime.secrets import CachedSecret

#: The stage on a laptop, whose Stripe is the simulator. No other stage looks at ``api_base``.
LOCAL_STAGE = "local"


@cache
def _stripe_secret() -> "CachedSecret":
    from chalicelib.runtime.secrets import CachedSecret

    return CachedSecret(aws_client("secretsmanager"), settings().stripe_secret_id, clock())


def _read_stripe() -> dict[str, Any]:
    """Raises PaymentsNotConfigured: an operator has not set the keys."""
    from chalicelib.payments.ports import PaymentsNotConfigured

    found: dict[str, Any] = json.loads(_stripe_secret().read())
    if not found.get("api_key") or not found.get("webhook_secrets"):
        raise PaymentsNotConfigured("This stage takes no payments yet: its Stripe keys are not set.")
    return found


def read_stripe_secrets() -> "StripeSecrets":
    from chalicelib.payments.ports import StripeSecrets

    found = _read_stripe()
    return StripeSecrets(tuple(found["webhook_secrets"]), livemode="_live_" in found["api_key"])


def connect_stripe() -> "StripePayments":
    from chalicelib.payments.stripe_gateway import connect

    found = _read_stripe()
    api_base = found.get("api_base") if settings().stage == LOCAL_STAGE else None
    return connect(found["api_key"], api_base, taxed=found.get("tax") is True)


def residual_reader() -> "ResidualReader":
    from chalicelib.reporting.content_gateway import JsonContents
    from chalicelib.reporting.residuals import MonthlyResiduals
    from chalicelib.reporting.store import DynamoReportStore

    return MonthlyResiduals(DynamoReportStore(), statement_ports().documents, JsonContents(), clock())


@cache
def payment_ports() -> "PaymentPorts":
    from chalicelib.payments.ports import ClimatePorts, PaymentPorts
    from chalicelib.payments.purchase_store import DynamoPurchaseStore
    from chalicelib.payments.queue_gateway import SqsEventQueue
    from chalicelib.payments.store import DynamoPaymentStore

    bind_tables()
    queue = SqsEventQueue(sqs_client(), settings().payments_queue_url)
    climate = ClimatePorts(DynamoPurchaseStore(), connect_stripe, residual_reader())
    return PaymentPorts(
        DynamoPaymentStore(), billing_ports(), queue, connect_stripe, read_stripe_secrets, climate
    )
