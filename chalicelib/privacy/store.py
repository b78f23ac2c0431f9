"""Requests for privacy and their locks in DynamoDB. Access: by account; what is open by ``by_open``."""

from collections.abc import Iterator
from typing import Any, cast

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.privacy.requests import (
    Consent,
    PrivacyRequest,
    Purpose,
    Reason,
    RequestKind,
    RequestState,
)
from chalicelib.storage import keys, privacy_keys
from chalicelib.storage.tables.privacy import ConsentItem, OpenRequestItem, PrivacyRequestItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Requests are few: one index key has all that are open.
OPEN_SHARD = "OPEN"


class DynamoRequestStore:
    def get_request(self, account_id: str, request_id: str) -> PrivacyRequest | None:
        try:
            item = PrivacyRequestItem.get(
                keys.account(account_id), privacy_keys.request(request_id), consistent_read=True
            )
        except PrivacyRequestItem.DoesNotExist:
            return None
        return _read(item)

    def list_requests(self, account_id: str, limit: int, start: str | None) -> Page[PrivacyRequest]:
        # Both ends lie within the requests: consents stand in the same partition.
        last = privacy_keys.request("~" if start is None else start)
        rows = PrivacyRequestItem.query(
            keys.account(account_id),
            PrivacyRequestItem.sk.between(privacy_keys.request(""), last),
            scan_index_forward=False,
            limit=limit + 2,
            page_size=limit + 2,
            consistent_read=True,
        )
        found = [_read(item) for item in rows]
        older = [each for each in found if start is None or each.request_id < start]
        return Page(older[:limit], older[limit - 1].request_id if len(older) > limit else None)

    def list_open(self) -> Iterator[tuple[str, str]]:
        # Of two that were never tried the older is first.
        found = sorted(PrivacyRequestItem.by_open.query(OPEN_SHARD), key=lambda item: item.tried_at_ms or 0)
        for item in found:
            yield item.account_id, item.request_id

    def find_latest(self, subject_id: str) -> tuple[str, RequestKind] | None:
        try:
            item = OpenRequestItem.get(
                privacy_keys.subject(subject_id), privacy_keys.OPEN, consistent_read=True
            )
        except OpenRequestItem.DoesNotExist:
            return None
        return item.request_id, cast("RequestKind", item.kind)

    def add_request(
        self, tx: Transaction, request: PrivacyRequest, before: tuple[str, RequestKind] | None
    ) -> None:
        dynamo(tx).put(_build(request), PrivacyRequestItem.pk.does_not_exist(), unexpected("The request"))
        lock = OpenRequestItem(
            privacy_keys.subject(request.subject_id),
            privacy_keys.OPEN,
            request_id=request.request_id,
            kind=request.kind,
        )
        same = (
            OpenRequestItem.pk.does_not_exist() if before is None else OpenRequestItem.request_id == before[0]
        )
        dynamo(tx).put(lock, same, unexpected("What was asked for"))

    def replace_request(self, tx: Transaction, old: PrivacyRequest, new: PrivacyRequest) -> None:
        item = _build(new)
        item.version = old.version + 1
        dynamo(tx).put(item, PrivacyRequestItem.version == old.version, unexpected("The request"))

    def check_lock(self, tx: Transaction, request: PrivacyRequest) -> None:
        dynamo(tx).check(
            OpenRequestItem,
            privacy_keys.subject(request.subject_id),
            privacy_keys.OPEN,
            OpenRequestItem.request_id == request.request_id,
            unexpected("What was asked for"),
        )


class DynamoConsentStore:
    def add_consent(self, tx: Transaction, consent: Consent) -> None:
        item = ConsentItem(
            keys.account(consent.account_id),
            privacy_keys.consent(consent.purpose, consent.at_ms, consent.consent_id),
            account_id=consent.account_id,
            actor=consent.actor,
            purpose=consent.purpose,
            given=consent.given,
            version=consent.version,
            at_ms=consent.at_ms,
        )
        dynamo(tx).put(item, ConsentItem.pk.does_not_exist(), unexpected("The consent"))

    def list_consents(self, account_id: str) -> list[Consent]:
        rows = ConsentItem.query(
            keys.account(account_id),
            ConsentItem.sk.startswith(privacy_keys.CONSENT_PREFIX),
            consistent_read=True,
        )
        return [
            Consent(
                item.sk.rpartition("#")[2],
                item.account_id,
                item.actor,
                cast("Purpose", item.purpose),
                item.given,
                item.version,
                item.at_ms,
            )
            for item in rows
        ]


def _build(request: PrivacyRequest) -> PrivacyRequestItem:
    return PrivacyRequestItem(
        keys.account(request.account_id),
        privacy_keys.request(request.request_id),
        request_id=request.request_id,
        account_id=request.account_id,
        subject_id=request.subject_id,
        requested_by=request.requested_by,
        kind=request.kind,
        state=request.state,
        reasons=list(request.reasons),
        created_at_ms=request.created_at_ms,
        due_at_ms=request.due_at_ms,
        started_at_ms=request.started_at_ms,
        completed_at_ms=request.completed_at_ms,
        step=request.step,
        tried_at_ms=request.tried_at_ms,
        document_key=request.document_key,
        export_expires_at_ms=request.export_expires_at_ms,
        open_shard=OPEN_SHARD if request.is_open else None,
        created_key=keys.created(request.created_at_ms, request.request_id),
        version=request.version,
    )


def _read(item: Any) -> PrivacyRequest:
    return PrivacyRequest(
        item.request_id,
        item.account_id,
        item.subject_id,
        item.requested_by,
        cast("RequestKind", item.kind),
        item.created_at_ms,
        cast("RequestState", item.state),
        tuple(cast("Reason", each) for each in item.reasons),
        item.started_at_ms,
        item.completed_at_ms,
        item.step,
        item.document_key,
        item.export_expires_at_ms,
        item.tried_at_ms,
        item.version,
    )
