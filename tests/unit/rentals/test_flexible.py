"""Flexible starts: when and where the grid is clean, never past the deadline, capped as any other."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.rentals.due import do_due
from chalicelib.rentals.flexibility import HOUR_MS, WIDEN_LEAD_MS
from chalicelib.rentals.life import stop_rental, terminate_rental
from chalicelib.rentals.policies import Policies
from chalicelib.rentals.service import change_rental
from chalicelib.rentals.timing import change_policies
from tests.factories import PRICE, rent, start
from tests.fakes import Crash
from tests.fakes.database import START_MS
from tests.unit.carbon.grids import GERMANY, SWEDEN
from tests.unit.rentals.flexible import (
    HOME,
    HOME_PRICE,
    NORTH,
    book,
    leave_open,
    pass_time,
    seed_two_regions,
    tell,
)


@pytest.fixture
def seeded():
    return seed_two_regions()


def look(seeded, rental):
    return seeded.rental(rental.rental_id)


def list_told(seeded, kind):
    return [event for event in seeded.cloud.webhook_store.events if event.type == kind]


def list_acts(seeded, rental):
    return [each.action for each in seeded.cloud.audit.entries if each.subject == rental.rental_id]


def test_it_starts_in_the_hour_and_region_that_are_forecast_cleanest_and_stands_in_no_line_before(seeded):
    rental = book(seeded)
    plan = rental.start_plan
    assert (rental.state, rental.waiting, rental.leases) == ("queued", None, ())
    assert (plan.choice.start_at_ms, plan.choice.regions, plan.choice.why) == (
        START_MS + 2 * HOUR_MS,
        (NORTH, HOME),
        "lower_later",
    )
    assert plan.choice.forecast.saving_permille == 933
    created = seeded.cloud.audit.entries[-1]
    assert (created.action, created.details["why"], created.details["forecast"]["zone"]) == (
        "rental.created",
        "lower_later",
        "SE",
    )
    assert pass_time(seeded, seconds=2 * 3600 - 1) == 0
    assert pass_time(seeded, seconds=1) == 1
    placed = look(seeded, rental)
    assert (placed.state, placed.region, placed.price_micros_per_gpu_hour) == ("provisioning", NORTH, PRICE)
    assert placed.policies.start_at_ms is None


def test_it_ends_by_itself_when_it_has_run_for_its_duration(seeded):
    rental = book(seeded)
    pass_time(seeded, hours=2)
    seeded.report(look(seeded, rental), "running")
    assert pass_time(seeded, seconds=2 * 3600 - 120) == 1
    told = look(seeded, rental)
    assert (told.planned_end.reason, told.planned_end.at_ms) == (
        "max_duration_reached",
        START_MS + 4 * HOUR_MS,
    )
    seeded.cloud.clock.advance_seconds(120)
    seeded.preempted(told)
    seeded.report(look(seeded, rental), "terminated", wiped=True)
    over = look(seeded, rental)
    assert (over.state, over.reason) == ("terminated", "max_duration_reached")


def test_without_a_forecast_it_starts_at_once_and_says_so():
    seeded = seed_two_regions(forecasts=False)
    rental = book(seeded)
    assert (rental.state, rental.region, rental.start_plan.choice.why) == (
        "provisioning",
        HOME,
        "no_forecast",
    )


def test_a_policy_of_none_takes_the_cleanest_region_at_once_and_the_next_when_it_is_full(seeded):
    asked = leave_open(policy="none")
    first = book(seeded, 4, key="a", flexibility=asked)
    second = book(seeded, 4, key="b", flexibility=asked)
    assert [(each.state, each.region) for each in (first, second)] == [
        ("provisioning", NORTH),
        ("provisioning", HOME),
    ]


def test_a_threshold_is_waited_for(seeded):
    asked = leave_open(policy="threshold", threshold=80_000)
    rental = book(seeded, flexibility=asked)
    assert (rental.start_plan.choice.start_at_ms, rental.start_plan.choice.why) == (
        START_MS + HOUR_MS,
        "below_bound",
    )


def test_a_newer_forecast_moves_the_start_later_once_an_hour_at_most_and_every_move_is_recorded(seeded):
    rental = book(seeded)
    tell(seeded, SWEDEN, [90] * 8 + [5] * 12, made_ms=START_MS + HOUR_MS)
    pass_time(seeded, hours=2)
    moved = look(seeded, rental)
    (step,) = moved.start_plan.replans
    assert (moved.state, moved.waiting, moved.policies.start_at_ms) == (
        "queued",
        None,
        START_MS + 8 * HOUR_MS,
    )
    assert (step.at_ms, step.start_at_ms, step.region, step.why) == (
        START_MS + 2 * HOUR_MS,
        START_MS + 8 * HOUR_MS,
        NORTH,
        "lower_later",
    )
    assert list_acts(seeded, rental)[-1] == "rental.start_moved"
    (told,) = list_told(seeded, "rental.start_moved")
    assert told.data["planned_start_at"] == format_instant(START_MS + 8 * HOUR_MS)
    pass_time(seeded, hours=6)
    placed = look(seeded, rental)
    assert (placed.state, len(placed.start_plan.replans)) == ("provisioning", 2)


def test_a_start_that_moved_by_less_than_an_hour_is_not_moved_again_when_it_comes(seeded):
    rental = book(seeded)
    tell(seeded, SWEDEN, [90, 90, 30, *[20] * 10], made_ms=START_MS + HOUR_MS)
    pass_time(seeded, seconds=2 * 3600 + 1800)
    moved = look(seeded, rental)
    assert moved.policies.start_at_ms == START_MS + 3 * HOUR_MS
    tell(seeded, SWEDEN, [90] * 8 + [5] * 12, made_ms=START_MS + 2 * HOUR_MS + 1)
    pass_time(seeded, seconds=1800)
    assert look(seeded, rental).state == "provisioning"


def test_forecasts_that_promise_better_for_ever_do_not_move_it_past_its_latest_start(seeded):
    rental = book(seeded, flexibility=leave_open(latest=10))
    for hour in range(1, 40):
        now_ms = START_MS + hour * HOUR_MS
        for series in (SWEDEN, GERMANY):
            tell(seeded, series, (90, 90, 10, 10, *[90] * 20), start_ms=now_ms, made_ms=now_ms)
        pass_time(seeded, hours=1)
        known = look(seeded, rental)
        if known.state != "queued":
            break
        assert known.policies.start_at_ms <= START_MS + 10 * HOUR_MS
    placed = look(seeded, rental)
    assert placed.state == "provisioning"
    assert seeded.cloud.clock.now_ms() <= START_MS + 10 * HOUR_MS
    assert len(placed.start_plan.replans) == 4


@settings(max_examples=40, deadline=None)
@given(
    latest=st.integers(0, 12),
    policy=st.sampled_from(["window", "threshold"]),
    told=st.lists(st.tuples(*[st.lists(st.integers(0, 500), max_size=20)] * 2), min_size=14, max_size=14),
    full=st.booleans(),
)
def test_whatever_is_forecast_hour_by_hour_it_has_gpus_or_is_in_every_line_by_its_latest_start(
    latest, policy, told, full
):
    seeded = seed_two_regions(forecasts=False)
    if full:
        start(seeded, 4, key="busy", region=NORTH)
        start(seeded, 4, key="busy too", region=HOME)
    threshold = 200_000 if policy == "threshold" else None
    rental = None
    for hour, forecasts in enumerate(told[: latest + 1]):
        now_ms = START_MS + hour * HOUR_MS
        for series, grams in zip((SWEDEN, GERMANY), forecasts, strict=True):
            if grams:
                tell(seeded, series, grams, start_ms=now_ms, made_ms=now_ms)
        if rental is None:
            asked = leave_open(policy=policy, latest=latest, threshold=threshold)
            rental = book(seeded, flexibility=asked)
            pass_time(seeded)
        else:
            pass_time(seeded, hours=1)
    reached = look(seeded, rental)
    assert seeded.cloud.clock.now_ms() == START_MS + latest * HOUR_MS
    assert reached.start_plan.choice.start_at_ms <= START_MS + latest * HOUR_MS
    assert reached.policies.start_at_ms is None
    if full:
        assert len(reached.waiting.pools) == 2
    else:
        assert reached.state == "provisioning"


def test_a_forecast_that_is_gone_when_it_is_due_delays_nothing(seeded):
    rental = book(seeded)
    seeded.cloud.db.table("grid_forecasts").clear()
    pass_time(seeded, hours=2)
    placed = look(seeded, rental)
    assert (placed.state, placed.start_plan.choice.why) == ("provisioning", "no_forecast")


def test_without_room_in_its_region_it_waits_there_and_takes_any_before_its_latest_start(seeded):
    busy = start(seeded, 4, key="busy", region=NORTH)
    rental = book(seeded)
    pass_time(seeded, hours=2)
    waiting = look(seeded, rental)
    assert (waiting.state, waiting.waiting.why) == ("queued", "no_capacity")
    assert [pool.partition("#")[2] for pool in waiting.waiting.pools] == [NORTH]
    lead = WIDEN_LEAD_MS // 1000
    pass_time(seeded, seconds=18 * 3600 - lead - 1)
    assert look(seeded, rental).state == "queued"
    assert pass_time(seeded, seconds=1) == 1
    placed = look(seeded, rental)
    assert (placed.state, placed.region, placed.price_micros_per_gpu_hour) == (
        "provisioning",
        HOME,
        HOME_PRICE,
    )
    assert seeded.cloud.clock.now_ms() <= START_MS + 20 * HOUR_MS
    assert seeded.cloud.db.table("tickets") == {}
    assert "rental.regions_opened" in list_acts(seeded, rental)
    assert look(seeded, busy).state == "running"


def test_a_sweep_that_comes_late_goes_to_every_allowed_region_at_once(seeded):
    start(seeded, 4, key="busy", region=NORTH)
    seeded.cloud.clock.advance_seconds(59 * 60)
    asked = replace(leave_open(policy="threshold", threshold=80_000), latest_start_ms=START_MS + 114 * 60_000)
    rental = book(seeded, flexibility=asked)
    assert rental.policies.start_at_ms == START_MS + HOUR_MS
    assert rental.start_plan.open_regions == (NORTH,)
    pass_time(seeded, seconds=50 * 60)
    assert (look(seeded, rental).state, look(seeded, rental).region) == ("provisioning", HOME)


def test_with_no_room_anywhere_it_stays_in_every_line_that_is_allowed_with_the_age_of_its_plan(seeded):
    for key, region in (("a", NORTH), ("b", HOME)):
        start(seeded, 4, key=key, region=region)
    rental = book(seeded)
    pass_time(seeded, hours=2)
    pass_time(seeded, hours=30)
    waiting = look(seeded, rental)
    assert waiting.state == "queued"
    assert [pool.partition("#")[2] for pool in waiting.waiting.pools] == [NORTH, HOME]
    assert waiting.waiting.since_ms == START_MS + 2 * HOUR_MS
    assert len(seeded.cloud.db.table("tickets")) == 2
    assert pass_time(seeded, hours=1) == 0, "nothing more is due"
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert seeded.cloud.db.table("tickets") == {}


def test_room_that_comes_in_its_region_is_taken(seeded):
    busy = start(seeded, 4, key="busy", region=NORTH)
    rental = book(seeded)
    pass_time(seeded, hours=2)
    terminate_rental(seeded.cloud.rentals, seeded.renter, busy.rental_id)
    seeded.report(look(seeded, busy), "terminated", wiped=True)
    pass_time(seeded, hours=1)
    assert (look(seeded, rental).state, look(seeded, rental).region) == ("provisioning", NORTH)


@pytest.mark.parametrize("crash", ["crash_before", "crash_after"])
@pytest.mark.parametrize("step", range(2))
def test_a_crash_while_regions_are_opened_leaves_one_place_in_line(seeded, crash, step):
    for key, region in (("a", NORTH), ("b", HOME)):
        start(seeded, 4, key=key, region=region)
    rental = book(seeded)
    pass_time(seeded, hours=2)
    now_ms = seeded.cloud.clock.advance_seconds(18 * 3600)
    setattr(seeded.cloud.db, crash, seeded.cloud.db.commits + step)
    with contextlib.suppress(Crash):
        do_due(seeded.cloud.rentals, now_ms)
    setattr(seeded.cloud.db, crash, None)
    do_due(seeded.cloud.rentals, now_ms)
    waiting = look(seeded, rental)
    keys = {key for _, key in seeded.cloud.db.table("tickets")}
    assert keys == {waiting.waiting.ticket_key}
    assert len(waiting.waiting.pools) == 2


def test_a_deadline_of_the_wait_still_ends_it(seeded):
    start(seeded, 4, key="busy", region=NORTH)
    rental = book(seeded, flexibility=leave_open(regions=(NORTH,)), deadline_at_ms=START_MS + 20 * HOUR_MS)
    pass_time(seeded, hours=2)
    pass_time(seeded, hours=18)
    assert look(seeded, rental).reason == "deadline_passed"


def test_the_price_cap_holds_for_the_plan_and_for_the_placing(seeded):
    rental = book(seeded, max_price=HOME_PRICE)
    assert rental.start_plan.choice.regions == (HOME, NORTH), "the cleaner region costs more than the cap"
    assert (rental.state, rental.region) == ("provisioning", HOME)
    poor = book(seeded, key="poor", max_price=HOME_PRICE - 1)
    pass_time(seeded, hours=2)
    assert (look(seeded, poor).state, look(seeded, poor).waiting.why) == ("queued", "price_cap")
    pass_time(seeded, hours=30)
    assert look(seeded, poor).state == "queued"


def test_where_no_region_is_named_it_may_run_wherever_it_is_sold_the_cheapest_being_home(seeded):
    rental = book(seeded, flexibility=leave_open(regions=()))
    assert rental.start_plan.flexibility.regions == (HOME, NORTH)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"latest": -3}, "deadline_passed"),
        ({"latest": -1}, "deadline_too_early"),
        ({"latest": 14 * 24}, "window_too_long"),
        ({"regions": (NORTH, "mars-1")}, "unknown_region"),
    ],
)
def test_what_cannot_be_planned_is_refused_and_nothing_is_kept(seeded, wish, code):
    with pytest.raises(InvalidInput) as refused:
        book(seeded, flexibility=leave_open(**wish))
    assert refused.value.code == code
    assert seeded.cloud.db.table("rentals") == {}


def test_a_repeat_after_the_deadline_gets_the_first_answer(seeded):
    asked = {"flexibility": leave_open(), "waits": True, "region": "any"}
    first = rent(seeded, 1, **asked)
    seeded.cloud.clock.advance_seconds(30 * 3600)
    again = rent(seeded, 1, **asked)
    assert (again.body, again.replayed) == (first.body, True)


@pytest.mark.parametrize("changed", [Policies(7200), Policies(None, None, START_MS + 3 * HOUR_MS)])
def test_start_and_duration_are_the_plans_until_it_has_gpus(seeded, changed):
    rental = book(seeded)

    def change(policies):
        return change_rental(
            seeded.cloud.rentals,
            seeded.renter,
            rental.rental_id,
            lambda each: change_policies(each, policies),
            "rental.changed",
        )

    with pytest.raises(Conflict) as refused:
        change(changed)
    assert refused.value.code == "start_is_planned"
    pass_time(seeded, hours=2)
    assert change(Policies(9999)).policies.max_duration_seconds == 9999


def test_stopped_and_resumed_it_is_placed_as_any_other_wherever_it_may_run(seeded):
    rental = book(seeded)
    pass_time(seeded, hours=2)
    seeded.report(look(seeded, rental), "running")
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(look(seeded, rental), "terminated", wiped=True)
    start(seeded, 4, key="busy", region=NORTH)
    at_ms = seeded.cloud.clock.now_ms() + HOUR_MS
    change_rental(
        seeded.cloud.rentals,
        seeded.renter,
        rental.rental_id,
        lambda each: change_policies(each, Policies(7200, None, at_ms)),
        "rental.changed",
    )
    pass_time(seeded, hours=1)
    again = look(seeded, rental)
    assert (again.state, again.segment, again.region) == ("provisioning", 2, HOME)


def test_it_is_ended_before_its_start_like_any_that_waits(seeded):
    rental = book(seeded)
    over = terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (over.state, over.charge_micros) == ("terminated", 0)
    assert pass_time(seeded, hours=3) == 0
