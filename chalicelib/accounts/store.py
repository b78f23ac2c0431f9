"""Accounts and keys in DynamoDB. Access: get by id; keys of an account by the ``by_account`` index."""

from typing import Any, cast

from pynamodb.exceptions import UpdateError

from chalicelib.accounts.model import Account, ApiKey, Installation
from chalicelib.core.errors import AccountSuspended, Conflict, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.principal import KeyLimits, Role
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.accounts import AccountItem, ApiKeyItem, InstallationItem, IssuedKeyItem
from chalicelib.storage.transaction import dynamo, unexpected


def _already_bootstrapped(_old: Any) -> Conflict:
    return Conflict("Another bootstrap ran at the same time; run it again.", code="already_bootstrapped")


def _no_longer_live(old: Any) -> Conflict:
    if old is not None and old.revoked_at_ms is None and old.successor_id is not None:
        return Conflict("The key has a successor already.", code="already_rotated")
    return Conflict("The key is no longer valid; issue another.", code="key_not_live")


class DynamoAccountStore:
    def get_installation(self) -> Installation | None:
        try:
            item = InstallationItem.get(keys.INSTALLATION, keys.INSTALLATION, consistent_read=True)
        except InstallationItem.DoesNotExist:
            return None
        return Installation(item.account_id, item.operator_key_id)

    def get_account(self, account_id: str) -> Account | None:
        try:
            item = AccountItem.get(keys.account(account_id), keys.ACCOUNT, consistent_read=True)
        except AccountItem.DoesNotExist:
            return None
        return Account(
            account_id,
            item.name,
            item.currency,
            item.created_at_ms,
            item.suspended_at_ms,
            item.suspended_reason,
            item.closed_at_ms,
        )

    def get_key(self, key_id: str) -> ApiKey | None:
        key = keys.api_key(key_id)
        try:
            return _read_key(ApiKeyItem.get(key, key, consistent_read=True))
        except ApiKeyItem.DoesNotExist:
            return None

    def list_keys(self, account_id: str, limit: int, start: str | None) -> Page[ApiKey]:
        condition = ApiKeyItem.sk > start if start is not None else None
        result = ApiKeyItem.by_account.query(account_id, range_key_condition=condition, limit=limit)
        items = [_read_key(item) for item in result]
        more = result.last_evaluated_key is not None
        return Page(items, keys.api_key(items[-1].key_id) if more else None)

    def add_installation(self, tx: Transaction, installation: Installation) -> None:
        item = InstallationItem(
            keys.INSTALLATION,
            keys.INSTALLATION,
            account_id=installation.account_id,
            operator_key_id=installation.operator_key_id,
        )
        dynamo(tx).put(item, InstallationItem.pk.does_not_exist(), _already_bootstrapped)

    def replace_operator_key(self, tx: Transaction, installation: Installation, key_id: str) -> None:
        dynamo(tx).update(
            InstallationItem,
            (keys.INSTALLATION, keys.INSTALLATION),
            [InstallationItem.operator_key_id.set(key_id)],
            InstallationItem.operator_key_id == installation.operator_key_id,
            _already_bootstrapped,
        )

    def add_account(self, tx: Transaction, account: Account) -> None:
        item = _build_account(account)
        dynamo(tx).put(item, AccountItem.pk.does_not_exist(), unexpected("The account"))

    def require_standing(self, tx: Transaction, account_id: str) -> None:
        dynamo(tx).check(
            AccountItem,
            keys.account(account_id),
            keys.ACCOUNT,
            AccountItem.suspended_at_ms.does_not_exist() & AccountItem.closed_at_ms.does_not_exist(),
            lambda _: AccountSuspended("The account was suspended or closed: nothing of it starts."),
        )

    def replace_account(self, tx: Transaction, old: Account, new: Account) -> None:
        same = AccountItem.name == old.name
        for attribute, value in (
            (AccountItem.suspended_at_ms, old.suspended_at_ms),
            (AccountItem.closed_at_ms, old.closed_at_ms),
        ):
            same &= attribute.does_not_exist() if value is None else attribute == value
        dynamo(tx).put(_build_account(new), same, unexpected("The account"))

    def add_key(self, tx: Transaction, key: ApiKey) -> None:
        item = ApiKeyItem(
            keys.api_key(key.key_id),
            keys.api_key(key.key_id),
            account_id=key.account_id,
            role=key.role,
            label=key.label,
            digest=key.digest,
            created_at_ms=key.created_at_ms,
            host_id=key.host_id,
            permissions=key.limits.permissions,
            networks=set(key.limits.networks) or None,
            expires_at_ms=key.limits.expires_at_ms,
            predecessor_id=key.predecessor_id,
            issued_by=key.issued_by,
        )
        dynamo(tx).put(item, ApiKeyItem.pk.does_not_exist(), unexpected("The key"))
        if key.issued_by is not None:
            note = IssuedKeyItem(keys.issuer(key.account_id, key.issued_by), keys.api_key(key.key_id))
            dynamo(tx).put(note, None, unexpected("The key"))

    def list_issued_keys(self, account_id: str, issuer_id: str) -> list[ApiKey]:
        notes = IssuedKeyItem.query(keys.issuer(account_id, issuer_id), consistent_read=True)
        wanted = [(note.sk, note.sk) for note in notes]
        found = ApiKeyItem.batch_get(wanted, consistent_read=True) if wanted else ()
        return sorted((_read_key(item) for item in found), key=lambda key: key.key_id)

    def forget_issued(self, tx: Transaction, key: ApiKey) -> None:
        assert key.issued_by is not None, "only what somebody issued is noted"
        note = (keys.issuer(key.account_id, key.issued_by), keys.api_key(key.key_id))
        dynamo(tx).delete(IssuedKeyItem, note, None, unexpected("The key"))

    def revoke_key(self, tx: Transaction, key_id: str, at_ms: int) -> None:
        key = keys.api_key(key_id)
        dynamo(tx).update(
            ApiKeyItem,
            (key, key),
            [ApiKeyItem.revoked_at_ms.set(at_ms)],
            ApiKeyItem.pk.exists(),
            unexpected("The key"),
        )

    def revoke_leaked_key(self, tx: Transaction, key_id: str, at_ms: int) -> None:
        key = keys.api_key(key_id)
        dynamo(tx).update(
            ApiKeyItem,
            (key, key),
            [ApiKeyItem.revoked_at_ms.set(at_ms)],
            ApiKeyItem.pk.exists() & ApiKeyItem.revoked_at_ms.does_not_exist(),
            _no_longer_live,
        )

    def retire_key(self, tx: Transaction, key_id: str, successor_id: str, expires_at_ms: int) -> None:
        key = keys.api_key(key_id)
        dynamo(tx).update(
            ApiKeyItem,
            (key, key),
            [ApiKeyItem.successor_id.set(successor_id), ApiKeyItem.expires_at_ms.set(expires_at_ms)],
            ApiKeyItem.pk.exists()
            & ApiKeyItem.successor_id.does_not_exist()
            & ApiKeyItem.revoked_at_ms.does_not_exist(),
            _no_longer_live,
        )

    def note_use(self, key_id: str, day_start_ms: int, now_ms: int) -> None:
        key = keys.api_key(key_id)
        used, stored = ApiKeyItem.last_used_at_ms, ApiKeyItem.pk.exists()
        try:
            ApiKeyItem(key, key).update(
                [used.set(now_ms)], stored & (used.does_not_exist() | (used < day_start_ms))
            )
        except UpdateError as error:
            if not is_condition_failure(error):
                raise Unavailable("The use of the key could not be written down.") from error


def _build_account(account: Account) -> AccountItem:
    return AccountItem(
        keys.account(account.account_id),
        keys.ACCOUNT,
        name=account.name,
        currency=account.currency,
        created_at_ms=account.created_at_ms,
        suspended_at_ms=account.suspended_at_ms,
        suspended_reason=account.suspended_reason,
        closed_at_ms=account.closed_at_ms,
    )


def _read_key(item: ApiKeyItem) -> ApiKey:
    return ApiKey(
        key_id=keys.read_api_key(item.pk),
        account_id=item.account_id,
        role=cast("Role", item.role),
        label=item.label,
        digest=item.digest,
        created_at_ms=item.created_at_ms,
        host_id=item.host_id,
        revoked_at_ms=item.revoked_at_ms,
        limits=KeyLimits(
            None if item.permissions is None else frozenset(item.permissions),
            tuple(sorted(item.networks or ())),
            item.expires_at_ms,
        ),
        predecessor_id=item.predecessor_id,
        successor_id=item.successor_id,
        last_used_at_ms=item.last_used_at_ms,
        issued_by=item.issued_by,
    )
