"""What a minute decides, and why it says so."""

from dataclasses import replace

import pytest

from chalicelib.scaling.model import Demand, HostUse, Launch, PoolState, Waiting, move
from chalicelib.scaling.planner import (
    History,
    LaunchDecision,
    TerminateDecision,
    find_backoff_end,
    find_shortage,
    plan,
    score_option,
)
from tests.unit.scaling.cloud import INTENSITY, ON_DEMAND, OTHER_ZONE, POOL, REGION, SETTINGS

NOW = 1_800_000_000_000
LONG_AGO = NOW - 3_600_000
IDLE = HostUse("hst_a", 8, 8, 0, LONG_AGO)
STOOD = History(PoolState(surplus_since_ms=LONG_AGO))


def launch(host_id="hst_a", state="running", option=ON_DEMAND, **changes):
    base = Launch(f"lch_{host_id}", POOL, REGION, host_id, option, state, LONG_AGO, LONG_AGO, "i-1")
    return replace(base, **changes)


def decide(demand=None, launches=(), history=STOOD, settings=SETTINGS):
    return plan(settings, demand or Demand(), launches, history, NOW, INTENSITY)


def failed(option, minutes_ago, **changes):
    at_ms = NOW - minutes_ago * 60_000
    return launch(
        f"hst_f{minutes_ago:03d}",
        "failed",
        option,
        requested_at_ms=at_ms,
        ended_at_ms=at_ms,
        last_error="insufficient_capacity",
        **changes,
    )


def test_an_idle_host_that_is_not_wanted_is_ended_with_a_reason():
    made = decide(Demand(hosts=(IDLE,)), [launch()])
    assert made.decision == TerminateDecision("lch_hst_a", "hst_a")
    assert "hst_a" in made.reason
    assert "300 s" in made.reason


@pytest.mark.parametrize(
    "host",
    [
        replace(IDLE, busy=1),
        replace(IDLE, free=7, busy=1),
        replace(IDLE, protected_until_ms=NOW + 1),
        replace(IDLE, idle_since_ms=NOW - 299_000),
        replace(IDLE, idle_since_ms=None),
    ],
)
def test_a_host_that_works_is_protected_or_was_busy_just_now_is_never_ended(host):
    assert decide(Demand(hosts=(host,)), [launch()]).decision is None


def test_a_host_that_is_not_ours_is_never_ended():
    assert decide(Demand(hosts=(IDLE,))).decision is None


@pytest.mark.parametrize(
    ("settings", "demand"),
    [
        (replace(SETTINGS, min_hosts=1), Demand(hosts=(IDLE,))),
        (replace(SETTINGS, warm_gpus=1), Demand(hosts=(IDLE,))),
        (SETTINGS, Demand(reserved_soon_gpus=8, hosts=(IDLE,))),
        (SETTINGS, Demand(waiting=(Waiting(8, 1, NOW),), hosts=(IDLE,))),
    ],
)
def test_what_is_wanted_is_kept(settings, demand):
    assert decide(demand, [launch()], settings=settings).decision is None


def test_a_surplus_has_to_stand_before_a_host_goes():
    demand, ours = Demand(hosts=(IDLE,)), [launch()]
    fresh = decide(demand, ours, History(PoolState()))
    assert (fresh.decision, fresh.surplus_since_ms) == (None, NOW)
    soon = decide(demand, ours, History(PoolState(surplus_since_ms=NOW - 299_000)))
    assert (soon.decision, soon.surplus_since_ms) == (None, NOW - 299_000)
    assert decide(Demand(waiting=(Waiting(8, 1, NOW),), hosts=(IDLE,)), ours).surplus_since_ms is None


def test_a_host_of_which_nothing_can_be_leased_goes_first_and_counts_for_nothing():
    dead = HostUse("hst_d", 8, 0, 0, LONG_AGO)
    made = decide(Demand(hosts=(IDLE, dead)), [launch(), launch("hst_d")])
    assert made.decision == TerminateDecision("lch_hst_d", "hst_d")
    settings = replace(SETTINGS, min_hosts=1)
    assert isinstance(
        decide(Demand(hosts=(dead,)), [launch("hst_d")], settings=settings).decision, LaunchDecision
    )


def test_the_dearer_of_two_idle_hosts_goes_first():
    other = replace(IDLE, host_id="hst_b")
    made = decide(Demand(hosts=(IDLE, other)), [launch(), launch("hst_b", option=OTHER_ZONE)])
    assert made.decision == TerminateDecision("lch_hst_b", "hst_b")


@pytest.mark.parametrize(
    ("waiting", "free", "coming", "warm", "short"),
    [
        ([(8, 1)], [4, 4], [], 0, 8),
        ([(4, 2)], [4, 4], [], 0, 0),
        ([(8, 1)], [], [8], 0, 0),
        ([(4, 3)], [8], [], 0, 4),
        ([(1, 1), (8, 1)], [8, 1], [], 0, 0),
        ([], [4], [], 8, 4),
        ([(4, 1)], [8], [], 8, 4),
        ([(16, 1)], [], [], 0, 0),
    ],
)
def test_shortage(waiting, free, coming, warm, short):
    demand = Demand(tuple(Waiting(gpus, nodes, NOW) for gpus, nodes in waiting))
    assert find_shortage(replace(SETTINGS, warm_gpus=warm), demand, free, coming) == short


def test_what_is_on_its_way_counts_also_before_its_host_is_listed():
    demand = Demand((Waiting(8, 1, NOW),))
    for state in ("requested", "launching", "running"):
        assert decide(demand, [launch(state=state)]).decision is None
    for state in ("draining", "terminating"):
        assert isinstance(decide(demand, [launch(state=state)]).decision, LaunchDecision)


def test_a_host_that_ends_gives_no_room_and_takes_a_place_until_it_is_gone():
    demand = Demand((Waiting(8, 1, NOW),), hosts=(IDLE,))
    ending = [launch(state="terminating")]
    assert isinstance(decide(demand, ending).decision, LaunchDecision)
    full = decide(demand, ending, settings=replace(SETTINGS, max_hosts=1))
    assert full.decision is None
    assert "has its 1 hosts" in full.reason


def test_nothing_is_done_twice_within_a_minute():
    state = PoolState(last_action_at_ms=NOW - 59_999, surplus_since_ms=LONG_AGO)
    assert decide(Demand((Waiting(8, 1, NOW),)), history=History(state)).decision is None
    assert decide(Demand(hosts=(IDLE,)), [launch()], History(state)).decision is None
    later = replace(state, last_action_at_ms=NOW - 60_000)
    assert decide(Demand((Waiting(8, 1, NOW),)), history=History(later)).decision is not None


def test_an_option_that_failed_is_left_alone_ever_longer_and_an_hour_at_most():
    minutes = [
        find_backoff_end(ON_DEMAND, [failed(ON_DEMAND, n) for n in range(count)]) for count in range(1, 9)
    ]
    assert [(end - NOW) // 60_000 for end in minutes] == [5, 10, 20, 40, 60, 60, 60, 60]
    assert find_backoff_end(OTHER_ZONE, [failed(ON_DEMAND, 0)]) == 0
    worked = launch("hst_w", "terminated", requested_at_ms=NOW, ended_at_ms=NOW)
    assert find_backoff_end(ON_DEMAND, [worked, failed(ON_DEMAND, 1)]) == 0


def test_the_cheapest_option_by_risk_wins_and_a_paid_block_before_all():
    spot = replace(ON_DEMAND, name="spot", purchase="spot", list_price_micros_per_hour=30_000_000)
    block = replace(ON_DEMAND, name="block", purchase="capacity_block", capacity_reservation_id="cr-1")
    settings = replace(SETTINGS, options=(ON_DEMAND, spot, block))
    demand = Demand((Waiting(8, 1, NOW),))
    names = []
    for ended in ([], [failed(block, 0)], [failed(block, 0), failed(spot, 0)]):
        decision = decide(demand, history=History(PoolState(), tuple(ended)), settings=settings).decision
        names.append(decision.option.name)
    assert names == ["block", "spot", "a-on-demand"]
    dear = replace(spot, list_price_micros_per_hour=33_000_000)
    assert score_option(dear, 8, INTENSITY) > score_option(ON_DEMAND, 8, INTENSITY)


def test_a_small_want_is_served_by_a_small_machine_and_carbon_weighs_in():
    small = replace(ON_DEMAND, name="small", gpus_per_host=1, list_price_micros_per_hour=6_000_000)
    assert score_option(small, 1, INTENSITY) < score_option(ON_DEMAND, 1, INTENSITY)
    assert score_option(small, 8, INTENSITY) > score_option(ON_DEMAND, 8, INTENSITY)
    # 1500 W + 8 * 500 W = 5.5 kWh an hour, at 700 g/kWh and 100 a tonne: 0.385 an hour, for 8 GPUs.
    assert score_option(ON_DEMAND, 8, 700_000) - score_option(ON_DEMAND, 8, 0) == 385_000 // 8
    # Per GPU the small machine is a little cheaper, but runs a whole host: dirty power turns the choice.
    near = replace(small, list_price_micros_per_hour=4_950_000)
    assert score_option(near, 8, 0) < score_option(ON_DEMAND, 8, 0)
    assert score_option(near, 8, 700_000) > score_option(ON_DEMAND, 8, 700_000)


def test_states_go_forward_only():
    with pytest.raises(ValueError, match="cannot become"):
        move(launch(state="terminated"), "running", NOW)
    with pytest.raises(ValueError, match="cannot become"):
        move(launch(state="terminating"), "running", NOW)
    slow = move(launch(), "draining", NOW, "never_enrolled")
    assert move(slow, "terminating", NOW + 1).ending_since_ms == NOW
    assert move(slow, "terminated", NOW + 1).last_error == "never_enrolled"
