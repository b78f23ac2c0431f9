"""The whole API in one process, asked by everybody there is: what each cell of the matrix is drawn with."""

import json
import re
from collections.abc import Mapping
from typing import Any

import app
from chalicelib.accounts.model import PERMISSIONS, ApiKey, build_token, compute_digest
from chalicelib.accounts.service import authenticate
from chalicelib.accounts.standing import Standings, hold_to_standing, suspend_account
from chalicelib.core.principal import KeyLimits, Principal
from infra.openapi.examples import EXAMPLES
from tests.factories import add_person, add_renter
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import build_event, call

OPERATIONS = [operation for api in app.APIS for operation in api.operations]
PARAMETER = re.compile(r"\{(\w+)\}")
#: What stands in a path and belongs to nobody. Of `missing` the form is right, and there is none.
MISSING: Mapping[str, str] = {
    "account_id": f"acc_{'0' * 26}",
    "budget_id": f"bud_{'0' * 26}",
    "day": "2027-01-14",
    "endpoint_id": f"whe_{'0' * 26}",
    "event_id": f"evt_{'0' * 26}",
    "gpu_type": "NONE",
    "host_id": f"hst_{'0' * 26}",
    "invitation_id": f"inv_{'0' * 26}",
    "key_id": f"key_{'0' * 26}",
    "month": "2026-12",
    "payment_method_id": "pm_none",
    "period": "2026-12",
    "project_id": f"prj_{'0' * 26}",
    "region": "eu-north-1",
    "rental_id": f"rnt_{'0' * 26}",
    "reservation_id": f"rsv_{'0' * 26}",
    "serial": "PC-NONE",
    "service_account_id": f"sva_{'0' * 26}",
    "template_id": f"tpl_{'0' * 26}",
    "top_up_id": f"top_{'0' * 26}",
    "unit_id": "none",
    "user_id": f"usr_{'0' * 26}",
    "window_id": f"win_{'0' * 26}",
}


class Gate(Platform):
    """Tenant A asks: people of every role, and keys that are good, expired, revoked or narrow."""

    def __init__(self, monkeypatch: Any) -> None:
        super().__init__(monkeypatch)
        cloud, a = self.cloud, self.seeded.renter
        store = cloud.accounts.store
        self.standings = Standings(store.get_account, cloud.clock.now_ms)
        self.people: dict[str, Principal] = {}
        operators = self.seeded.operator.account_id
        add_person(self.seeded, "owner")
        for role in PERMISSIONS:
            if role == "renter":
                self.people[role] = a
            elif role == "host":
                self.people[role] = Principal(operators, role, "key_h", PERMISSIONS[role], self.host_id)
            else:
                at = operators if role.endswith("operator") else a.account_id
                self.people[role] = add_person(self.seeded, role, account_id=at)
        self.keys = {
            "expired": self.mint(KeyLimits(expires_at_ms=cloud.clock.now_ms() - 1)),
            "revoked": self.mint(KeyLimits(), revoked_at_ms=cloud.clock.now_ms()),
        }
        suspended = add_renter(self.seeded, name="suspended", credit_micros=0)
        self.people["suspended"] = add_person(self.seeded, "owner", account_id=suspended.account_id)
        suspend_account(cloud.accounts, self.seeded.operator, suspended.account_id, "unpaid")

    def mint(self, limits: KeyLimits, revoked_at_ms: int | None = None) -> str:
        """Return the text of a key of tenant A."""
        accounts = self.cloud.accounts
        key_id = accounts.ids.new_id("key")
        token = build_token("live", key_id, accounts.ids.new_secret())
        digest = compute_digest(token, accounts.read_pepper())
        key = ApiKey(
            key_id,
            self.seeded.renter.account_id,
            "renter",
            "x",
            digest,
            accounts.clock.now_ms(),
            revoked_at_ms=revoked_at_ms,
            limits=limits,
        )
        tx = self.cloud.db.begin()
        accounts.store.add_key(tx, key)
        tx.commit()
        return token

    def authenticate(self, token: str) -> Principal:
        found = getattr(self, "people", {}).get(token) or self.principals.get(token)
        if found is None:
            found = authenticate(self.cloud.accounts, token)
        return hold_to_standing(self.standings, found)

    def knock(
        self, operation: Any, token: str | None, parameters: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask; with an empty body unless one is given. ``token`` ``None``: nobody."""
        named = {name: MISSING[name] for name in PARAMETER.findall(operation.path)} | dict(parameters or {})
        headers = {"Idempotency-Key": f"{len(self.cloud.audit.entries)}-{token}-{operation.name}"[:200]}
        headers["Authorization"] = "" if token is None else f"Bearer {token}"
        if operation.body is not None and body is None:
            body = {}
        event = build_event(operation.method, operation.path, body=body, headers=headers, parameters=named)
        try:
            status, answer, _ = call(app.app, event)
        except json.JSONDecodeError:
            # A page for people.
            return 200, {}
        return status, answer

    def find_example(self, operation: Any) -> dict[str, Any] | None:
        """A body that is right, as the document shows it."""
        if operation.body is None:
            return None
        return dict(next(iter(EXAMPLES[operation.body.__name__].values())))
