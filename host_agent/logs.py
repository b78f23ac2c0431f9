"""One JSON object a line on standard error. Never a tenant's command, environment or process name."""

import json
import logging
import sys
import time
from typing import Any

_ROOT = "host_agent"


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(_ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def log(level: int, event: str, **fields: object) -> None:
    logging.getLogger(_ROOT).log(level, event, extra={"fields": fields})


def info(event: str, **fields: object) -> None:
    log(logging.INFO, event, **fields)


def warn(event: str, **fields: object) -> None:
    log(logging.WARNING, event, **fields)


def crash(event: str, **fields: object) -> None:
    """Log inside an ``except`` block, with the traceback."""
    logging.getLogger(_ROOT).error(event, exc_info=sys.exc_info(), extra={"fields": fields})
