"""What a provider says is kept in our units, with where it comes from; anything else is refused, not used."""

import contextlib
import json
import threading
from copy import deepcopy
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chalicelib.carbon import http_gateway
from chalicelib.carbon.grid import ELECTRICITY_MAPS, UK, WATTTIME
from chalicelib.carbon.http_gateway import JsonFetcher
from chalicelib.carbon.intensity import (
    HOUR_MS,
    MINUTE_MS,
    WINDOW_MS,
    AnswerRefused,
    ProviderDenied,
    ProviderFailed,
    ProviderUnreachable,
    check_actuals,
    check_forecast,
)
from tests.fakes.database import START_MS, FakeClock
from tests.unit.carbon import replies
from tests.unit.carbon.grids import CALIFORNIA, GB, GERMANY, build_providers, simulate

SERIES = {UK: GB, ELECTRICITY_MAPS: GERMANY, WATTTIME: CALIFORNIA}


class Recorded:
    """A fetcher that answers with what was recorded, after the login; ``asked`` is what was."""

    def __init__(self, document):
        self.document, self.asked = json.loads(json.dumps(document), parse_float=Decimal), []

    def __call__(self, url, headers):
        self.asked.append((url, dict(headers)))
        return {"token": "t"} if url.endswith("/login") else self.document


def ask(provider, document, what="actuals"):
    fetch = Recorded(document)
    gateway = build_providers(FakeClock(), "https://provider", fetch)[provider]
    if what == "forecast":
        return gateway.fetch_forecast(SERIES[provider]), fetch
    return gateway.fetch_actuals(SERIES[provider], START_MS - WINDOW_MS, START_MS), fetch


def change(document, path, value):
    changed = deepcopy(document)
    target = changed
    for step in path[:-1]:
        target = target[step]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return changed


def test_the_uks_half_hours_count_once_they_are_known():
    points, fetch = ask(UK, replies.UK)
    assert [each.mg_co2e_per_kwh for each in points] == [263_000, 255_000]
    assert points[1].valid_until_ms - points[1].valid_from_ms == 30 * MINUTE_MS
    assert points[1].valid_until_ms == START_MS - 30 * MINUTE_MS
    assert not points[0].estimated
    assert fetch.asked[0][0] == "https://provider/intensity/2027-01-14T08:00Z/2027-01-15T08:00Z"
    forecast, fetch = ask(UK, replies.UK, "forecast")
    assert [each.mg_co2e_per_kwh for each in forecast.points] == [266_000, 259_000, 250_000]
    assert forecast.generated_at_ms == START_MS
    assert fetch.asked[0][0] == "https://provider/intensity/2027-01-15T08:00Z/fw48h"


def test_electricity_maps_says_itself_what_it_has_estimated():
    points, fetch = ask(ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS)
    assert [(each.mg_co2e_per_kwh, each.estimated) for each in points] == [(302_000, False), (311_000, True)]
    assert points[1].dataset == "v3/TIME_SLICER_AVERAGE"
    assert "lifecycle" in points[0].method
    url, headers = fetch.asked[0]
    assert url == "https://provider/v3/carbon-intensity/history?zone=DE"
    assert "auth-token" in headers
    forecast, _ = ask(ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS_FORECAST, "forecast")
    assert [each.mg_co2e_per_kwh for each in forecast.points] == [326_000, 297_000]
    assert forecast.generated_at_ms < START_MS


def test_watttime_is_converted_from_pounds_and_keeps_its_model():
    points, fetch = ask(WATTTIME, replies.WATTTIME)
    # 1000.5 lb/MWh * 453.59237 = 453 819.17 mg/kWh.
    assert [each.mg_co2e_per_kwh for each in points] == [394_625, 453_819]
    assert points[0].dataset == "v3/co2_moer/2023-03-01"
    assert points[0].valid_until_ms - points[0].valid_from_ms == 5 * MINUTE_MS
    (login, credentials), (url, headers) = fetch.asked
    assert login == "https://provider/login"
    assert credentials["Authorization"].startswith("Basic ")
    assert "signal_type=co2_moer" in url
    assert headers["Authorization"] == "Bearer t"
    forecast, _ = ask(WATTTIME, replies.WATTTIME_FORECAST, "forecast")
    assert (forecast.generated_at_ms, len(forecast.points)) == (START_MS, 2)


@pytest.mark.parametrize(
    ("provider", "document", "path", "value", "reason"),
    [
        (UK, replies.UK, ["data"], [], "empty"),
        (UK, replies.UK, ["data"], None, "malformed"),
        (UK, replies.UK, ["data", 0, "intensity"], KeyError, "malformed"),
        (UK, replies.UK, ["data", 0, "intensity", "actual"], "263", "malformed"),
        (UK, replies.UK, ["data", 0, "from"], "yesterday", "malformed"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["zone"], "FR", "wrong_zone"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["history", 1, "zone"], "FR", "wrong_zone"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["history"], [], "empty"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["history", 0, "carbonIntensity"], None, "malformed"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["history", 0, "isEstimated"], KeyError, "malformed"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["history", 0, "emissionFactorType"], "x", "malformed"),
        (ELECTRICITY_MAPS, replies.ELECTRICITY_MAPS, ["temporalGranularity"], "daily", "bad_interval"),
        (WATTTIME, replies.WATTTIME, ["meta", "region"], "PJM_DC", "wrong_zone"),
        (WATTTIME, replies.WATTTIME, ["meta", "signal_type"], "co2_aoer", "wrong_signal"),
        (WATTTIME, replies.WATTTIME, ["meta", "units"], "g_co2_per_kwh", "wrong_unit"),
        (WATTTIME, replies.WATTTIME, ["meta"], KeyError, "malformed"),
        (WATTTIME, replies.WATTTIME, ["data"], [], "empty"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_refused_with_a_reason(
    provider, document, path, value, reason
):
    with pytest.raises(AnswerRefused) as refused:
        ask(provider, change(document, path, value))
    assert refused.value.reason == reason


@pytest.mark.parametrize("provider", SERIES)
def test_over_http_a_day_of_figures_and_a_forecast_pass_the_checks(provider):
    clock, series = FakeClock(), SERIES[provider]
    with simulate(clock) as (_, providers):
        points = providers[provider].fetch_actuals(series, START_MS - WINDOW_MS, START_MS)
        checked = check_actuals(points, START_MS)
        forecast = check_forecast(providers[provider].fetch_forecast(series), START_MS)
    assert checked.refused == ()
    assert checked.points[-1].valid_until_ms == START_MS
    assert checked.points[-1].valid_until_ms - checked.points[0].valid_from_ms >= 23 * HOUR_MS
    assert len({each.mg_co2e_per_kwh for each in checked.points}) > 3
    assert forecast.points[-1].valid_until_ms >= START_MS + 24 * HOUR_MS


@pytest.mark.parametrize("provider", SERIES)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("garbage", "not_json"),
        ("error", "http_500"),
        ("empty", "empty"),
        ("stale", "stale"),
        ("too_large", "too_large"),
        ("denied", "denied"),
    ],
)
def test_over_http_every_bad_answer_is_a_failure_with_its_reason(provider, fault, reason):
    clock, series = FakeClock(), SERIES[provider]
    with simulate(clock) as (simulator, providers):
        simulator.faults[provider] = fault
        with pytest.raises(ProviderFailed) as failed:
            check_actuals(providers[provider].fetch_actuals(series, START_MS - WINDOW_MS, START_MS), START_MS)
    assert failed.value.reason == reason


def test_a_provider_that_is_not_there_or_wants_plain_http_is_unreachable():
    with pytest.raises(ProviderUnreachable) as failed:
        JsonFetcher(loopback=True)("http://127.0.0.1:9/intensity", {})
    assert failed.value.reason == "connection_failed"
    with pytest.raises(ProviderUnreachable) as failed:
        JsonFetcher()("http://127.0.0.1:9/intensity", {})
    assert failed.value.reason == "not_https"


def test_a_provider_that_says_a_little_at_a_time_is_left_at_the_deadline():
    instants = iter([0.0, http_gateway.TIMEOUT_SECONDS + 1])
    with serve([b"[", b"1]"]) as url, pytest.raises(ProviderUnreachable) as failed:
        JsonFetcher(loopback=True, now=lambda: next(instants))(url, {})
    assert failed.value.reason == "timeout"


@pytest.mark.parametrize("body", [b"NaN", b'{"value": Infinity}', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_of_the_standard_is_refused(body):
    with serve([body]) as url, pytest.raises(AnswerRefused) as refused:
        JsonFetcher(loopback=True)(url, {})
    assert refused.value.reason == "not_json"


def test_a_token_of_watttime_that_has_expired_is_renewed_once():
    clock = FakeClock()
    with simulate(clock) as (simulator, providers):
        gateway = providers[WATTTIME]
        gateway._token = "expired"
        assert gateway.fetch_actuals(CALIFORNIA, START_MS - WINDOW_MS, START_MS)
        assert simulator.requests == ["/v3/historical", "/login", "/v3/historical"]
        simulator.faults[WATTTIME] = "denied"
        with pytest.raises(ProviderDenied):
            gateway.fetch_actuals(CALIFORNIA, START_MS - WINDOW_MS, START_MS)


@contextlib.contextmanager
def serve(chunks):
    """Answer one request with a body in pieces, each flushed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            for chunk in chunks:
                self.wfile.write(chunk)
                self.wfile.flush()

        def log_message(self, *_arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
