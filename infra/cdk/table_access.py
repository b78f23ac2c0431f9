"""Tables of each function."""

from collections.abc import Mapping
from typing import Literal

#: ``add``: put what is new, and read nothing.
Access = Literal["read", "write", "add"]
#: What puts a waiting rental on its GPUs.
_PLACES: Mapping[str, Access] = {
    "fleet": "write",
    "liveness": "read",
    "catalog": "read",
    "rentals": "write",
    "scheduling": "write",
    "reservations": "write",
    "commands": "write",
    "balances": "write",
    "budgets": "write",
    "webhooks": "add",
    "audit": "write",
}
#: A posting stands in the books of its month.
_BOOKS: Mapping[str, Access] = {"ledger": "write", "usage": "write", "statements": "write"}
_POSTS: Mapping[str, Access] = {**_BOOKS, "balances": "write", "budgets": "read", "webhooks": "add"}
_SETTLES: Mapping[str, Access] = {**_POSTS, "payments": "write"}

#: Tables of each function. Logical ids of the roles follow Chalice: the name in camel case + "Role".
TABLE_ACCESS: Mapping[str, Mapping[str, Access]] = {
    "APIHandler": {
        "accounts": "write",
        "catalog": "write",
        "prices": "write",
        "templates": "write",
        "fleet": "write",
        "liveness": "write",
        "incidents": "write",
        "maintenance": "write",
        "commands": "write",
        "rentals": "write",
        "scheduling": "write",
        "metering": "write",
        "grid": "read",
        "removals": "write",
        "reports": "read",
        "register": "write",
        "reservations": "write",
        **_BOOKS,
        "balances": "write",
        "budgets": "write",
        "idempotency": "write",
        "people": "write",
        "payments": "write",
        "scaling": "write",
        "webhooks": "write",
        "audit": "write",
    },
    "BootstrapInstallation": {"accounts": "write", "audit": "write"},
    # A stay that is over may be followed by a place in line, or by a restart with a hold of its own.
    "OnHeartbeat": {
        "fleet": "write",
        "catalog": "read",
        "liveness": "write",
        "incidents": "write",
        "rentals": "write",
        "scheduling": "write",
        "reservations": "write",
        "balances": "write",
        "budgets": "write",
        "metering": "write",
        "commands": "write",
        "webhooks": "add",
        "audit": "write",
    },
    # An Xid that speaks against a GPU takes it out of the offer and ends the rental that has it.
    "OnTelemetry": {
        "telemetry": "write",
        "marks": "add",
        "metering": "write",
        "rentals": "write",
        "scheduling": "write",
        "reservations": "write",
        "fleet": "write",
        "liveness": "read",
        "incidents": "write",
        "commands": "write",
        "webhooks": "add",
        "audit": "write",
    },
    "OnCapacityChanged": _PLACES,
    # Planned starts are looked at again by the newest forecast.
    "SweepLines": {**_PLACES, "grid": "read"},
    # What ran on an instance that is gone is failed over, and placed again.
    "ScalePools": {
        **_PLACES,
        "accounts": "write",
        "liveness": "write",
        "incidents": "write",
        "metering": "write",
        "scaling": "write",
        **_BOOKS,
    },
    # Plans the ticks of the minute, and opens and closes hosts for their maintenance.
    "ScheduleWatches": {
        "accounts": "read",
        "catalog": "read",
        "fleet": "write",
        "liveness": "write",
        "incidents": "write",
        "maintenance": "write",
        "audit": "write",
    },
    "RefreshReliability": {"accounts": "read", "catalog": "read", "fleet": "write", "liveness": "read"},
    # What runs on a lost host ends there, and is placed elsewhere at once.
    "OnWatch": {
        **_PLACES,
        "accounts": "read",
        "liveness": "write",
        "incidents": "write",
        "metering": "write",
        # Which instance a silent host is: EC2's word on it shortens the wait.
        "scaling": "read",
        **_BOOKS,
    },
    # What a host can no longer keep is promised elsewhere, or credited; deposits are given back.
    "SweepReservations": {
        **_BOOKS,
        "balances": "write",
        "webhooks": "add",
        "reservations": "write",
        "audit": "write",
        "catalog": "read",
        "fleet": "read",
        "incidents": "write",
    },
    "OnCommandRecorded": {"fleet": "read"},
    "OnEventRecorded": {"webhooks": "write"},
    "DeliverDueEvents": {"webhooks": "write"},
    "DispatchCharges": {"metering": "read"},
    "MoveSpotPrices": {
        "accounts": "read",
        "catalog": "write",
        "prices": "write",
        "fleet": "read",
        "audit": "write",
    },
    "OnCharge": {
        "metering": "write",
        "catalog": "read",
        "rentals": "write",
        "scheduling": "write",
        "reservations": "write",
        "fleet": "write",
        "liveness": "read",
        "commands": "write",
        **_BOOKS,
        "balances": "write",
        "budgets": "write",
        "webhooks": "add",
        "audit": "write",
    },
    "OnStripeEvent": _SETTLES,
    "HealPayments": _SETTLES,
    "ReconcilePayments": _SETTLES,
    "RefillWallets": _SETTLES,
    "BuyRemovals": {**_SETTLES, "reports": "read"},
    "FetchGridIntensity": {"catalog": "read", "grid": "write"},
    "RollUpEnergy": {
        "metering": "read",
        "rentals": "read",
        "fleet": "read",
        "reports": "write",
        "marks": "write",
    },
    "MakeCarbonReports": {
        "catalog": "read",
        "grid": "read",
        "removals": "read",
        "payments": "read",
        "reports": "write",
        "marks": "write",
    },
    "IssueStatements": {
        "balances": "write",
        "usage": "read",
        "statements": "write",
        "webhooks": "add",
    },
    "ChargeVolumes": {**_POSTS, "rentals": "write", "fleet": "read"},
    # The ledger also keeps the seals; statements list who has a wallet.
    "SealLedger": {"ledger": "write", "balances": "read", "statements": "read"},
    "VerifySeals": {"ledger": "read"},
    "OnLedgerTampered": {"ledger": "add", "accounts": "read", "audit": "write"},
    "ExpireCredits": _POSTS,
}
