"""A person of whom there is more than one transaction takes is erased part by part."""

from contextlib import suppress
from dataclasses import replace

import pytest

from chalicelib.accounts.service import create_account
from chalicelib.identity.model import FederatedLink, Passkey
from chalicelib.identity.service import find_session
from tests.fakes.database import Crash

#: Of one transaction of DynamoDB.
from tests.unit.privacy.test_people import hand_over
from tests.unit.privacy.town import Town


@pytest.fixture
def town():
    return Town()


def fill(town, organisations=120, each=70):
    """Far more of Ana than a transaction takes: owned, joined, closed organisations, passkeys and links."""
    now_ms = town.clock.now_ms()
    for number in range(each):
        tx = town.db.begin()
        town.identity.store.add_passkey(tx, Passkey(f"more-{number}", town.ana, "p", 0, "more", now_ms))
        link = FederatedLink("https://more.example", f"more-{number}", town.ana, "More", now_ms)
        town.identity.store.add_link(tx, link)
        tx.commit()
    for number in range(organisations):
        account_id = create_account(
            town.cloud.accounts, town.seeded.operator, name=f"o-{number}", currency="USD"
        ).account_id
        town.join(town.ana, account_id, ("owner", "developer", "owner")[number % 3])
        if number % 3 == 0:
            town.join(town.ben, account_id, "owner")
        if number % 3 == 2:
            close_account(town, account_id)


def close_account(town, account_id):
    store, tx = town.cloud.accounts.store, town.db.begin()
    account = store.get_account(account_id)
    store.replace_account(tx, account, replace(account, closed_at_ms=1))
    tx.commit()


def list_left(town):
    store = town.identity.store
    return (
        *town.cloud.organisation_store.list_memberships_of(town.ana),
        *store.list_passkeys(town.ana),
        *store.list_links(town.ana),
        *store.list_sessions(town.ana),
    )


def test_a_person_of_whom_there_is_more_than_a_transaction_takes_is_erased_all_the_same(town):
    hand_over(town)
    fill(town)
    made = town.ask()
    assert (town.run().failed, town.read(made).state) == ([], "completed")
    assert list_left(town) == ()
    assert "canary-ana" not in town.dump()
    removed = [
        entry.account_id
        for entry in town.cloud.audit.entries
        if entry.action == "member.removed" and entry.subject == town.ana
    ]
    assert len(removed) == len(set(removed)) == 120 + 2


def test_it_is_gone_on_with_part_by_part_and_no_act_is_told_twice(town):
    """Each run has time for one part, and every other one dies behind its last commit."""
    hand_over(town)
    fill(town, organisations=9, each=25)
    made = town.ask()
    for number in range(200):
        if not town.read(made).is_open:
            break
        # The first commit of a run notes the try.
        town.db.crash_after = town.db.commits + 1 if number % 2 else None
        with suppress(Crash):
            town.run_one(made, town.clock.now_ms())
        if town.read(made).state == "running":
            assert town.get_person(town.ana).status == "erased"
    town.db.crash_after = None
    assert town.read(made).state == "completed"
    assert number > 9
    assert list_left(town) == ()
    acts = [(each.account_id, each.action) for each in town.cloud.audit.entries if each.subject == town.ana]
    assert len(acts) == len(set(acts))


def test_nobody_signs_in_as_who_has_ended_though_their_passkeys_are_still_there(town):
    hand_over(town)
    fill(town, organisations=0)
    made, session = town.ask(), town.start_session(town.get_person(town.ana))
    town.run_one(made, town.clock.now_ms())
    assert town.read(made).state == "running"
    assert town.identity.store.list_passkeys(town.ana)
    assert find_session(town.identity.ports, session.cookie) is None
