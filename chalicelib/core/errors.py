"""The errors that the domain raises, each with a stable ``code`` that clients may rely on.

    DomainError
    ├── InvalidInput        the request is wrong and will be wrong again
    ├── Unauthenticated     nobody known is asking
    ├── Forbidden           somebody known may not do this
    ├── NotFound            there is no such thing, or it is not yours (the same answer)
    ├── Conflict            the request is right but the state does not allow it
    │   └── IdempotencyMismatch   the key was used with another body
    ├── PreconditionFailed  what the caller knows of it is not what it is now
    ├── InsufficientFunds   the wallet cannot cover the hold
    │   ├── BudgetExhausted        nor can a budget
    │   └── SpendLimitReached      the limit by the hour stands against it
    ├── RateLimited         too many requests by one caller: try again in ``retry_after_seconds``
    └── Unavailable         try again: contention or a dependency that did not answer

`chalicelib.runtime.http` maps them to statuses; nothing here knows HTTP.
"""

from collections.abc import Mapping


class DomainError(Exception):
    """Base of all expected failures. ``extra`` holds members for the problem document."""

    code = "error"

    def __init__(
        self, detail: str, *, code: str | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.extra: Mapping[str, object] = extra or {}


class InvalidInput(DomainError):
    code = "invalid_request"


class Unauthenticated(DomainError):
    code = "invalid_credentials"


class Forbidden(DomainError):
    code = "forbidden"


class AccountSuspended(Forbidden):
    """Of an account that is suspended or closed nothing starts."""

    code = "account_suspended"


class NotFound(DomainError):
    code = "not_found"


class Conflict(DomainError):
    code = "conflict"


class TooMuchAtOnce(Conflict):
    """It touches more items than one transaction of the store takes, and can be done by halves only."""

    code = "too_much_at_once"


class IdempotencyMismatch(Conflict):
    code = "idempotency_key_reused"


class PreconditionFailed(DomainError):
    code = "precondition_failed"


class InsufficientFunds(DomainError):
    code = "insufficient_funds"


class BudgetExhausted(InsufficientFunds):
    """A budget with a hard stop does not cover the runway of the start."""

    code = "budget_exhausted"


class SpendLimitReached(InsufficientFunds):
    """The start would spend more in an hour than the account's limit."""

    code = "spend_limit_reached"


class RateLimited(DomainError):
    """``extra`` holds ``policy``, ``quota``, ``window_seconds`` and ``retry_after_seconds``."""

    code = "quota_exceeded"


class Unavailable(DomainError):
    code = "temporarily_unavailable"
