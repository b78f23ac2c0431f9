"""A person gets all that is kept of them, and is erased whole or not at all, whatever breaks on the way."""

from dataclasses import replace

import pytest

from chalicelib.accounts.service import create_account
from chalicelib.core.errors import Conflict, Forbidden, NotFound
from chalicelib.core.principal import STEP_UP_MS
from chalicelib.oauth.admission import find_person_role
from chalicelib.oauth.model import Grant
from chalicelib.organisations import service
from chalicelib.organisations.leaving import KEYS_PER_ACT
from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.inventory import ROWS
from chalicelib.privacy.service import find_request, list_requests
from tests.factories import sign_in
from tests.fakes.database import Crash
from tests.unit.privacy.office import Office
from tests.unit.privacy.town import CANARIES, EACH, FAR_MS, Town

#: Of one transaction of DynamoDB.
MAX_ITEMS = 100
BOOKS = ("journals", "legs", "balances", "holds")
#: What an export calls otherwise, or tells in another way: whether there is a password, a second factor.
TOLD = {
    "PersonItem": {"password_digest", "email_key"},
    "FactorsItem": {"sealed_totp", "pending", "recovery"},
    "SessionItem": {"digest"},
}


@pytest.fixture
def town():
    return Town()


def hand_over(town):
    """Ben owns the laboratory in Ana's place."""
    town.join(town.ben, town.lab_id, "viewer")
    owner = sign_in(town.lab_id, town.ana, "owner")
    service.hand_over(town.cloud.organisations, owner, town.lab_id, town.ben)


def close(town):
    owner = sign_in(town.lab_id, town.ana, "owner")
    service.close_organisation(town.cloud.organisations, owner, town.lab_id)


def test_an_export_has_all_that_is_kept_of_a_person_and_opens_nothing_else(town):
    assert len(town.find_canaries("ana")) >= CANARIES
    made = town.ask("export")
    assert town.run().states == {"completed": 1}
    files = town.read_export(made)
    found = [number for number in range(CANARIES) if f'canary-ana-{number}"' in files["person.jsonl"]]
    # The address goes on after its number.
    assert found == list(range(1, CANARIES))
    assert "canary-ana-0@example.com" in files["person.jsonl"]
    text = repr(files)
    assert "canary-ben" not in text
    assert "fake." not in text
    person, factors = town.get_person(town.ana), town.identity.store.get_factors(town.ana)
    secrets = [person.password_digest, person.email_key, *factors.recovery]
    secrets += [each.digest for each in town.identity.store.list_sessions(town.ana)]
    assert len(secrets) > 2 * EACH
    assert not [each for each in secrets if each in text]
    assert town.ana in files["Audit.jsonl"]
    assert "Lab" in files["person.jsonl"] or town.lab_id in files["person.jsonl"]


@pytest.mark.parametrize("row", [row for row in ROWS if row.of_person], ids=lambda row: row.item)
def test_what_the_inventory_has_of_a_person_is_in_the_export(town, row):
    records = [each for each in town.people.list_records(town.ana) if f"{each.item}Item" == row.item]
    assert records
    wanted = {name.removeprefix("sealed_") for name in row.list_exported() if name != "expires_at"}
    wanted = {name.removeprefix("session_") if name == "session_user_id" else name for name in wanted}
    for record in records:
        names = set(record.values) | ({"user_id"} if record.pk == town.ana else set())
        assert wanted <= names
        assert not set(record.values) & TOLD.get(row.item, set())


def test_an_erasure_leaves_nothing_of_a_person_and_all_of_everybody_else(town):
    hand_over(town)
    books = {name: dict(town.db.table(name)) for name in BOOKS}
    trail, ben = list(town.cloud.audit.entries), town.find_canaries("ben")
    exported = town.ask("export")
    town.run()
    assert town.read(exported).document_key in town.archive.documents
    made = town.ask()
    assert town.run().states == {"completed": 1}
    assert town.read(made).state == "completed"
    assert town.find_canaries("ana") == []
    assert town.find_canaries("ben") == ben
    assert not town.archive.documents
    assert books == {name: dict(town.db.table(name)) for name in BOOKS}
    assert town.cloud.audit.entries[: len(trail)] == trail
    assert "canary" not in repr(town.cloud.audit.entries)
    person = town.get_person(town.ana)
    assert (person.status, person.email_key, person.password_digest) == ("erased", None, None)
    assert town.cloud.organisation_store.list_memberships_of(town.ana) == []
    assert town.db.table("owners")[town.lab_id] == 1
    assert town.cloud.accounts.store.get_key(town.key).revoked_at_ms is not None
    assert not [key for key in town.db.table("idempotency") if key[0] == town.ana]
    assert town.vault.destroyed == {town.ana}


def test_what_was_granted_ends_with_the_epoch(town):
    (grant,) = town.oauth.list_grants(town.ana, 9, None).items
    hand_over(town)
    town.ask()
    town.run()
    epoch = town.get_person(town.ana).epoch
    assert epoch > grant.consent.epoch
    assert town.oauth.get(Grant, grant.grant_id) == grant

    class Ports:
        standing = town.identity.store

    Ports.standing.get_user = town.get_person
    assert find_person_role(Ports, town.ana, town.renter_id, grant.consent.epoch) is None
    assert find_person_role(Ports, town.ana, town.renter_id, epoch) is None


def test_the_last_owner_waits_and_nothing_of_theirs_is_touched(town):
    made, before = town.ask(), town.summarise()
    for _ in range(3):
        assert town.run().states == {"queued": 1}
    assert town.read(made).reasons == ("owns_organisation",)
    assert town.summarise() == before


@pytest.mark.parametrize("free", [hand_over, close])
def test_the_last_owner_goes_when_another_owns_it_or_it_is_closed(town, free):
    made = town.ask()
    town.run()
    free(town)
    assert town.run().states == {"completed": 1}
    assert town.read(made).reasons == ()
    assert town.find_canaries("ana") == []


def test_who_becomes_the_last_owner_in_the_very_moment_loses_nothing(town):
    town.join(town.ben, town.lab_id, "owner")
    made, commits = town.ask(), []

    def leave():
        # The first commit notes the try, the second ends keys; before the third, Ben goes.
        commits.append(1)
        if len(commits) == 3:
            town.db.interlude = None
            ben = sign_in(town.lab_id, town.ben, "owner")
            service.leave_organisation(town.cloud.organisations, ben, town.lab_id)

    town.db.interlude = leave
    assert [code for _, code in town.run().failed] == ["last_owner"]
    assert town.get_person(town.ana).status == "active"
    assert town.ana not in town.vault.destroyed
    town.run()
    assert (town.read(made).state, town.read(made).reasons) == ("queued", ("owns_organisation",))


def test_repeated_it_is_harmless(town):
    hand_over(town)
    made = town.ask()
    town.run()
    done, entries = town.summarise(), len(town.cloud.audit.entries)
    rows, key = town.db.table("privacy requests"), (town.ana, made)
    rows[key] = replace(rows[key], state="running", completed_at_ms=None)
    assert town.run().states == {"completed": 1}
    assert town.summarise() == done
    # Only that it was done, once more.
    assert [entry.action for entry in town.cloud.audit.entries[entries:]] == ["privacy.erased"]
    with pytest.raises(Conflict, match="erasure"):
        town.ask()


class Stop:
    """Counts what is done without a transaction, and dies at one of them."""

    def __init__(self, town, at=None):
        self.count, self.at = 0, at
        for owner, name in (
            (town.archive, "remove_all"),
            (town.vault, "destroy_key"),
            (town.identity.store, "remove_session"),
            (town.privacy.records, "delete"),
        ):
            setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, act):
        def counted(*given):
            done = act(*given)
            self.count += 1
            if self.count == self.at:
                raise Crash
            return done

        return counted


def make_person():
    town = Town()
    hand_over(town)
    return town, town.ask()


def make_account():
    """Ben, who belongs to the renter's account alone, goes with it; Ana does not."""
    town = Town()
    town.join(town.ben, town.renter_id, "viewer")
    return town, town.make(town.seeded.renter, of_account=True)


@pytest.mark.parametrize("make", [make_person, make_account])
def test_whatever_it_dies_between_it_comes_out_the_same(make):
    town, made = make()
    before, stop = town.db.commits, Stop(town)
    town.run()
    assert town.read(made).state == "completed"
    commits, acts, final = town.db.commits - before, stop.count, town.summarise()
    points = [(side, number) for side in ("before", "after") for number in range(commits)]
    points += [("act", number + 1) for number in range(acts)]
    assert len(points) > 2 * EACH
    for kind, number in points:
        town, made = make()
        stop = Stop(town, number if kind == "act" else None)
        if kind != "act":
            setattr(town.db, f"crash_{kind}", town.db.commits + number)
        with pytest.raises(Crash):
            town.run()
        town.db.crash_before = town.db.crash_after = None
        while town.run().states:
            pass
        assert town.read(made).state == "completed"
        assert town.summarise() == final, (kind, number)


def test_with_an_account_go_those_who_belong_to_no_other(town):
    town.join(town.ben, town.renter_id, "viewer")
    ana = town.find_canaries("ana")
    town.make(town.seeded.renter, of_account=True)
    assert town.run().failed == []
    assert town.find_canaries("ben") == []
    assert town.vault.destroyed == {town.ben}
    # Ana owns the laboratory: she only leaves.
    assert town.find_canaries("ana") == ana
    assert town.get_person(town.ana).status == "active"
    (left,) = town.cloud.organisation_store.list_memberships_of(town.ana)
    assert left.account_id == town.lab_id
    assert town.cloud.accounts.store.get_key(town.key).revoked_at_ms is not None
    assert town.cloud.organisation_store.list_members(town.renter_id, 9, None).items == []
    (own,) = [row for row in town.db.table("privacy requests").values() if row.subject_id == town.ben]
    assert (own.state, own.account_id) == ("completed", town.ben)


def test_a_members_open_export_is_overtaken_by_the_accounts_erasure(town):
    town.join(town.ben, town.renter_id, "viewer")
    exported = town.make(town.sign_in(town.ben, town.renter_id), "export")
    made = town.make(town.seeded.renter, of_account=True)
    run_request(town.privacy, town.renter_id, made, FAR_MS)
    assert town.read(exported).state == "refused"
    assert town.run().states == {}
    assert not town.archive.documents


def test_the_owner_of_an_account_that_is_erased_goes_with_it(town):
    owner = town.sign_in(town.ana, town.lab_id, "owner")
    leaver = town.cloud.organisations
    service.leave_organisation(leaver, town.sign_in(town.ana, town.renter_id, "developer"), town.renter_id)
    own = town.make(owner)
    town.run()
    assert town.read(own).reasons == ("owns_organisation",)
    town.make(owner, of_account=True)
    town.run()
    town.run()
    assert {row.state for row in town.db.table("privacy requests").values()} == {"completed"}
    assert town.find_canaries("ana") == []
    assert town.cloud.accounts.store.get_account(town.lab_id).closed_at_ms is not None


def test_an_erasure_is_asked_for_by_who_signed_in_just_now(town):
    person = town.sign_in(town.ana, town.renter_id)
    town.clock.advance_seconds(STEP_UP_MS / 1000)
    town.make(person, "export")
    town.clock.advance_seconds(1)
    for stale in (person, replace(person, authenticated_at_ms=None)):
        with pytest.raises(Forbidden) as refused:
            town.make(stale)
        assert refused.value.code == "step_up_needed"
        with pytest.raises(Forbidden):
            town.make(replace(stale, role="owner", account_id=town.lab_id), of_account=True)


def test_a_person_finds_their_request_wherever_they_are_and_nobody_else_does(town):
    made = town.ask("export")
    elsewhere = town.sign_in(town.ana, town.lab_id, "owner")
    assert find_request(town.privacy, elsewhere, made).subject_id == town.ana
    assert [each.request_id for each in list_requests(town.privacy, elsewhere, 9, None).items] == [made]
    for stranger in (town.sign_in(town.ben, town.renter_id, "owner"), town.seeded.renter):
        with pytest.raises(NotFound):
            find_request(town.privacy, stranger, made)
        assert list_requests(town.privacy, stranger, 9, None).items == []


def test_a_persons_requests_and_the_accounts_are_one_list_page_by_page(town):
    owner = town.sign_in(town.ana, town.lab_id, "owner")
    made = []
    for of_account in (True, False, False, True):
        made.append(town.make(owner, "export", of_account=of_account))
        town.run()
    seen, start = [], None
    while True:
        page = list_requests(town.privacy, owner, 1, start)
        seen += [each.request_id for each in page.items]
        if page.next_key is None:
            break
        start = page.next_key
    assert seen == made[::-1]
    viewer = town.sign_in(town.ana, town.lab_id)
    assert [each.is_of_account for each in list_requests(town.privacy, viewer, 9, None).items] == [False] * 2


def test_who_may_not_close_the_account_asks_about_themselves_alone(town):
    for role in ("admin", "billing", "developer", "viewer", "auditor"):
        with pytest.raises(Forbidden):
            town.make(town.sign_in(town.ana, town.renter_id, role), "export", of_account=True)


def test_who_closed_an_account_may_have_it_erased_and_who_is_suspended_may_not(town):
    close(town)
    owner = town.sign_in(town.ana, town.lab_id, "owner")
    held = replace(
        owner,
        permissions=owner.permissions - {"accounts:close"},
        withheld=frozenset({"accounts:close"}),
    )
    made = town.make(held, "export", of_account=True)
    assert find_request(town.privacy, held, made).is_of_account
    town.run()
    store, tx = town.cloud.accounts.store, town.db.begin()
    account = store.get_account(town.lab_id)
    store.replace_account(tx, account, replace(account, suspended_at_ms=1))
    tx.commit()
    with pytest.raises(Forbidden):
        town.make(held, of_account=True)


def test_what_is_joined_in_the_last_moment_is_left_at_the_end(town):
    hand_over(town)
    made, late = (
        town.ask(),
        create_account(town.cloud.accounts, town.seeded.operator, name="late", currency="USD"),
    )
    destroy = town.vault.destroy_key

    def join(user_id):
        town.join(town.ana, late.account_id, "viewer")
        destroy(user_id)

    town.vault.destroy_key = join
    town.run()
    assert town.read(made).state == "completed"
    assert town.cloud.organisation_store.list_memberships_of(town.ana) == []


def test_more_keys_than_one_act_takes_end_all_the_same(town):
    hand_over(town)
    count = KEYS_PER_ACT + 1
    issued = [town.issue(town.ana, town.renter_id) for _ in range(count)]
    town.ask()
    assert town.run().states == {"completed": 1}
    assert all(town.cloud.accounts.store.get_key(each).revoked_at_ms for each in issued)


def test_a_person_asks_by_the_api_whatever_their_role(monkeypatch):
    office = Office(monkeypatch)
    office.principals["viewer"] = office.sign_in()
    status, made = office.ask(
        "POST /v1/privacy/requests", {"kind": "erasure", "subject": "person"}, role="viewer"
    )
    assert (status, made["subject_id"]) == (201, "usr_ana")
    status, answer = office.ask("POST /v1/privacy/requests", {"kind": "export"}, role="viewer")
    assert (status, answer["code"]) == (403, "forbidden")
    assert office.ask("GET /v1/privacy/consents", role="viewer")[0] == 403
