"""The API's operations for one's data."""

from typing import Literal, cast

from provocative import operations as op
from provocative.models import Page
from provocative.privacy_models import Consent, Consents, PrivacyRequest, Purpose
from provocative.transport import Transport


class Privacy:
    """Exports, erasures and consents."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def make_request(
        self,
        kind: Literal["export", "erasure"],
        *,
        subject: Literal["account", "person"] = "account",
        idempotency_key: str | None = None,
    ) -> PrivacyRequest:
        body = {"kind": kind, "subject": subject}
        answer = self._transport.send(op.MAKE_PRIVACY_REQUEST, body=body, idempotency_key=idempotency_key)
        return cast("PrivacyRequest", answer)

    def list_requests(self, *, limit: int | None = None, cursor: str | None = None) -> Page[PrivacyRequest]:
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[PrivacyRequest]", self._transport.send(op.LIST_PRIVACY_REQUESTS, query=query))

    def read_request(self, request_id: str) -> PrivacyRequest:
        path = {"request_id": request_id}
        return cast("PrivacyRequest", self._transport.send(op.READ_PRIVACY_REQUEST, path))

    def list_consents(self) -> Consents:
        return cast("Consents", self._transport.send(op.LIST_CONSENTS))

    def put_consent(self, purpose: Purpose, *, given: bool, version: str) -> Consent:
        body = {"purpose": purpose, "given": given, "version": version}
        return cast("Consent", self._transport.send(op.PUT_CONSENT, body=body))
