"""The score of a host and of a pool, and the host that fails too often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.fleet.health import GpuFault, find_fault
from chalicelib.fleet.model import set_fault
from chalicelib.fleet.operations import uncordon_host
from chalicelib.fleet.reliability import (
    DAY_MS,
    MINUTE_MS,
    PPM,
    WINDOW_MS,
    add_downtime,
    compute_pool_reliability_ppm,
    compute_reliability_ppm,
)
from chalicelib.fleet.scores import refresh_pool_scores, score_host
from chalicelib.fleet.service import list_moved
from tests.factories import GPU_TYPE, REGION, add_host
from tests.unit.fleet.watching import Watched

NOW = 1_800_000_000_000


def score(downtime_ms, *, age_ms=WINDOW_MS, since=None, planned=()):
    return compute_reliability_ppm(
        downtime_ms,
        created_at_ms=NOW - age_ms,
        silent_since_ms=since,
        now_ms=NOW,
        planned_ms=planned,
    )


def test_the_score_is_runpods_formula_over_thirty_days():
    down = add_downtime({}, NOW - 100 * MINUTE_MS, NOW)
    assert score(down) == (43_200 - 100 + 10) * PPM // 43_200
    assert score({}) == score(add_downtime({}, NOW - 10 * MINUTE_MS, NOW)) == PPM
    assert score(add_downtime({}, NOW - DAY_MS, NOW), age_ms=DAY_MS) == 10 * PPM // 1_440
    # A silence that lasts counts until now.
    assert score({}, since=NOW - 100 * MINUTE_MS) == score(down)
    assert score({"2000-01-01": WINDOW_MS}) == PPM


def test_announced_maintenance_is_no_downtime():
    planned = ((NOW - 90 * MINUTE_MS, NOW - 30 * MINUTE_MS),)
    assert sum(add_downtime({}, NOW - 100 * MINUTE_MS, NOW, planned).values()) == 40 * MINUTE_MS
    assert score({}, since=NOW - 100 * MINUTE_MS, planned=planned) == (43_200 - 30) * PPM // 43_200


spans = st.tuples(st.integers(-40 * DAY_MS, 0), st.integers(0, 10 * DAY_MS)).map(
    lambda span: (NOW + span[0], NOW + span[0] + span[1])
)


@given(st.lists(spans, max_size=8), st.lists(spans, max_size=4))
def test_days_add_up_to_the_spans_and_the_score_stays_in_its_bounds(silences, planned):
    days = {}
    for start, end in sorted(silences, key=lambda span: span[1]):
        before = sum(days.values())
        grown = add_downtime(days, start, end, tuple(planned))
        left_out = sum(ms for day, ms in days.items() if day not in grown)
        covered = end - max(start, end - WINDOW_MS)
        assert 0 <= sum(grown.values()) - (before - left_out) <= covered
        if not planned:
            assert sum(grown.values()) - (before - left_out) == covered
        days = grown
        assert len(days) <= 62
        assert all(ms > 0 for ms in days.values())
    assert 0 <= score(days, planned=tuple(planned)) <= PPM


def test_a_pools_score_weighs_its_hosts_by_their_gpus():
    assert compute_pool_reliability_ppm([(PPM, 8), (500_000, 8)]) == (750_000, 16)
    assert compute_pool_reliability_ppm([(PPM, 3), (0, 1)]) == (750_000, 4)
    assert compute_pool_reliability_ppm([]) is None


@pytest.fixture
def watched():
    return Watched()


def test_a_silence_is_counted_by_the_clock_of_the_queue_once_it_ends(watched):
    host_id = watched.hosts[0]
    heard_ms = watched.heartbeat(host_id).last_seen_at_ms
    watched.up.discard(host_id)
    watched.run(1_200)
    now_ms = watched.cloud.clock.now_ms()
    open_score = score_host(watched.host(host_id), watched.heartbeat(host_id), now_ms)
    assert open_score.reliability_ppm < PPM
    watched.up.add(host_id)
    watched.run(60)
    back_ms = heard_ms + 1_210_000
    assert sum(watched.host(host_id).downtime_ms.values()) == back_ms - heard_ms
    assert watched.heartbeat(host_id).suspect_since_ms is None
    watched.run(600)
    assert sum(watched.host(host_id).downtime_ms.values()) == back_ms - heard_ms


def test_a_suspect_that_was_never_lost_is_down_too_and_a_short_pause_is_not(watched):
    host_id = watched.hosts[0]
    watched.up.discard(host_id)
    watched.run(20)
    watched.up.add(host_id)
    watched.run(20)
    assert watched.host(host_id).downtime_ms == {}
    watched.up.discard(host_id)
    watched.run(40)
    watched.up.add(host_id)
    watched.run(20)
    assert watched.host(host_id).state == "active"
    assert sum(watched.host(host_id).downtime_ms.values()) == 50_000


def test_nobody_is_down_while_the_watch_was_blind(watched):
    watched.up.clear()
    watched.run(600)
    watched.up = set(watched.hosts)
    watched.run(60)
    assert all(watched.host(host_id).downtime_ms == {} for host_id in watched.hosts)


def test_the_pools_score_is_stored_for_those_who_sell_it(watched):
    add_host(watched.seeded, "big", 12)
    host_id = watched.hosts[0]
    watched.up.discard(host_id)
    watched.run(86_400 // 12, ticks=False)
    watched.run(60)
    store, now_ms = watched.cloud.watch_store, watched.cloud.clock.now_ms()
    pools = [(GPU_TYPE, REGION), (GPU_TYPE, REGION), (GPU_TYPE, "nowhere")]
    assert refresh_pool_scores(watched.cloud.fleet_store, store, pools, now_ms) == 1
    found = store.get_pool_score(GPU_TYPE, REGION)
    lost = score_host(watched.host(host_id), watched.heartbeat(host_id), now_ms).reliability_ppm
    assert 0 < lost < PPM
    assert (found.reliability_ppm, found.gpus) == ((24 * PPM + 4 * lost) // 28, 28)
    assert store.get_pool_score(GPU_TYPE, "nowhere") is None


# A host that fails too often.
def break_gpu(watched, host_id, *, code=119, error_class="C", ago_days=0, index=0):
    cloud, uuid = watched.cloud, watched.gpus(host_id)[index].gpu.gpu_uuid
    at_ms = cloud.clock.now_ms() - ago_days * DAY_MS
    host, gpus = watched.host(host_id), watched.gpus(host_id)
    changed, changed_gpus = set_fault(host, gpus, uuid, GpuFault(code, error_class, at_ms, "k", at_ms))
    tx = cloud.db.begin()
    cloud.fleet_store.replace_health(tx, host, changed, list_moved(gpus, changed_gpus))
    tx.commit()


def test_the_third_hardware_incident_in_thirty_days_cordons_the_host(watched):
    host_id = watched.hosts[0]
    for ago_days, index in ((40, 0), (20, 1), (10, 2)):
        break_gpu(watched, host_id, ago_days=ago_days, index=index)
    assert watched.host(host_id).cordon is None
    assert score_host(watched.host(host_id), None, watched.cloud.clock.now_ms()).lemon_score == 2
    break_gpu(watched, host_id, index=3)
    host = watched.host(host_id)
    assert (host.state, host.cordon.automatic) == ("draining", True)
    assert "3 hardware incidents" in host.cordon.reason
    assert watched.incidents.count("gpu_fault") == 4
    assert watched.incidents.count("host_cordoned") == 1
    opened = uncordon_host(watched.cloud.operations, watched.seeded.operator, host_id)
    assert (opened.state, opened.hardware_incidents_ms) == ("active", ())


def test_one_cause_on_several_gpus_is_one_incident_and_a_tenants_errors_are_none(watched):
    host_id = watched.hosts[0]
    for index in range(4):
        break_gpu(watched, host_id, index=index)
    break_gpu(watched, watched.hosts[1], code=31, error_class="B")
    assert watched.host(host_id).cordon is None
    assert len(watched.host(host_id).hardware_incidents_ms) == 1
    assert watched.host(watched.hosts[1]).hardware_incidents_ms == ()


def test_a_gpu_that_needs_a_second_reset_within_a_day_is_broken_hardware():
    def fault(at_ms, code=119, error_class="C", **facts):
        return GpuFault(code, error_class, at_ms, "k2", at_ms, **facts)

    first = fault(NOW, cleared_at_ms=NOW + 1)
    assert find_fault(first, fault(NOW + DAY_MS - 1)).error_class == "F"
    assert find_fault(first, fault(NOW + DAY_MS)).error_class == "C"
    assert find_fault(first, fault(NOW + DAY_MS - 1, 79, "D")).error_class == "F"
    # Repaired hardware, or the fabric: what was mended by hand is judged anew.
    mended = fault(NOW, 54, "F", cleared_at_ms=NOW + 1)
    assert find_fault(mended, fault(NOW + 5)).error_class == "C"


def test_the_third_return_of_one_error_has_spent_its_reboots():
    standing = GpuFault(79, "D", NOW, "k", 1, cleared_at_ms=NOW + 1)
    classes = []
    for week in range(1, 4):
        at_ms = NOW + week * 7 * DAY_MS
        found = find_fault(standing, GpuFault(79, "D", at_ms, f"k{week}", 1))
        classes.append(found.error_class)
        standing = GpuFault(79, found.error_class, at_ms, f"k{week}", 1, at_ms + 1, found.repeats)
    assert classes == ["D", "D", "F"]
