"""However one request fails, the others are done; whatever needs longer than a run is gone on with."""

import io
import json
import zipfile
from dataclasses import replace

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.privacy import functions
from chalicelib.privacy.inventory import list_owned
from chalicelib.privacy.requests import FINISH_MS
from tests.fakes.database import Crash
from tests.fakes.events import TICK
from tests.unit.privacy.office import FAR_MS, Office

OTHER = "acc_other"
SECOND_MS = 1000


@pytest.fixture
def office(monkeypatch):
    return Office(monkeypatch)


def ask_two(office):
    """Two exports, the older of which cannot be kept until it is mended."""
    first = office.make("export")
    office.cloud.clock.advance_seconds(1)
    second = office.make("export", replace(office.renter, account_id=OTHER))
    keep, broken = office.archive.keep, [RuntimeError("no kind of ours")]

    def fail(key, file):
        if broken and office.account_id in key:
            raise broken[0]
        keep(key, file)

    office.archive.keep = fail
    return first, second, broken


def test_whatever_one_raises_the_others_are_done_and_it_is_told_and_counted(office):
    first, second, broken = ask_two(office)
    done = office.run_all()
    assert (done.states, done.failed) == ({"completed": 1}, [(first.body, "RuntimeError")])
    assert office.told == [first.body]
    assert office.read(second).state == "completed"
    broken.clear()
    assert office.run_all().states == {"completed": 1}


def test_one_that_ends_its_run_is_tried_after_the_others(office):
    first, second, broken = ask_two(office)
    broken[0] = Crash()
    with pytest.raises(Crash):
        office.run_all()
    assert office.read(second).state == "queued"
    office.cloud.clock.advance_seconds(300)
    with pytest.raises(Crash):
        office.run_all()
    assert (office.read(first).state, office.read(second).state) == ("queued", "completed")


def test_one_that_takes_all_the_time_is_tried_after_the_others(office):
    first, second, broken = ask_two(office)

    class Slow(Unavailable):
        def __init__(self):
            office.cloud.clock.advance_seconds(500)
            super().__init__("slow")

    broken[0] = Slow
    done = office.run_all(office.cloud.clock.now_ms() + 240_000)
    assert (done.left, [each for each, _ in done.failed]) == (True, [first.body])
    done = office.run_all(office.cloud.clock.now_ms() + 240_000)
    assert done.states == {"completed": 1}
    assert office.read(second).state == "completed"


def test_also_a_run_that_breaks_off_says_how_many_failed(office, monkeypatch):
    counted = []
    monkeypatch.setattr(functions, "put_metrics", lambda stage, **metrics: counted.append(metrics))
    first, second, _ = ask_two(office)

    def list_then_break(listed=office.store.list_open):
        yield from listed()
        raise Unavailable("the index is gone")

    monkeypatch.setattr(office.store, "list_open", list_then_break)
    with pytest.raises(Unavailable):
        functions.run_privacy_requests(TICK, None)
    assert counted == [{"privacy_requests_failed": 1}]
    assert (office.read(first).state, office.read(second).state) == ("queued", "completed")


def read_files(office, made):
    body = office.archive.documents[office.read(made).document_key]
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name).decode() for name in names if name != "about.json"} | {
            "records": json.loads(archive.read("about.json"))["records"]
        }


def slow_down(office, seconds):
    """Each record takes so long to be read."""

    class Slow(type(office.records)):
        def list_records(self, account_id, item):
            for record in super().list_records(account_id, item):
                office.cloud.clock.advance_seconds(seconds)
                yield record

    office.records = Slow(office.records.rows)
    office.privacy = replace(office.privacy, records=office.records)


def run_on(office, made, budget_ms=20 * SECOND_MS):
    """Return the states that run after run came to."""
    states = []
    while office.read(made).is_open:
        states.append(office.run_all(office.cloud.clock.now_ms() + budget_ms))
        assert len(states) < 100
        office.cloud.clock.advance_seconds(300)
    return states


def test_an_export_that_needs_many_runs_is_as_one_of_a_single_run(monkeypatch):
    whole = Office(monkeypatch)
    made = whole.make("export")
    whole.run(made)
    wanted = read_files(whole, made)
    office = Office(monkeypatch)
    slow_down(office, 2)
    made = office.make("export")
    runs = run_on(office, made)
    assert len(runs) > 3
    assert [each.failed for each in runs] == [[]] * len(runs)
    files = read_files(office, made)
    assert files.keys() == wanted.keys()
    assert files["records"] == wanted["records"]
    # Its own request is another row in each of them.
    names = [name for name in wanted if name not in {"records", "PrivacyRequest.jsonl"}]
    assert {name: files[name] for name in names} == {name: wanted[name] for name in names}


def test_a_file_that_does_not_end_in_time_is_left_out_whole_and_begun_again(office):
    slow_down(office, 7)
    made = office.make("export")
    runs = run_on(office, made, budget_ms=15 * SECOND_MS)
    assert [each.failed for each in runs] == [[]] * len(runs)
    assert all(count == 2 for count in read_files(office, made)["records"].values())


def test_a_kind_that_no_run_is_long_enough_for_fails_and_holds_up_nobody(office):
    slow_down(office, FINISH_MS // SECOND_MS)
    made = office.make("export")
    other = office.make("export", replace(office.renter, account_id=OTHER))
    done = office.run_all(office.cloud.clock.now_ms() + 40 * SECOND_MS)
    assert done.failed == []
    done = office.run_all(office.cloud.clock.now_ms() + SECOND_MS)
    assert [code for _, code in done.failed] == ["TimeoutError"]
    assert office.read(made).document_key is None
    assert office.read(other).state == "completed"


@pytest.mark.parametrize("when", ["crash_before", "crash_after", "kept"])
@pytest.mark.parametrize("number", range(8))
def test_an_export_of_many_runs_may_die_in_any_of_them(monkeypatch, when, number):
    office = Office(monkeypatch)
    slow_down(office, 2)
    made = office.make("export")
    keep, kept = office.archive.keep, []

    def die(key, file):
        keep(key, file)
        kept.append(key)
        if when == "kept" and len(kept) == number + 1:
            raise Crash

    office.archive.keep = die
    if when != "kept":
        setattr(office.cloud.db, when, office.cloud.db.commits + number)
    with pytest.raises(Crash):
        run_on(office, made)
    office.cloud.db.crash_before = office.cloud.db.crash_after = None
    office.cloud.clock.advance_seconds(300)
    run_on(office, made)
    assert all(count == 2 for count in read_files(office, made)["records"].values())


def test_an_unfinished_export_whose_day_is_over_is_begun_anew(office):
    slow_down(office, 2)
    made = office.make("export")
    office.run_all(office.cloud.clock.now_ms() + 20 * SECOND_MS)
    request = office.read(made)
    assert (request.state, request.document_key) == ("running", None)
    assert 0 < request.step < len(list(list_owned()))
    del office.archive.documents[f"exports/{office.account_id}/{made.body}.zip"]
    run_on(office, made)
    assert all(count == 2 for count in read_files(office, made)["records"].values())


def test_an_erasure_overtakes_an_unfinished_export_and_takes_it_away(office):
    slow_down(office, 2)
    exported = office.make("export")
    office.run_all(office.cloud.clock.now_ms() + 20 * SECOND_MS)
    assert any(key.startswith("exports/") for key in office.archive.documents)
    made = office.make()
    assert office.read(exported).state == "refused"
    run_on(office, made, FAR_MS)
    assert not any(key.startswith("exports/") for key in office.archive.documents)


def test_an_erasure_does_not_read_on_for_ever_where_nothing_is_left_to_take(office):
    made = office.make()
    office.run_all(office.cloud.clock.now_ms())
    started = office.cloud.clock.now_ms()
    for values in office.records.rows.values():
        values.update(dict.fromkeys(values))
    slow_down(office, 10)
    done = office.run_all(started + SECOND_MS)
    assert office.cloud.clock.now_ms() - started <= SECOND_MS + FINISH_MS + 10 * SECOND_MS
    assert (done.failed, office.read(made).state) == ([], "running")
    run_on(office, made)
    assert office.read(made).state == "completed"


def test_an_erasure_whose_whole_run_went_into_reading_says_so(office):
    made = office.make()
    office.run_all(office.cloud.clock.now_ms())
    for values in office.records.rows.values():
        values.update(dict.fromkeys(values))
    slow_down(office, 60)
    done = office.run_all(office.cloud.clock.now_ms() + SECOND_MS)
    assert done.failed == [(made.body, "TimeoutError")]
