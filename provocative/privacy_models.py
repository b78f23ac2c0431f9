"""Bodies of privacy, as the API sends them. Instants are RFC 3339."""

from typing import Literal, TypedDict

Purpose = Literal["terms", "privacy_notice", "product_news", "analytics", "data_sale"]


class PrivacyRequest(TypedDict):
    """``url``: where a completed export can be fetched, for minutes; read the request again for another."""

    request_id: str
    kind: Literal["export", "erasure"]
    subject_id: str
    state: Literal["queued", "running", "completed", "refused"]
    reasons: list[str]
    created_at: str
    due_at: str
    completed_at: str | None
    url: str | None
    url_expires_at: str | None
    available_until: str | None


class Consent(TypedDict):
    purpose: str
    given: bool
    version: str
    at: str


class Consents(TypedDict):
    standing: list[Consent]
    history: list[Consent]
