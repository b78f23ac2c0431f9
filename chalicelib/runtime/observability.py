"""One structured log line per event, on stderr, and the few numbers that alarms look at.

Log fields never hold secrets or bodies; what gets into one all the same, with the message of an error, leaves
as its kind alone (`chalicelib.runtime.scrubbing`). Metrics are lines of CloudWatch's embedded format, on
stdout.
"""

import sys
from functools import cache

from aws_lambda_powertools import Logger

from chalicelib.runtime.scrubbing import serialize

METRICS_NAMESPACE = "Provocative"


@cache
def get_logger() -> Logger:
    """The process's logger; level and service come from LOG_LEVEL and POWERTOOLS_SERVICE_NAME."""
    return Logger(stream=sys.stderr, utc=True, json_serializer=serialize)


def put_metrics(stage: str, **values: int) -> None:
    """Say how it stands now; whatever looks at a metric takes the highest of a minute."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    for name, value in values.items():
        with single_metric(
            name=name,
            unit=MetricUnit.Count,
            value=value,
            namespace=METRICS_NAMESPACE,
            default_dimensions={"stage": stage},
        ):
            pass
