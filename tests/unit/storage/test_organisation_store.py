"""What organisations ask of DynamoDB."""

from dataclasses import replace

import pytest

from chalicelib.accounts.model import Account, ApiKey
from chalicelib.accounts.store import DynamoAccountStore
from chalicelib.core.errors import Forbidden, Unavailable
from chalicelib.organisations.model import Invitation, Membership, Project, ServiceAccount
from chalicelib.organisations.store import DynamoOrganisationStore, _not_counted
from chalicelib.storage.tables.organisations import MembershipItem
from tests.unit.storage.wire import Wire, fill, list_writes

MEMBER = Membership("acc_1", "usr_1", "admin", 100, 2)
MEMBER_ROW = {
    "pk": {"S": "ORGANISATION#acc_1"},
    "sk": {"S": "MEMBER#usr_1"},
    "user_id": {"S": "usr_1"},
    "role": {"S": "admin"},
    "created_at_ms": {"N": "100"},
    "issued_keys": {"N": "2"},
}
INVITATION = Invitation("inv_1", "acc_1", "viewer", "d" * 64, "usr_1", 100, 605_000)
PROJECT = Project("prj_1", "acc_1", "Training", 100)
PROGRAM = ServiceAccount("sva_1", "acc_1", "ci", "developer", 100)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


@pytest.fixture
def store():
    return DynamoOrganisationStore()


def commit(wire, kind, table="organisations"):
    wire.tx.commit()
    write = list_writes(wire.last)[kind, table]
    told = {
        name: fill(write[name], write)
        for name in ("ConditionExpression", "UpdateExpression")
        if name in write
    }
    return write, told


def test_a_membership_is_read_as_it_was_written_and_consistently(wire, store):
    store.add_membership(wire.tx, MEMBER)
    write, told = commit(wire, "Put")
    assert write["Item"] == MEMBER_ROW
    assert told["ConditionExpression"] == "attribute_not_exists (pk)"
    wire.answers = [{"Item": MEMBER_ROW}]
    assert store.get_membership("acc_1", "usr_1") == MEMBER
    assert wire.last["ConsistentRead"]
    assert store.get_membership("acc_1", "usr_2") is None


def test_a_member_is_changed_and_removed_as_they_were_read(wire, store):
    store.replace_membership(wire.tx, MEMBER, replace(MEMBER, role="viewer"))
    write, told = commit(wire, "Update")
    assert "role = :" in told["ConditionExpression"]
    assert "issued_keys = :" in told["ConditionExpression"]
    assert {"S": "admin"} in write["ExpressionAttributeValues"].values()


def test_a_removal_takes_the_row_away(wire, store):
    store.remove_membership(wire.tx, MEMBER)
    write, told = commit(wire, "Delete")
    assert write["Key"] == {name: MEMBER_ROW[name] for name in ("pk", "sk")}
    assert "issued_keys = :" in told["ConditionExpression"]


@pytest.mark.parametrize("change", [1, -1])
def test_owners_are_counted_and_the_last_one_stays(wire, store, change):
    store.count_owner(wire.tx, "acc_1", change)
    write, told = commit(wire, "Update")
    assert write["Key"]["sk"] == {"S": "HEAD"}
    assert told["UpdateExpression"].startswith("ADD owners")
    assert {"N": str(change)} in write["ExpressionAttributeValues"].values()
    assert told.get("ConditionExpression", "").startswith("owners > ") is (change < 0)


def test_a_role_is_required_without_being_written(wire, store):
    store.require_membership(wire.tx, "acc_1", "usr_1", "admin")
    _, told = commit(wire, "ConditionCheck")
    assert told["ConditionExpression"].startswith("role = ")


@pytest.mark.parametrize(
    ("issuer", "pk", "condition"),
    [
        ("usr_1", "ORGANISATION#acc_1", "issued_keys = :"),
        ("sva_1", "SERVICE_ACCOUNT#sva_1", "attribute_not_exists (disabled_at_ms)"),
    ],
)
def test_whoever_issues_a_key_is_there_and_counts_it(wire, store, issuer, pk, condition):
    store.count_issued_key(wire.tx, "acc_1", issuer, 2)
    write, told = commit(wire, "Update")
    assert write["Key"]["pk"] == {"S": pk}
    assert condition in told["ConditionExpression"]
    assert "issued_keys = :" in told["ConditionExpression"]
    assert told["UpdateExpression"].startswith("ADD issued_keys")
    assert {"N": "2"} in write["ExpressionAttributeValues"].values()


def test_whoever_issued_another_key_meanwhile_comes_again_and_who_is_gone_does_not(wire, store):
    for found, error in ((MEMBER_ROW, Unavailable), (None, Forbidden)):
        failure = _not_counted(None if found is None else MembershipItem("pk", "sk"))
        assert isinstance(failure, error)
    wire.answers = [{"Item": MEMBER_ROW}, {}]
    assert store.read_issued_count("acc_1", "usr_1") == 2
    assert store.read_issued_count("acc_1", "usr_1") == 0
    assert wire.last["ConsistentRead"]


def test_an_invitation_is_kept_until_it_ends_and_taken_away_with_its_token_alone(wire, store):
    store.put_invitation(wire.tx, INVITATION)
    write, told = commit(wire, "Put")
    assert write["Item"]["expires_at"] == {"N": "605"}
    assert told == {}
    wire.answers = [{"Item": write["Item"]}]
    assert store.get_invitation("acc_1", "inv_1") == INVITATION


def test_a_used_invitation_is_gone(wire, store):
    store.remove_invitation(wire.tx, INVITATION)
    _, told = commit(wire, "Delete")
    assert told["ConditionExpression"].startswith("token_digest = ")
    store.note_mailed(INVITATION, 200)
    assert fill(wire.last["ConditionExpression"], wire.last).startswith("token_digest = ")


def test_a_project_is_read_as_it_was_written(wire, store):
    store.add_project(wire.tx, PROJECT)
    write, _ = commit(wire, "Put")
    wire.answers = [{"Item": write["Item"]}]
    assert store.get_project("acc_1", "prj_1") == PROJECT


def test_a_project_is_changed_as_it_was_read(wire, store):
    store.replace_project(wire.tx, PROJECT, replace(PROJECT, archived_at_ms=7))
    write, told = commit(wire, "Put")
    assert "attribute_not_exists (archived_at_ms)" in told["ConditionExpression"]
    assert write["Item"]["archived_at_ms"] == {"N": "7"}


def test_a_service_account_is_read_as_it_was_written_and_disabled_once(wire, store):
    store.add_service_account(wire.tx, PROGRAM)
    write, _ = commit(wire, "Put")
    wire.answers = [{"Item": write["Item"]}, {"Items": [write["Item"]]}]
    assert store.get_service_account("sva_1") == PROGRAM
    assert list(store.list_service_accounts("acc_1", 5, None).items) == [PROGRAM]
    assert wire.last["IndexName"] == "by_account"


def test_disabling_a_service_account_needs_it_as_it_was(wire, store):
    store.replace_service_account(wire.tx, PROGRAM, replace(PROGRAM, disabled_at_ms=9))
    _, told = commit(wire, "Update")
    assert "attribute_not_exists (disabled_at_ms)" in told["ConditionExpression"]


@pytest.mark.parametrize("name", ["list_members", "list_invitations", "list_projects"])
def test_a_list_reads_one_organisation_between_two_bounds_and_drops_what_was_shown(wire, store, name):
    getattr(store, name)("acc_1", 2, "usr_0")
    asked = wire.last
    assert asked["Limit"] == 4
    assert asked["ConsistentRead"]
    assert "BETWEEN" in fill(asked["KeyConditionExpression"], asked)
    rows = [MEMBER_ROW | {"sk": {"S": f"MEMBER#usr_{n}"}, "user_id": {"S": f"usr_{n}"}} for n in range(4)]
    wire.answers = [{"Items": rows}]
    page = store.list_members("acc_1", 2, "usr_0")
    assert ([each.user_id for each in page.items], page.next_key) == (["usr_1", "usr_2"], "usr_2")


def test_a_persons_organisations_are_found_by_the_index(wire, store):
    wire.answers = [{"Items": [MEMBER_ROW]}]
    assert store.list_memberships_of("usr_1") == [MEMBER]
    assert wire.last["IndexName"] == "by_user"


def test_a_key_is_found_by_who_issued_it_consistently(wire):
    accounts = DynamoAccountStore()
    key = ApiKey("key_1", "acc_1", "renter", "ci", "d", 100, issued_by="usr_1")
    accounts.add_key(wire.tx, key)
    wire.tx.commit()
    puts = [write["Put"]["Item"] for write in wire.last["TransactItems"]]
    assert puts[1] == {"pk": {"S": "ISSUER#acc_1#usr_1"}, "sk": {"S": "KEY#key_1"}}
    found = {"Responses": {"prefix-accounts": [puts[0]]}, "UnprocessedKeys": {}}
    wire.answers = [{"Items": [puts[1]]}, found]
    assert accounts.list_issued_keys("acc_1", "usr_1") == [key]
    (listed, asked), (read, wanted) = wire.calls[-2:]
    assert (listed, read) == ("Query", "BatchGetItem")
    assert asked["ConsistentRead"]
    assert wanted["RequestItems"]["prefix-accounts"]["ConsistentRead"]


def test_the_note_of_a_key_that_is_over_is_taken_away(wire):
    key = ApiKey("key_1", "acc_1", "renter", "ci", "d", 100, issued_by="usr_1")
    DynamoAccountStore().forget_issued(wire.tx, key)
    write, told = commit(wire, "Delete", "accounts")
    assert write["Key"] == {"pk": {"S": "ISSUER#acc_1#usr_1"}, "sk": {"S": "KEY#key_1"}}
    assert told == {}


def test_a_start_requires_that_its_account_is_neither_suspended_nor_closed(wire):
    DynamoAccountStore().require_standing(wire.tx, "acc_1")
    write, told = commit(wire, "ConditionCheck", "accounts")
    assert write["Key"] == {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "ACCOUNT"}}
    for name in ("suspended_at_ms", "closed_at_ms"):
        assert f"attribute_not_exists ({name})" in told["ConditionExpression"]


def test_an_account_is_suspended_as_it_was_read(wire):
    accounts, old = DynamoAccountStore(), Account("acc_1", "Lab", "USD", 100)
    new = replace(old, suspended_at_ms=200, suspended_reason="unpaid")
    accounts.replace_account(wire.tx, old, new)
    write, told = commit(wire, "Put", "accounts")
    assert told["ConditionExpression"].count("attribute_not_exists") == 2
    wire.answers = [{"Item": write["Item"]}]
    assert accounts.get_account("acc_1") == new
    assert wire.last["ConsistentRead"]
