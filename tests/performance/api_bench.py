"""``make bench-api``: what it costs to be let in, and what the API's document loads. Adds to bench.json."""

import ast
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from chalicelib.accounts.service import AccountStore, authenticate, build_key
from chalicelib.accounts.standing import KEPT_MS, Standings, hold_to_standing
from chalicelib.oauth.admission import authenticate_token
from infra.import_contract import SLICES
from infra.local.progress import Progress
from tests.factories import seed_cloud
from tests.fakes.oauth import AuthorizationWorld
from tests.performance.imports import FIRST_START, measure_import_ratio
from tests.unit.oauth.test_admission import give_token

OUTPUT = Path(__file__).resolve().parents[2] / "bench.json"
ROUNDS, WARM_UP = 400, 40
REQUESTS, REQUESTS_PER_SECOND = 300, 10
#: Serves the document as Lambda does, and says which modules of slices that took.
_DOCUMENT = """
import json, sys
from chalicelib import wiring
from chalicelib.core.throttling import POLICIES
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
sys.path.insert(0, "tests/fakes")  # the package would import every slice
from limits import MemoryBuckets
wiring.find_limiter = lambda: Limiter(MemoryBuckets(), SystemClock(), POLICIES)
from chalicelib.entrance import app
event = {event!r}
class Context:
    function_name = "bench"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "bench"
answer = app(event, Context())
assert answer["statusCode"] == 200, answer
assert json.loads(answer["body"])["openapi"].startswith("3.1")
print(sorted(name for name in sys.modules if name.startswith("chalicelib.")))
"""


def main() -> int:
    progress, results = Progress(), {}

    def record(name: str, value: float, unit: str) -> None:
        results[name] = {"value": round(value, 3), "unit": unit}
        progress.say(f"  {name} = {results[name]['value']} {unit}")

    record("jwt_auth_cpu_ms", measure_token_cpu_ms(), "ms")
    key_reads, standing_reads = count_key_reads()
    record("key_auth_dynamodb_reads", key_reads, "reads")
    seconds = KEPT_MS // 1000
    record(f"account_standing_dynamodb_reads_per_{seconds}_s", standing_reads, "reads")
    record("openapi_import_modules", len(list_slice_modules()), "modules")
    record("api_import_ratio", measure_import_ratio(), "ratio")
    record("api_ready_ratio", measure_import_ratio(statement=FIRST_START), "ratio")
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    OUTPUT.write_text(json.dumps(known | results, indent=2) + "\n")
    return 0


def measure_token_cpu_ms() -> float:
    """Return the median CPU of admitting a person's access token, its three items read from memory."""
    world = AuthorizationWorld()
    _, token = give_token(world)
    spent = []
    for number in range(WARM_UP + ROUNDS):
        began = time.thread_time()
        authenticate_token(world.ports, token)
        if number >= WARM_UP:
            spent.append(time.thread_time() - began)
    return statistics.median(spent) * 1000


def count_key_reads() -> tuple[float, float]:
    """Return the reads of a request with a key, and those of its account in the time that one is kept."""
    seeded = seed_cloud()
    ports, clock = seeded.cloud.accounts, seeded.cloud.clock
    issued = build_key(ports, seeded.renter.account_id, "renter", "bench")
    tx = ports.transactions()
    ports.store.add_key(tx, issued.key)
    tx.commit()
    calls = {"get_key": 0, "get_account": 0}

    def count(name: str, store: AccountStore) -> None:
        read = getattr(store, name)

        def counted(*arguments: object) -> object:
            calls[name] += 1
            return read(*arguments)

        setattr(store, name, counted)

    for name in calls:
        count(name, ports.store)
    standings = Standings(ports.store, clock.now_ms)
    for _ in range(REQUESTS):
        hold_to_standing(standings, authenticate(ports, issued.token))
        clock.advance_seconds(1 / REQUESTS_PER_SECOND)
    periods = REQUESTS / REQUESTS_PER_SECOND * 1000 / KEPT_MS
    return calls["get_key"] / REQUESTS, calls["get_account"] / periods


def list_slice_modules() -> list[str]:
    """Return the modules of slices that are loaded to serve ``GET /openapi.json``, in a fresh interpreter."""
    event = {
        "resource": "/openapi.json",
        "path": "/openapi.json",
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": "/openapi.json",
            "requestId": "bench",
            "identity": {"sourceIp": "127.0.0.1"},
            "path": "/openapi.json",
        },
        "body": None,
        "isBase64Encoded": False,
    }
    code = _DOCUMENT.format(event=event)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=OUTPUT.parent, check=True, capture_output=True, text=True
    )
    loaded: list[str] = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    return [name for name in loaded if name.split(".")[1] in SLICES]


if __name__ == "__main__":
    sys.exit(main())
