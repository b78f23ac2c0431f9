"""The UK's API, Electricity Maps and WattTime over HTTP, on loopback and nowhere else.

Figures are those of a curve over the day, the same at each asking; faults are knobs.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

HOST = "127.0.0.1"
TOKEN = "token-of-the-simulator"  # noqa: S105  # it opens nothing
USERNAME = PASSWORD = "simulator"  # noqa: S105  # pragma: allowlist secret (it opens nothing)
Fault = Literal["garbage", "error", "empty", "stale", "too_large", "denied"]
HALF_HOUR, HOUR, FIVE_MINUTES = timedelta(minutes=30), timedelta(hours=1), timedelta(minutes=5)
DAY = timedelta(days=1)
_TOO_LARGE = 2 << 20


def draw_grams(zone: str, moment: datetime) -> int:
    """Return g/kWh: lowest at 03:00 UTC, highest at 15:00, at a level that the zone's name gives."""
    level = 60 + sum(zone.encode()) % 300
    hours = abs((moment.hour * 60 + moment.minute) / 60 - 15)
    return level + round(level * (12 - min(hours, 24 - hours)) / 24)


@dataclass
class GridSimulator:
    """The WSGI application. ``faults``: what each provider does wrong, by its name, until it is taken away.

    ``revised`` adds grams to every figure, as when a provider corrects itself.
    """

    now: Callable[[], datetime] = field(default_factory=lambda: lambda: datetime.now(UTC))
    faults: dict[str, Fault] = field(default_factory=dict)
    revised: int = 0
    estimated: bool = False
    requests: list[str] = field(default_factory=list)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        path = request.path
        self.requests.append(path)
        provider = _find_provider(path)
        fault = self.faults.get(provider)
        failure = _fail(fault) or _refuse(provider, request)
        if failure is not None:
            return failure
        now = self.now() - (DAY if fault == "stale" else timedelta())
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()}
        if path == "/login":
            document: dict[str, Any] = {"token": TOKEN}
        elif provider == "uk_carbon_intensity":
            document = self._answer_uk(path, now)
        elif provider == "electricity_maps":
            document = self._answer_electricity_maps(path, query, now)
        else:
            document = self._answer_watttime(path, query, now)
        if fault == "empty":
            document = {name: [] if isinstance(value, list) else value for name, value in document.items()}
        return Response(json.dumps(document), mimetype="application/json")

    def _answer_uk(self, path: str, now: datetime) -> dict[str, Any]:
        if not path.startswith("/intensity/"):
            return {"error": {"code": "404 Not Found", "message": "not simulated"}}
        _, _, first, last = path.split("/")
        start = _floor(datetime.fromisoformat(first), HALF_HOUR)
        end = start + 2 * DAY if last == "fw48h" else datetime.fromisoformat(last)
        if self.faults.get("uk_carbon_intensity") == "stale":
            start, end = start - DAY, end - DAY
        rows = []
        for moment in _step(start, end, HALF_HOUR):
            grams = draw_grams("GB", moment) + self.revised
            over = moment + HALF_HOUR <= now
            figures = {"forecast": grams + 5, "actual": grams if over else None, "index": "moderate"}
            rows.append({"from": _minute(moment), "to": _minute(moment + HALF_HOUR), "intensity": figures})
        return {"data": rows}

    def _answer_electricity_maps(self, path: str, query: dict[str, str], now: datetime) -> dict[str, Any]:
        zone, hour = query.get("zone", ""), _floor(now, HOUR)
        made = now.isoformat().replace("+00:00", "Z")
        if path.endswith("/forecast"):
            rows: list[dict[str, Any]] = [
                {"carbonIntensity": draw_grams(zone, each) + 5, "datetime": _instant(each)}
                for each in _step(hour, hour + DAY, HOUR)
            ]
            return {"zone": zone, "forecast": rows, "updatedAt": made, "temporalGranularity": "hourly"}
        history = [
            {
                "zone": zone,
                "carbonIntensity": draw_grams(zone, each) + self.revised,
                "datetime": _instant(each),
                "updatedAt": made,
                "createdAt": made,
                "emissionFactorType": "lifecycle",
                "isEstimated": self.estimated,
                "estimationMethod": "TIME_SLICER_AVERAGE" if self.estimated else None,
            }
            for each in _step(hour - DAY + HOUR, hour + HOUR, HOUR)
        ]
        return {"zone": zone, "history": history, "temporalGranularity": "hourly"}

    def _answer_watttime(self, path: str, query: dict[str, str], now: datetime) -> dict[str, Any]:
        region, step = query["region"], FIVE_MINUTES
        meta: dict[str, Any] = {
            "data_point_period_seconds": 300,
            "region": region,
            "warnings": [],
            "signal_type": query["signal_type"],
            "model": {"date": "2023-03-01"},
            "units": "lbs_co2_per_mwh",
        }
        start = _floor(now, step)
        if path.endswith("/forecast"):
            meta |= {"generated_at_period_seconds": 300, "generated_at": start.isoformat()}
            moments = _step(start, start + DAY, step)
        else:
            first = min(datetime.fromisoformat(query["start"]), start - HOUR)
            moments = _step(_floor(first, step), min(start, datetime.fromisoformat(query["end"])), step)
        rows = [
            {
                "point_time": each.isoformat(),
                "value": float(2 * draw_grams(region, each) + self.revised) + 0.5,
            }
            for each in moments
        ]
        return {"data": rows, "meta": meta}


@dataclass(frozen=True, slots=True)
class RunningGrid:
    simulator: GridSimulator
    url: str


@contextlib.contextmanager
def run_grid(simulator: GridSimulator | None = None) -> Iterator[RunningGrid]:
    """Serve the simulator on a free port of loopback."""
    simulator = simulator or GridSimulator()
    server = make_server(HOST, 0, simulator, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield RunningGrid(simulator, f"http://{HOST}:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_arguments: Any, **_named: Any) -> None:
        """What is asked is in ``requests``."""


def _find_provider(path: str) -> str:
    if path.startswith("/v3/carbon-intensity/"):
        return "electricity_maps"
    return "watttime" if path.startswith(("/v3/", "/login")) else "uk_carbon_intensity"


def _fail(fault: Fault | None) -> Response | None:
    if fault == "garbage":
        return Response("<html>Bad gateway</html>", mimetype="text/html")
    if fault == "too_large":
        return Response(" " * _TOO_LARGE)
    statuses = {"error": HTTPStatus.INTERNAL_SERVER_ERROR, "denied": HTTPStatus.FORBIDDEN}
    return Response("{}", statuses[fault]) if fault in statuses else None


def _refuse(provider: str, request: Request) -> Response | None:
    """The UK's API wants no key."""
    pair = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    if provider == "electricity_maps":
        allowed = request.headers.get("auth-token") == TOKEN
    elif provider == "watttime":
        wanted = f"Basic {pair}" if request.path == "/login" else f"Bearer {TOKEN}"
        allowed = request.headers.get("Authorization") == wanted
    else:
        allowed = True
    return None if allowed else Response("{}", HTTPStatus.UNAUTHORIZED)


def _step(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += step


def _floor(moment: datetime, step: timedelta) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // step * step


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
