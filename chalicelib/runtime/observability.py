"""One structured log line per event, on stderr. Log fields never hold secrets or bodies."""

import sys
from functools import cache

from aws_lambda_powertools import Logger


@cache
def get_logger() -> Logger:
    """The process's logger; level and service come from LOG_LEVEL and POWERTOOLS_SERVICE_NAME."""
    return Logger(stream=sys.stderr)
