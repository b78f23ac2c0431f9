"""Second factors, passkeys and links to other providers in DynamoDB, beside the person's record."""

import hashlib
from collections.abc import Sequence
from typing import Any

from chalicelib.core.errors import Conflict, DomainError
from chalicelib.core.ports import Transaction
from chalicelib.identity.model import Factors, FederatedLink, Passkey
from chalicelib.identity.store import DynamoPeople
from chalicelib.storage import people_keys as keys
from chalicelib.storage.tables.people import FactorsItem, FederatedLinkItem, PasskeyItem
from chalicelib.storage.transaction import dynamo, unexpected


def _known(_old: Any) -> DomainError:
    return Conflict("This passkey is registered already.", code="passkey_known")


def _linked(_old: Any) -> DomainError:
    return Conflict("This sign-in is linked to an account already.", code="link_taken")


class DynamoPeopleStore(DynamoPeople):
    """`chalicelib.identity.ports.PeopleStore`."""

    def get_factors(self, user_id: str) -> Factors:
        try:
            item = FactorsItem.get(keys.person(user_id), keys.FACTORS, consistent_read=True)
        except FactorsItem.DoesNotExist:
            return Factors(user_id)
        return Factors(
            user_id,
            item.sealed_totp,
            item.last_step,
            item.pending,
            item.pending_until_ms,
            frozenset(item.recovery or ()),
            item.passkeys,
            item.version,
        )

    def replace_factors(self, tx: Transaction, before: Factors, after: Factors) -> None:
        item = FactorsItem(
            keys.person(after.user_id),
            keys.FACTORS,
            sealed_totp=after.sealed_totp,
            last_step=after.last_step,
            pending=after.pending,
            pending_until_ms=after.pending_until_ms,
            recovery=set(after.recovery) or None,
            passkeys=after.passkeys,
            version=after.version,
        )
        same = (
            FactorsItem.pk.does_not_exist()
            if before.version == 0
            else (FactorsItem.version == before.version)
        )
        dynamo(tx).put(item, same, unexpected("The second factor"))

    def list_passkeys(self, user_id: str) -> Sequence[Passkey]:
        found = PasskeyItem.query(
            keys.person(user_id), PasskeyItem.sk.startswith(keys.PASSKEY_PREFIX), consistent_read=True
        )
        return [_read_passkey(item, user_id) for item in found]

    def get_passkey(self, user_id: str, credential_id: str) -> Passkey | None:
        try:
            item = PasskeyItem.get(keys.person(user_id), keys.passkey(credential_id), consistent_read=True)
        except PasskeyItem.DoesNotExist:
            return None
        return _read_passkey(item, user_id)

    def add_passkey(self, tx: Transaction, passkey: Passkey) -> None:
        item = PasskeyItem(
            keys.person(passkey.user_id),
            keys.passkey(passkey.credential_id),
            public_key=passkey.public_key,
            sign_count=passkey.sign_count,
            label=passkey.label,
            created_at_ms=passkey.created_at_ms,
        )
        dynamo(tx).put(item, PasskeyItem.pk.does_not_exist(), _known)

    def remove_passkey(self, tx: Transaction, passkey: Passkey) -> None:
        key = (keys.person(passkey.user_id), keys.passkey(passkey.credential_id))
        dynamo(tx).delete(PasskeyItem, key, PasskeyItem.pk.exists(), unexpected("The passkey"))

    def use_passkey(self, tx: Transaction, passkey: Passkey, sign_count: int, now_ms: int) -> None:
        dynamo(tx).update(
            PasskeyItem,
            (keys.person(passkey.user_id), keys.passkey(passkey.credential_id)),
            [PasskeyItem.sign_count.set(sign_count), PasskeyItem.used_at_ms.set(now_ms)],
            PasskeyItem.sign_count == passkey.sign_count,
            unexpected("The passkey"),
        )

    def get_link(self, issuer: str, subject: str) -> FederatedLink | None:
        try:
            item = FederatedLinkItem.get(keys.link(_digest(issuer, subject)), keys.LINK, consistent_read=True)
        except FederatedLinkItem.DoesNotExist:
            return None
        return _read_link(item)

    def list_links(self, user_id: str) -> Sequence[FederatedLink]:
        found = FederatedLinkItem.query(
            keys.person(user_id), FederatedLinkItem.sk.startswith(keys.LINK_PREFIX), consistent_read=True
        )
        return [_read_link(item) for item in found]

    def add_link(self, tx: Transaction, link: FederatedLink) -> None:
        for key in _link_keys(link):
            item = FederatedLinkItem(
                *key,
                issuer=link.issuer,
                subject=link.subject,
                user_id=link.user_id,
                provider=link.provider,
                created_at_ms=link.created_at_ms,
            )
            dynamo(tx).put(item, FederatedLinkItem.pk.does_not_exist(), _linked)

    def remove_link(self, tx: Transaction, link: FederatedLink) -> None:
        for key in _link_keys(link):
            dynamo(tx).delete(
                FederatedLinkItem, key, FederatedLinkItem.user_id == link.user_id, unexpected("The link")
            )


def _link_keys(link: FederatedLink) -> tuple[tuple[str, str], tuple[str, str]]:
    key = keys.link(_digest(link.issuer, link.subject))
    return (key, keys.LINK), (keys.person(link.user_id), key)


def _digest(issuer: str, subject: str) -> str:
    # A subject may hold whatever its provider likes; the length keeps the two apart.
    return hashlib.sha256(f"{len(issuer)}:{issuer}{subject}".encode()).hexdigest()


def _read_passkey(item: PasskeyItem, user_id: str) -> Passkey:
    return Passkey(
        item.sk.removeprefix(keys.PASSKEY_PREFIX),
        user_id,
        item.public_key,
        item.sign_count,
        item.label,
        item.created_at_ms,
        item.used_at_ms,
    )


def _read_link(item: FederatedLinkItem) -> FederatedLink:
    return FederatedLink(item.issuer, item.subject, item.user_id, item.provider, item.created_at_ms)
