"""What importing the API costs, in fresh interpreters."""

import ast
import statistics
import subprocess
import sys

#: What every API of this kind pays, whatever its own code: the base of the ratio.
FRAMEWORKS = "import chalice, pydantic, pynamodb.models; from aws_lambda_powertools import Logger"
#: What Lambda imports for the API (`tests/unit/infra/test_template.py` holds the template to it).
ENTRY_POINT = "import chalicelib.entrance"
#: What a first start loads beside: its slice, and the stores of what it touches.
FIRST_START = (
    f"{ENTRY_POINT}, chalicelib.rentals.api, pynamodb.models\n"
    "from chalicelib.rentals import store\n"
    "from chalicelib.fleet import store, candidate_store\n"
    "from chalicelib.billing import store\n"
    "from chalicelib.catalog import store\n"
    "from chalicelib.accounts import store"
)
_MEASURE = """
import resource, sys
{statement}
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""
#: Modules that the API path must not load: each is a known cost of its cold start.
FORBIDDEN = (
    "stripe",
    "boto3",
    "requests",
    "pydantic_settings",
    "aws_lambda_powertools.utilities.batch",
    "aws_lambda_powertools.utilities.idempotency",
    "aws_lambda_powertools.utilities.parser",
)


def measure_cpu_seconds(statement: str) -> float:
    """Return the CPU time of a fresh interpreter that runs ``statement``."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE.format(statement=statement)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def measure_import_ratio(rounds: int = 11, statement: str = ENTRY_POINT) -> float:
    """Return the median CPU of an import over that of the API's frameworks alone, taken in turns."""
    for warm_up in (FRAMEWORKS, statement):
        measure_cpu_seconds(warm_up)
    pairs = [(measure_cpu_seconds(statement), measure_cpu_seconds(FRAMEWORKS)) for _ in range(rounds)]
    return statistics.median(own for own, _ in pairs) / statistics.median(base for _, base in pairs)


def list_forbidden(statement: str = ENTRY_POINT, forbidden: tuple[str, ...] = FORBIDDEN) -> list[str]:
    """Return those of ``forbidden`` that ``statement`` loads."""
    code = f"{statement}\nimport sys\nprint([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found: list[str] = ast.literal_eval(done.stdout)
    return found
