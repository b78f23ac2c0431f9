"""The store of people and the fake that stands for it in other tests: one contract, held by both."""

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import CancellationReason, VerboseClientError

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.identity.factor_store import DynamoPeopleStore
from chalicelib.identity.model import Factors, FederatedLink, Passkey, Person, Session, Token
from chalicelib.identity.throttling import Tries
from chalicelib.storage.connection import find_models
from chalicelib.storage.transaction import DynamoTransaction, Retry
from tests.fakes import START_MS, MemoryDatabase
from tests.fakes.identity import FakePeopleStore
from tests.unit.storage.items import Items, _key

ADA = Person("usr_1", "key-1", "sealed", "name", "active", 1, START_MS, START_MS, "digest", True)
SESSION = Session(
    session_id="ses_1",
    user_id="usr_1",
    epoch=1,
    created_at_ms=START_MS,
    authenticated_at_ms=START_MS,
    methods=frozenset({"pwd", "otp"}),
    expires_at_ms=START_MS + 1000,
    seen_at_ms=START_MS,
    digest="d",
    label="Firefox on Linux",
)
TOKEN = Token("t1", "verify", "usr_1", START_MS, START_MS + 1000, {"email": "sealed"})
PASSKEY = Passkey("cred", "usr_1", "public", 0, "Laptop", START_MS)
LINK = FederatedLink("https://idp.example", "subject", "usr_1", "Example", START_MS)


class MoreItems(Items):
    """Updates and deletes too: of the expressions, ``SET`` of values and ``ADD`` of a number."""

    def _UpdateItem(self, arguments):  # noqa: N802
        if not self._holds("Update", arguments):
            raise VerboseClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem", {})
        self._update(arguments)
        return {"Attributes": self._table(arguments["TableName"])[_key(arguments["Key"])]}

    def _DeleteItem(self, arguments):  # noqa: N802
        self._table(arguments["TableName"]).pop(_key(arguments["Key"]), None)
        return {}

    def _update(self, write):
        item = self._table(write["TableName"]).setdefault(_key(write["Key"]), dict(write["Key"]))
        names, values = write["ExpressionAttributeNames"], write["ExpressionAttributeValues"]
        for name, value in re.findall(r"(#\d+) = (:\d+)", write["UpdateExpression"]):
            item[names[name]] = values[value]
        for name, value in re.findall(r"ADD (#\d+) (:\d+)", write["UpdateExpression"]):
            item[names[name]] = {"N": str(int(item[names[name]]["N"]) + int(values[value]["N"]))}

    def _TransactWriteItems(self, arguments):  # noqa: N802
        writes = [next(iter(write.items())) for write in arguments["TransactItems"]]
        touched = [_key(write.get("Item") or write["Key"]) for _, write in writes]
        assert len(set(touched)) == len(touched), "DynamoDB takes an item once in a transaction"
        failed = [not self._holds(kind, write) for kind, write in writes]
        if any(failed):
            reasons = [CancellationReason("ConditionalCheckFailed") if each else None for each in failed]
            error = ClientError({"Error": {"Code": "TransactionCanceledException"}}, "TransactWriteItems")
            raise VerboseClientError(error.response, "TransactWriteItems", {}, cancellation_reasons=reasons)
        for kind, write in writes:
            if kind == "Put":
                self._table(write["TableName"])[_key(write["Item"])] = write["Item"]
            elif kind == "Delete":
                self._table(write["TableName"]).pop(_key(write["Key"]), None)
            elif kind == "Update":
                self._update(write)
        return {}

    def _Query(self, arguments):  # noqa: N802
        rows = self._table(arguments["TableName"]).values()
        values = [each.get("S") for each in arguments["ExpressionAttributeValues"].values()]
        if arguments.get("IndexName") == "by_user":
            found = [item for item in rows if item.get("session_user_id", {}).get("S") in values]
            found.sort(key=lambda item: -int(item["created_at_ms"]["N"]))
        else:
            assert arguments["ConsistentRead"]
            pk, prefix = values
            found = [item for item in rows if item["pk"]["S"] == pk and item["sk"]["S"].startswith(prefix)]
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}


@dataclass
class Stores:
    people: Any
    begin: Any

    def write(self, *calls):
        tx = self.begin()
        for name, *arguments in calls:
            getattr(self.people, name)(tx, *arguments)
        tx.commit()


@pytest.fixture
def dynamo(bound, monkeypatch):
    items = MoreItems()
    for model in find_models():
        monkeypatch.setattr(model._get_connection().connection, "_make_api_call", items)
    retry = Retry(lambda _seconds: None, lambda: 0.0)
    return Stores(DynamoPeopleStore(), lambda: DynamoTransaction(bound, "token", retry))


@pytest.fixture
def memory():
    db = MemoryDatabase()
    return Stores(FakePeopleStore(db), db.begin)


@pytest.fixture(params=["dynamo", "memory"])
def stores(request):
    return request.getfixturevalue(request.param)


def refused(stores, *calls):
    with pytest.raises((Conflict, Unavailable)) as caught:
        stores.write(*calls)
    return caught.value.code


def test_a_person_is_found_by_id_and_by_address(stores):
    assert stores.people.get_person("usr_1") is None
    assert stores.people.find_user_id("key-1") is None
    stores.write(("add_person", ADA))
    assert stores.people.get_person("usr_1") == ADA
    assert stores.people.find_user_id("key-1") == "usr_1"
    assert refused(stores, ("add_person", replace(ADA, user_id="usr_2"))) == "email_taken"
    assert refused(stores, ("add_person", ADA)) == "email_taken"
    assert stores.people.get_person("usr_2") is None


def test_a_person_is_replaced_from_what_was_read_and_the_address_moves_along(stores):
    stores.write(("add_person", ADA))
    moved = replace(ADA, email_key="key-2", epoch=2, version=2)
    stores.write(("replace_person", ADA, moved))
    assert stores.people.get_person("usr_1") == moved
    assert (stores.people.find_user_id("key-1"), stores.people.find_user_id("key-2")) == (None, "usr_1")
    assert refused(stores, ("replace_person", ADA, replace(ADA, version=2))) == "temporarily_unavailable"
    stores.write(("add_person", replace(ADA, user_id="usr_2")))
    taken = replace(moved, email_key="key-1", version=3)
    assert refused(stores, ("replace_person", moved, taken)) == "email_taken"
    erased = replace(moved, email_key=None, sealed_email=None, sealed_name=None, status="erased", version=3)
    stores.write(("replace_person", moved, erased))
    assert stores.people.get_person("usr_1") == erased
    assert stores.people.find_user_id("key-2") is None


def test_a_digest_is_renewed(stores):
    stores.write(("add_person", ADA))
    stores.people.rehash(ADA, "newer")
    assert stores.people.get_person("usr_1") == replace(ADA, password_digest="newer")


def test_factors_change_from_what_was_read(stores):
    none = stores.people.get_factors("usr_1")
    assert none == Factors("usr_1")
    some = Factors("usr_1", "sealed", 7, None, 0, frozenset({"a", "b"}), 1, 1)
    stores.write(("replace_factors", none, some))
    assert stores.people.get_factors("usr_1") == some
    assert refused(stores, ("replace_factors", none, some)) == "temporarily_unavailable"
    spent = replace(some, recovery=frozenset(), pending="p", version=2)
    stores.write(("replace_factors", some, spent))
    assert stores.people.get_factors("usr_1") == spent


def test_sessions(stores):
    newer = replace(SESSION, session_id="ses_2", created_at_ms=START_MS + 1)
    stores.write(("add_session", SESSION))
    stores.write(("add_session", newer))
    stores.write(("add_session", replace(SESSION, session_id="ses_3", user_id="usr_2")))
    assert stores.people.get_session("ses_none") is None
    assert stores.people.get_session("ses_1") == SESSION
    assert {each.session_id for each in stores.people.list_sessions("usr_1")} == {"ses_1", "ses_2"}
    stores.people.note_seen(SESSION, START_MS + 5)
    stores.write(("end_session", "ses_1", START_MS + 9))
    ended = replace(SESSION, seen_at_ms=START_MS + 5, ended_at_ms=START_MS + 9)
    assert stores.people.get_session("ses_1") == ended


def test_every_session_of_a_person_is_found_and_taken_away(stores):
    for number in range(3):
        stores.write(("add_session", replace(SESSION, session_id=f"ses_{number}")))
    stores.write(("add_session", replace(SESSION, session_id="ses_9", user_id="usr_2")))
    for session in stores.people.find_sessions("usr_1"):
        stores.people.remove_session(session.session_id)
        stores.people.remove_session(session.session_id)
    assert not list(stores.people.find_sessions("usr_1"))
    assert [each.session_id for each in stores.people.find_sessions("usr_2")] == ["ses_9"]


def test_a_token_is_used_once_and_tried_so_many_times(stores):
    stores.write(("add_token", TOKEN))
    assert stores.people.get_token("none") is None
    assert stores.people.get_token("t1") == TOKEN
    assert [stores.people.count_use(TOKEN, 2) for _ in range(3)] == [True, True, False]
    stores.write(("use_token", TOKEN, START_MS + 1))
    assert refused(stores, ("use_token", TOKEN, START_MS + 2)) == "link_used"
    assert not stores.people.count_use(TOKEN, 9)
    assert stores.people.get_token("t1") == replace(TOKEN, uses=2, used_at_ms=START_MS + 1)


def test_tries_are_counted_from_what_was_read(stores):
    none = stores.people.get_tries("pair#x")
    assert none == Tries()
    one, two = Tries(1, START_MS, START_MS, 1), Tries(2, START_MS, START_MS + 5, 2)
    assert stores.people.replace_tries("pair#x", none, one, START_MS)
    assert not stores.people.replace_tries("pair#x", none, one, START_MS)
    assert stores.people.replace_tries("pair#x", one, two, START_MS)
    assert stores.people.get_tries("pair#x") == two


def test_passkeys(stores):
    stores.write(("add_passkey", PASSKEY))
    assert refused(stores, ("add_passkey", PASSKEY)) == "passkey_known"
    assert stores.people.get_passkey("usr_1", "cred") == PASSKEY
    assert stores.people.get_passkey("usr_2", "cred") is None
    stores.write(("use_passkey", PASSKEY, 3, START_MS + 1))
    used = replace(PASSKEY, sign_count=3, used_at_ms=START_MS + 1)
    assert list(stores.people.list_passkeys("usr_1")) == [used]
    assert refused(stores, ("use_passkey", PASSKEY, 4, START_MS)) == "temporarily_unavailable"
    stores.write(("remove_passkey", used))
    assert not stores.people.list_passkeys("usr_1")
    assert refused(stores, ("remove_passkey", used)) == "temporarily_unavailable"


def test_links(stores):
    stores.write(("add_link", LINK))
    assert refused(stores, ("add_link", replace(LINK, user_id="usr_2"))) == "link_taken"
    assert stores.people.get_link("https://idp.example", "subject") == LINK
    assert stores.people.get_link("https://idp.example", "other") is None
    assert stores.people.get_link("https://idp.examplesub", "ject") is None
    assert list(stores.people.list_links("usr_1")) == [LINK]
    stores.write(("remove_link", LINK))
    assert not stores.people.list_links("usr_1")
    assert stores.people.get_link("https://idp.example", "subject") is None
