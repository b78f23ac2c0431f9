"""How long each table keeps what it has, on what ground, and what ends it. All data.

What is personal and plain in a table of the account's own (`privacy.inventory`) goes with the account's
erasure, whatever stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: ``expiry``: DynamoDB removes it after ``expires_at``, which the store sets. ``erasure``: with the account.
#: ``owner``: who made it takes it away. ``replaced``: what is newer stands in its place. ``nobody``: kept.
End = Literal["expiry", "erasure", "owner", "replaced", "nobody"]
#: GDPR 6(1) b, c and f; ``none``: of no person.
Ground = Literal["contract", "law", "interest", "none"]

TEN_YEARS = "ten years from the end of the calendar year"


@dataclass(frozen=True, slots=True)
class Period:
    kept: str
    ground: Ground
    ends: End


PERIODS: Mapping[str, Period] = {
    "accounts": Period("as long as the account", "contract", "erasure"),
    "audit": Period("for ever, by opaque ids only", "interest", "nobody"),
    "balances": Period("for ever, by opaque ids only", "law", "nobody"),
    "budgets": Period("until it is removed", "contract", "owner"),
    "catalog": Period("until it is replaced", "none", "replaced"),
    "chain": Period("for ever, by opaque ids only: proof of the trail", "interest", "nobody"),
    "commands": Period("14 days", "contract", "expiry"),
    "fleet": Period("as long as the machine", "none", "owner"),
    "grid": Period("figures for ever, forecasts 400 days", "none", "expiry"),
    "idempotency": Period("48 hours", "contract", "expiry"),
    "incidents": Period("400 days", "interest", "expiry"),
    "ledger": Period(f"{TEN_YEARS} at least; by opaque ids only", "law", "nobody"),
    "limits": Period("minutes", "interest", "expiry"),
    "liveness": Period("the last heartbeat", "none", "replaced"),
    "maintenance": Period("for ever; of machines", "none", "nobody"),
    "marks": Period("until it is done", "none", "owner"),
    "metering": Period(f"{TEN_YEARS} at least: what bills rest on", "law", "nobody"),
    "payments": Period(f"{TEN_YEARS} at least; Stripe's events 90 days", "law", "expiry"),
    "oauth": Period(
        "clients until they are removed; grants 30 days, codes minutes, and a day more",
        "contract",
        "expiry",
    ),
    "organisations": Period("as long as the account; invitations 7 days", "contract", "expiry"),
    "people": Period(
        "as long as the person; sessions a day, links hours, known browsers 180 days", "contract", "expiry"
    ),
    "person-keys": Period("as long as the person; the tombstone for ever", "contract", "erasure"),
    "prices": Period("for ever", "none", "nobody"),
    "privacy": Period("for ever, by opaque ids only: proof", "interest", "nobody"),
    "register": Period("for ever: a public register", "interest", "nobody"),
    "removals": Period("for ever: what the register rests on", "interest", "nobody"),
    "rentals": Period("as long as the account; output of workloads 30 days", "contract", "expiry"),
    "reports": Period("as long as the account", "contract", "erasure"),
    "reservations": Period("as long as the account; days of calendars 90 days", "contract", "expiry"),
    "scaling": Period("90 days after an instance has ended", "none", "expiry"),
    "scheduling": Period("until it is served", "contract", "owner"),
    "statements": Period(TEN_YEARS, "law", "expiry"),
    "telemetry": Period("400 days", "interest", "expiry"),
    "templates": Period("until it is removed", "contract", "expiry"),
    "usage": Period(f"{TEN_YEARS} at least; by opaque ids only", "law", "nobody"),
    "webhooks": Period("30 days; endpoints until they are removed", "contract", "expiry"),
}
