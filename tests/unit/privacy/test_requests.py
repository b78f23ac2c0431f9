"""An export has all or is refused; an erasure waits for reasons, survives every crash, leaves nothing."""

import io
import itertools
import json
import zipfile
from dataclasses import replace

import pytest

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Unavailable
from chalicelib.privacy.erasing import list_steps, run_request
from chalicelib.privacy.exporting import export, list_files
from chalicelib.privacy.fields import ERASED
from chalicelib.privacy.inventory import find_row, list_owned
from chalicelib.privacy.requests import DUE_MS, EXPORT_LIFETIME_MS
from chalicelib.privacy.service import (
    find_request,
    link_export,
    list_requests,
)
from tests.fakes.database import Crash
from tests.unit.privacy.office import ANA, CANARIES, FAR_MS, Office


@pytest.fixture
def office(monkeypatch):
    return Office(monkeypatch)


def read_archive(office, made):
    with zipfile.ZipFile(io.BytesIO(office.archive.documents[office.read(made).document_key])) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_an_export_has_every_attribute_of_the_inventory_and_no_digest_of_a_secret(office):
    made = office.make("export")
    assert office.run(made) == "completed"
    files = read_archive(office, made)
    for row in list_owned():
        lines = [json.loads(line) for line in files[f"{row.item.removesuffix('Item')}.jsonl"].splitlines()]
        assert len(lines) == 2
        for line in lines:
            assert set(line) == {"pk", "sk", *row.list_exported()}, row.item
    # Of its people what they are in it, and no more: each asks for the rest themselves.
    assert "canary-person" not in repr(files)
    about = json.loads(files["about.json"])
    assert about["records"] == {
        name.removesuffix(".jsonl"): text.count("\n") for name, text in files.items() if name != "about.json"
    }


def test_an_export_is_fetched_for_a_day_by_links_of_minutes(office):
    made = office.make("export")
    assert link_export(office.privacy, office.read(made)) is None
    office.run(made)
    request = office.read(made)
    assert request.due_at_ms - request.created_at_ms == DUE_MS
    link = link_export(office.privacy, request)
    assert link.expires_at_ms <= office.cloud.clock.now_ms() + 300_000
    office.cloud.clock.value_ms += EXPORT_LIFETIME_MS
    assert link_export(office.privacy, request) is None


def test_an_export_is_its_accounts_alone_and_another_answers_as_a_missing_one(office):
    made = office.make("export")
    office.run(made)
    assert find_request(office.privacy, office.renter, made.body).state == "completed"
    others = replace(office.renter, account_id="acc_other")
    person = office.sign_in("usr_ben")
    for stranger in (others, person):
        with pytest.raises(NotFound):
            find_request(office.privacy, stranger, made.body)
        assert list_requests(office.privacy, stranger, 10, None).items == []


def test_a_key_or_a_program_that_may_not_close_the_account_gets_nothing_of_its_export(office):
    made = office.make("export")
    office.run(made)
    for role in ("developer", "viewer", "billing", "auditor"):
        for actor_id in ("key_1", "sva_1"):
            held = replace(office.renter, actor_id=actor_id, role=role, permissions=PERMISSIONS[role])
            assert held.user_id is None
            with pytest.raises(NotFound):
                find_request(office.privacy, held, made.body)
            assert list_requests(office.privacy, held, 10, None).items == []
    assert find_request(office.privacy, office.renter, made.body).document_key is not None


def test_a_person_asks_about_the_person_and_a_key_about_the_account(office):
    person = office.sign_in()
    with pytest.raises(Forbidden):
        office.make("export", person)
    with pytest.raises(Forbidden):
        office.make("export", of_account=False)
    made = office.make("export", person, of_account=False)
    office.run(made)
    files = read_archive(office, made)
    assert set(files) == {
        f"{name}.jsonl" for name in ("person", "Audit", "Idempotency", "PrivacyRequest", "Consent")
    } | {"about.json"}
    assert all(f"canary-person-{number}" in files["person.jsonl"] for number in range(CANARIES))
    assert find_request(office.privacy, person, made.body).subject_id == ANA


def test_a_persons_erasure_leaves_the_account_and_everybody_else(office):
    person = replace(
        office.renter,
        user_id=ANA,
        actor_id=ANA,
        permissions=frozenset({"privacy:write"}),
        authenticated_at_ms=office.privacy.clock.now_ms(),
    )
    office.vault.ensure_key("usr_ben")
    before = repr(office.records.rows)
    made = office.make(principal=person, of_account=False)
    assert office.run(made) == "completed"
    assert repr(office.records.rows) == before
    assert office.people.erased == {ANA}
    assert "canary-person" not in office.dump()
    assert office.vault.living == {"usr_ben"}


def test_an_erasure_leaves_no_canary_and_all_that_the_law_keeps(office):
    kept = {
        key: {name: value for name, value in values.items() if name not in find_row(key[1]).list_plain()}
        for key, values in office.records.rows.items()
        if find_row(key[1]).on_erasure != "delete"
    }
    exported = office.make("export")
    office.run(exported)
    assert "canary" in office.dump()
    made = office.make()
    assert office.run(made) == "completed"
    assert "canary" not in office.dump()
    assert set(office.archive.documents) == {"carbon/account/acc_other/2026/v1.csv"}
    left = {
        key: {name: value for name, value in values.items() if value != ERASED}
        for key, values in office.records.rows.items()
    }
    assert left == kept
    assert all(
        key.revoked_at_ms for key in office.cloud.accounts.store.list_keys(office.account_id, 99, None).items
    )


def test_books_and_trail_stay_as_they_were(office):
    books = {name: dict(office.cloud.db.table(name)) for name in ("journals", "legs", "balances", "holds")}
    trail = list(office.cloud.audit.entries)
    office.run(office.make())
    assert books == {name: dict(office.cloud.db.table(name)) for name in books}
    assert office.cloud.audit.entries[: len(trail)] == trail
    new = office.cloud.audit.entries[len(trail) :]
    added = [entry.action for entry in new if entry.account_id == office.account_id]
    assert added[0] == "privacy.erasure_requested"
    assert added[-1] == "privacy.erased"
    assert "canary" not in repr(office.cloud.audit.entries)


@pytest.mark.parametrize("reason", ["rental_open", "dispute_open", "balance_negative", "money_held"])
def test_an_erasure_waits_says_why_and_completes_when_nothing_stands_in_its_way(office, reason):
    office.records.reasons = {reason}
    made = office.make()
    before = office.dump()
    keys = office.cloud.accounts.store.list_keys(office.account_id, 99, None).items
    for _ in range(3):
        assert office.run(made) == "queued"
    assert office.read(made).reasons == (reason,)
    assert office.dump() == before
    assert office.cloud.accounts.store.list_keys(office.account_id, 99, None).items == keys
    office.records.reasons = set()
    assert office.run(made) == "completed"
    assert office.read(made).reasons == ()


def test_what_begins_before_the_last_key_ends_is_waited_for(office):
    """A rental that slips in between: its keys are dead, and nothing of it is erased under it."""
    made = office.make()

    class Late(type(office.records)):
        calls = 0

        def list_reasons(self, account_id, now_ms):
            self.calls += 1
            return ("rental_open",) if self.calls == 2 else ()

    late = Late(office.records.rows)
    office.privacy = replace(office.privacy, records=late)
    assert office.run(made) == "running"
    assert office.read(made).reasons == ("rental_open",)
    assert late.writes == 0
    assert office.run(made) == "completed"


def test_repeated_it_is_harmless(office):
    made = office.make()
    office.run(made)
    writes, entries = office.records.writes, len(office.cloud.audit.entries)
    assert office.run(made) == "done"
    assert office.run_all().states == {}
    assert (office.records.writes, len(office.cloud.audit.entries)) == (writes, entries)


def count_points(monkeypatch):
    office = Office(monkeypatch)
    made = office.make()
    before = office.cloud.db.commits
    office.run(made)
    return office.cloud.db.commits - before, office.records.writes


def test_whatever_it_dies_between_it_goes_on_and_leaves_nothing(monkeypatch):
    """Every commit, before and after, and every write of a record is the last once."""
    commits, writes = count_points(monkeypatch)
    assert commits > len(list_steps())
    assert writes >= 2 * len([row for row in list_steps() if row.list_plain()])
    points = [(side, number) for side in ("before", "after") for number in range(commits)]
    points += [("write", number + 1) for number in range(writes)]
    finals = set()
    for kind, number in points:
        office = Office(monkeypatch)
        made = office.make()
        if kind == "write":
            office.records.crash_after = number
        else:
            setattr(office.cloud.db, f"crash_{kind}", office.cloud.db.commits + number)
        with pytest.raises(Crash):
            office.run(made)
        office.cloud.db.crash_before = office.cloud.db.crash_after = None
        office.records.crash_after = None
        assert office.run(made) in {"completed", "done"}
        assert office.read(made).state == "completed"
        office.run_all()
        assert "canary" not in office.dump()
        finals.add(repr(sorted(office.records.rows.items())))
        assert not list(office.store.list_open())
        erased = [each.account_id for each in office.cloud.audit.entries if each.action == "privacy.erased"]
        assert sorted(erased) == sorted((office.account_id, ANA))
    assert len(finals) == 1


def test_time_that_runs_out_is_gone_on_with(office):
    made = office.make()
    runs = 0
    while office.read(made).is_open:
        run_request(office.privacy, office.account_id, made.body, office.cloud.clock.now_ms())
        runs += 1
        assert runs < 500
    assert "canary" not in office.dump()
    # Each run does one record at least.
    assert runs <= len(office.records.rows) + office.records.writes + len(list_steps())


def test_an_erasure_overtakes_an_export_that_is_then_refused_and_never_half(office):
    exported, erased = office.make("export"), office.make()
    assert office.read(exported).state == "refused"
    assert office.run(exported) == "done"
    assert office.archive.documents.keys() == {
        f"carbon/account/{account}/2026/v1.csv" for account in (office.account_id, "acc_other")
    }
    office.run(erased)
    with pytest.raises(Conflict, match="erasure"):
        office.make("export")
    with pytest.raises(Conflict, match="erasure"):
        office.make()


def test_an_export_under_way_when_an_erasure_is_asked_for_is_never_linked(monkeypatch):
    """The erasure comes after any number of the export's files were read."""
    for after in range(len(list(list_owned())) + 1):
        office = Office(monkeypatch)
        made = office.make("export")
        request, erased = office.read(made), []
        reading = itertools.count()

        class Slow(type(office.records)):
            def list_records(self, account_id, item, office=office, erased=erased, reading=reading, at=after):
                if next(reading) == at:
                    erased.append(office.make())
                return super().list_records(account_id, item)

        ports = replace(office.privacy, records=Slow(office.records.rows))
        if after == len(list(list_owned())):
            export(ports, request, FAR_MS)
            assert office.read(made).state == "completed"
            continue
        with pytest.raises(Unavailable):
            export(ports, request, FAR_MS)
        assert office.read(made).document_key is None
        office.run(erased[0])
        assert not any(key.startswith("exports/") for key in office.archive.documents)


def test_one_export_at_a_time_and_another_when_it_is_done(office):
    made = office.make("export")
    with pytest.raises(Conflict) as refused:
        office.make("export")
    assert refused.value.extra == {"request_id": made.body}
    office.run(made)
    assert office.run(office.make("export")) == "completed"


def test_two_that_ask_at_once_make_one_request(office):
    def second():
        office.cloud.db.interlude = None
        office.make("export")

    office.cloud.db.interlude = second
    with pytest.raises(Unavailable):
        office.make("export")
    assert len(list(office.store.list_open())) == 1


def test_asked_again_with_the_same_key_it_is_the_same_request(office):
    first = office.make("export", key="k")
    again = office.make("export", key="k")
    assert (again.body, again.status, again.replayed) == (first.body, first.status, True)
    with pytest.raises(IdempotencyMismatch):
        office.make("export", key="k", fingerprint="another")


def test_the_installation_cannot_erase_itself(office):
    with pytest.raises(Conflict, match="own account"):
        office.make(principal=office.seeded.operator)


def test_one_that_fails_does_not_hold_up_the_others(office):
    office.make("export")
    other = replace(office.renter, account_id="acc_other")
    made = office.make("export", other)
    keep = office.archive.keep

    def fail(key, file):
        if office.account_id in key:
            raise Unavailable("no")
        keep(key, file)

    office.archive.keep = fail

    done = office.run_all()
    assert done.states == {"completed": 1}
    assert [code for _, code in done.failed] == ["temporarily_unavailable"]
    assert office.store.get_request("acc_other", made.body).state == "completed"
    assert office.run_all(0).left


def test_the_files_of_an_export_have_names_of_their_own(office):
    made = office.make("export")
    names = [name for name, _ in list_files(office.privacy, office.read(made))]
    assert len(set(names)) == len(names)
