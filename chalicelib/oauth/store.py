"""The authorization server's records in DynamoDB. Access: get by key; clients of an account and grants of a
person by index, for listings alone.
"""

from dataclasses import replace
from typing import Any, cast

from pydantic import TypeAdapter

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.oauth.keyring import KeyRing
from chalicelib.oauth.model import (
    AuthorizationCode,
    Client,
    DeviceAuthorization,
    Grant,
    Guesses,
    RevokedToken,
    Secrets,
    UserCode,
)
from chalicelib.oauth.ports import R, Record
from chalicelib.oauth.signing import RING
from chalicelib.storage import oauth_keys
from chalicelib.storage.tables.oauth import OAuthItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Kind of each record in its key, and the field that tells it from others.
KINDS: dict[type, tuple[str, str]] = {
    Client: ("CLIENT", "client_id"),
    Secrets: ("SECRETS", "owner_id"),
    AuthorizationCode: ("CODE", "digest"),
    DeviceAuthorization: ("DEVICE", "digest"),
    UserCode: ("USER_CODE", "digest"),
    Guesses: ("GUESSES", "who"),
    Grant: ("GRANT", "grant_id"),
    RevokedToken: ("TOKEN", "token_id"),
    KeyRing: ("RING", ""),
}
#: What is over stays for a day: a second use has to find what it ends.
KEPT_SECONDS = 86_400


class DynamoOAuthStore:
    def get(self, kind: type[R], key: str) -> R | None:
        pk, sk = oauth_keys.record(KINDS[kind][0], key)
        try:
            return _read(kind, OAuthItem.get(pk, sk, consistent_read=True))
        except OAuthItem.DoesNotExist:
            return None

    def add(self, tx: Transaction, record: Record) -> None:
        dynamo(tx).put(_build(record), OAuthItem.pk.does_not_exist(), unexpected("The record"))

    def replace(self, tx: Transaction, record: Record) -> None:
        same = OAuthItem.version == record.version
        dynamo(tx).put(_build(record), same, unexpected("The record"))

    def list_clients(self, account_id: str, limit: int, start: str | None) -> Page[Client]:
        return _list(Client, OAuthItem.by_account, account_id, limit, start)

    def list_grants(self, user_id: str, limit: int, start: str | None) -> Page[Grant]:
        return _list(Grant, OAuthItem.by_user, user_id, limit, start)


def _list(kind: type[R], index: Any, owner: str, limit: int, start: str | None) -> Page[R]:
    condition = OAuthItem.sk > start if start is not None else None
    result = index.query(owner, range_key_condition=condition, limit=limit)
    items = list(result)
    more = result.last_evaluated_key is not None
    return Page([_read(kind, item) for item in items], items[-1].sk if more else None)


def _build(record: Record) -> OAuthItem:
    kind, field = KINDS[type(record)]
    pk, sk = oauth_keys.record(kind, getattr(record, field) if field else RING)
    expires_at_ms = getattr(record, "expires_at_ms", None)
    return OAuthItem(
        pk,
        sk,
        record=_adapter(type(record)).dump_json(replace(record, version=0)).decode(),
        version=record.version + 1,
        account_id=record.account_id if isinstance(record, Client) else None,
        user_id=record.consent.user_id if isinstance(record, Grant) else None,
        expires_at=None if expires_at_ms is None else expires_at_ms // 1000 + KEPT_SECONDS,
    )


def _read(kind: type[R], item: OAuthItem) -> R:
    record = _adapter(kind).validate_json(item.record)
    return cast("R", replace(record, version=item.version))


_adapters: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    # Built at the first record of its kind: a request needs two or three of them.
    return _adapters.setdefault(kind, _adapters.get(kind) or TypeAdapter(kind))
