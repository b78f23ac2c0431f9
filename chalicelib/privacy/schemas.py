"""Bodies of requests for privacy and of consents."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.privacy.requests import Consent, PrivacyRequest, Purpose, RequestKind
from chalicelib.privacy.service import Link, find_standing
from chalicelib.runtime.bodies import RequestBody, ResponseBody


class PrivacyRequestRequest(RequestBody):
    kind: Literal["export", "erasure"]
    #: ``account``: all of the account; ``person``: who asks.
    subject: Literal["account", "person"] = "account"


class PrivacyRequestBody(ResponseBody):
    request_id: str
    kind: RequestKind
    #: An account or a person.
    subject_id: str
    state: Literal["queued", "running", "completed", "refused"]
    #: Why an erasure waits; empty: for nothing.
    reasons: list[str]
    created_at: str
    #: By when it is done at the latest, as the law says.
    due_at: str
    completed_at: str | None
    #: Where an export can be fetched, for minutes; ask again for another link.
    url: str | None = None
    url_expires_at: str | None = None
    #: Until when links are given.
    available_until: str | None = None


class PrivacyRequestsBody(ResponseBody):
    items: list[PrivacyRequestBody]
    next_cursor: str | None


class ConsentRequest(RequestBody):
    purpose: Purpose
    given: bool
    #: Of the text that was shown.
    version: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ConsentBody(ResponseBody):
    purpose: str
    given: bool
    version: str
    at: str


class ConsentsBody(ResponseBody):
    #: What holds of each purpose.
    standing: list[ConsentBody]
    #: All that was ever decided, oldest first.
    history: list[ConsentBody]


def render_request(request: PrivacyRequest, link: Link | None = None) -> PrivacyRequestBody:
    return PrivacyRequestBody(
        request_id=request.request_id,
        kind=request.kind,
        subject_id=request.subject_id,
        state=request.state,
        reasons=list(request.reasons),
        created_at=format_instant(request.created_at_ms),
        due_at=format_instant(request.due_at_ms),
        completed_at=_format(request.completed_at_ms),
        url=None if link is None else link.url,
        url_expires_at=None if link is None else format_instant(link.expires_at_ms),
        available_until=_format(request.export_expires_at_ms),
    )


def render_consent(consent: Consent) -> ConsentBody:
    return ConsentBody(
        purpose=consent.purpose,
        given=consent.given,
        version=consent.version,
        at=format_instant(consent.at_ms),
    )


def render_consents(consents: list[Consent]) -> ConsentsBody:
    ordered = sorted(consents, key=lambda each: (each.at_ms, each.consent_id))
    standing = find_standing(consents)
    return ConsentsBody(
        standing=[render_consent(standing[purpose]) for purpose in sorted(standing)],
        history=[render_consent(each) for each in ordered],
    )


def _format(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)
