"""What somebody asks of their data, and what they agreed to. All pure.

An export ends ``completed`` or, when an erasure overtook it, ``refused``; an erasure ends ``completed``.
"""

from dataclasses import dataclass
from typing import Literal

RequestKind = Literal["export", "erasure"]
RequestState = Literal["queued", "running", "completed", "refused"]
#: Why an erasure waits.
Reason = Literal[
    "rental_open",
    "reservation_open",
    "payment_open",
    "dispute_open",
    "balance_negative",
    "money_held",
    "volume_kept",
    "owns_organisation",
]
#: Who does what was asked for.
ACTOR = "platform:privacy"
#: GDPR 12(3): one month; CCPA (11 CCR 7021) gives 45 days.
DUE_MS = 30 * 86_400_000
#: How long a document of an export can be fetched after it was made; each link lasts minutes.
EXPORT_LIFETIME_MS = 24 * 3_600_000
#: So long after a deadline whatever is under way may still come to its end.
FINISH_MS = 30_000
#: What is agreed to or refused. ``data_sale`` withdrawn: do not sell or share (CCPA 1798.120).
Purpose = Literal["terms", "privacy_notice", "product_news", "analytics", "data_sale"]


@dataclass(frozen=True, slots=True)
class PrivacyRequest:
    """``subject_id``: the account or the person whose data it is. ``tried_at_ms``: when last begun with.

    ``step``: how many kinds of items an erasure is done with, or files an unfinished export has.

    ``account_id``: whose the request is, and of whose trail: the account, or the person themselves, wherever
    they asked.
    """

    request_id: str
    account_id: str
    subject_id: str
    requested_by: str
    kind: RequestKind
    created_at_ms: int
    state: RequestState = "queued"
    reasons: tuple[Reason, ...] = ()
    started_at_ms: int | None = None
    completed_at_ms: int | None = None
    step: int = 0
    document_key: str | None = None
    export_expires_at_ms: int | None = None
    tried_at_ms: int | None = None
    version: int = 1

    @property
    def due_at_ms(self) -> int:
        return self.created_at_ms + DUE_MS

    @property
    def is_open(self) -> bool:
        return self.state in {"queued", "running"}

    @property
    def is_of_account(self) -> bool:
        return not self.subject_id.startswith("usr_")


@dataclass(frozen=True, slots=True)
class Consent:
    """One decision; the newest of a purpose holds. ``version``: of the text that was shown."""

    consent_id: str
    account_id: str
    actor: str
    purpose: Purpose
    given: bool
    version: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """An item of an account as it is stored, by the names of `privacy.inventory`, with its key."""

    item: str
    pk: str
    sk: str
    values: dict[str, object]


def name_export(subject_id: str, request_id: str) -> str:
    """Return where the document of an export is kept."""
    return f"{name_exports(subject_id)}{request_id}.zip"


def name_exports(subject_id: str) -> str:
    """Return what all names of a subject's exports begin with."""
    return f"exports/{subject_id}/"


def name_carbon_documents(account_id: str) -> str:
    """Return what all names of an account's carbon reports begin with (`reporting.model`)."""
    return f"carbon/account/{account_id}/"
