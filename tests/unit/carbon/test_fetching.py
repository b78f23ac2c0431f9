"""Every series is asked for by itself; what fails is recorded, waited for, and never in another's way."""

import pytest

from chalicelib.carbon.fetching import MANY_FAILURES, back_off, count_failing, fetch_intensities
from chalicelib.carbon.grid import ELECTRICITY_MAPS, UK, WATTTIME
from chalicelib.carbon.intensity import HOUR_MS, MINUTE_MS, ProviderUnreachable, keep_latest
from chalicelib.carbon.ports import MAX_DELAY_MS, FetchState, GridPorts
from tests.fakes.database import START_MS, FakeClock, MemoryDatabase
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import GB, GERMANY, SWEDEN, simulate

REGIONS = ["eu-central-1", "eu-west-2", "nowhere-1"]
LATER = START_MS + 10**9


class Setting:
    def __init__(self, clock, simulator, providers):
        self.clock, self.simulator = clock, simulator
        self.store = FakeIntensityStore(MemoryDatabase())
        self.providers = dict(providers)
        self.ports = GridPorts(self.store, clock, lambda: self.providers)

    def fetch(self, regions=REGIONS, deadline_ms=LATER):
        return fetch_intensities(self.ports, regions, deadline_ms)

    def state(self, series, kind="actual"):
        return next(each for each in self.store.list_states() if (each.series, each.kind) == (series, kind))


@pytest.fixture
def setting():
    clock = FakeClock()
    with simulate(clock) as (simulator, providers):
        yield Setting(clock, simulator, providers)


def test_a_run_stores_a_day_of_every_series_and_its_forecasts_and_the_next_what_is_new(setting):
    done = setting.fetch()
    assert (done.failed, done.refused, done.left) == ([], 0, 0)
    assert len(setting.store.list_actuals(GB, 0, LATER)) == 48
    assert setting.store.find_forecast(GERMANY, START_MS) is not None
    # Germany and Great Britain: UK, two of Electricity Maps, two signals of WattTime each; both kinds.
    assert len(setting.store.list_states()) == 14
    before = len(setting.store.list_actuals(GERMANY, 0, LATER))
    assert setting.fetch().stored == 0
    setting.clock.advance_seconds(3600)
    setting.fetch()
    assert len(setting.store.list_actuals(GERMANY, 0, LATER)) == before + 1


def test_regions_on_one_grid_are_asked_for_once(setting):
    setting.providers = {ELECTRICITY_MAPS: setting.providers[ELECTRICITY_MAPS]}
    setting.fetch(["us-east-1", "us-east-2"])
    assert setting.simulator.requests == ["/v3/carbon-intensity/history", "/v3/carbon-intensity/forecast"]


def test_a_stage_without_keys_asks_nobody(setting):
    setting.providers = {}
    assert setting.fetch().stored == 0
    assert setting.simulator.requests == []


def test_what_a_provider_corrects_is_kept_beside_what_it_said(setting):
    setting.fetch()
    setting.simulator.revised = 7
    setting.fetch()
    both = setting.store.list_actuals(GB, START_MS - HOUR_MS, START_MS - HOUR_MS + 1)
    assert [each.revision for each in both] == [0, 1]
    assert both[1].mg_co2e_per_kwh - both[0].mg_co2e_per_kwh == 7_000
    assert keep_latest(both) == [both[1]]


@pytest.mark.parametrize("fault", ["garbage", "error", "empty", "stale", "too_large", "denied"])
def test_a_provider_that_fails_leaves_its_reason_and_no_figure_and_the_others_go_on(setting, fault):
    setting.simulator.faults[UK] = fault
    done = setting.fetch()
    reasons = {"garbage": "not_json", "error": "http_500"}
    assert (UK, "GB", "average", "actual", reasons.get(fault, fault)) in done.failed
    assert {each[0] for each in done.failed} == {UK}
    assert setting.store.list_actuals(GB, 0, LATER) == []
    assert setting.store.list_actuals(GERMANY, 0, LATER)
    state = setting.state(GB)
    assert (state.failures, state.next_attempt_ms > START_MS, state.succeeded_at_ms) == (1, True, None)


def test_who_fails_is_asked_less_and_less_often_and_at_once_again_after_a_success(setting):
    setting.simulator.faults[UK] = "error"
    setting.providers = {UK: setting.providers[UK]}
    setting.fetch()
    asked = len(setting.simulator.requests)
    setting.clock.advance_seconds(299)
    setting.fetch()
    assert len(setting.simulator.requests) == asked
    setting.clock.advance_seconds(1)
    setting.fetch()
    assert len(setting.simulator.requests) == asked + 2
    assert setting.state(GB).next_attempt_ms - setting.clock.now_ms() == 10 * MINUTE_MS
    setting.simulator.faults.clear()
    setting.clock.advance_seconds(600)
    setting.fetch()
    assert (setting.state(GB).failures, setting.state(GB).reason) == (0, None)
    assert setting.state(GB).next_attempt_ms <= setting.clock.now_ms()


def test_the_wait_doubles_up_to_its_limit():
    state, waits = FetchState(GB, "actual"), []
    for _ in range(40):
        state = back_off(state, "timeout", START_MS)
        waits.append((state.next_attempt_ms - START_MS) // MINUTE_MS)
    assert waits[:7] == [5, 10, 20, 40, 80, 160, 320]
    assert set(waits[7:]) == {MAX_DELAY_MS // MINUTE_MS}
    assert state.failures == 40


def test_a_series_counts_as_failing_after_many_failures_of_its_figures_and_not_of_forecasts(setting):
    setting.store.put_state(FetchState(GB, "actual", failures=MANY_FAILURES - 1))
    setting.store.put_state(FetchState(GERMANY, "forecast", failures=99))
    assert count_failing(setting.ports) == 0
    setting.store.put_state(FetchState(SWEDEN, "actual", failures=MANY_FAILURES))
    assert count_failing(setting.ports) == 1


def test_what_there_was_no_time_for_comes_first_in_the_next_run(setting):
    class Slow:
        """Takes 20 s, and then fails."""

        def __init__(self, clock):
            self.clock, self.asked = clock, []

        def fetch_actuals(self, series, _from_ms, _until_ms):
            self.asked.append(series.zone)
            self.clock.advance_seconds(20)
            raise ProviderUnreachable("timeout")

        def fetch_forecast(self, series):
            return self.fetch_actuals(series, 0, 0)

    slow = Slow(setting.clock)
    setting.providers = {ELECTRICITY_MAPS: slow, WATTTIME: slow}
    done = setting.fetch(["eu-central-1", "eu-north-1"], START_MS + 35_000)
    assert (len(done.failed), done.left) == (2, 10)
    setting.clock.advance_seconds(900)
    done = setting.fetch(["eu-central-1", "eu-north-1"], setting.clock.now_ms() + 35_000)
    assert len(setting.store.list_states()) == 4
    assert all(each.failures == 1 for each in setting.store.list_states())
