"""The whole API in one process, asked by everybody there is: what each cell of the matrix is drawn with."""

import json
import re
from collections.abc import Mapping
from typing import Any

import app
from chalicelib import wiring
from chalicelib.core.principal import KeyLimits, Principal
from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
from infra.openapi.examples import EXAMPLES
from tests.fakes.limits import MemoryBuckets
from tests.fakes.wiring import rewire
from tests.unit.authorisation.callers import Callers
from tests.unit.platform import Platform
from tests.unit.runtime.contract import hold_to_document
from tests.unit.runtime.gateway import Context, build_event

OPERATIONS = [operation for api in app.APIS for operation in api.operations]
PAGES = [operation for api in app.PAGES for operation in api.operations]
PARAMETER = re.compile(r"\{(\w+)\}")
#: What stands in a path and belongs to nobody. The form is right, and there is none.
MISSING: Mapping[str, str] = {
    "account_id": f"acc_{'0' * 26}",
    "budget_id": f"bud_{'0' * 26}",
    "client_id": f"oac_{'0' * 26}",
    "day": "2027-01-14",
    "endpoint_id": f"whe_{'0' * 26}",
    "event_id": f"evt_{'0' * 26}",
    "gpu_type": "NONE",
    "grant_id": f"ogr_{'0' * 26}",
    "host_id": f"hst_{'0' * 26}",
    "invitation_id": f"inv_{'0' * 26}",
    "key_id": f"key_{'0' * 26}",
    "month": "2026-12",
    "name": "none.css",
    "payment_method_id": "pm_none",
    "period": "2026-12",
    "project_id": f"prj_{'0' * 26}",
    "provider": "none",
    "region": "eu-north-1",
    "rental_id": f"rnt_{'0' * 26}",
    "request_id": f"prv_{'0' * 26}",
    "reservation_id": f"rsv_{'0' * 26}",
    "secret_id": f"sec_{'0' * 26}",
    "serial": "PC-NONE",
    "service_account_id": f"sva_{'0' * 26}",
    "session_id": f"ses_{'0' * 26}",
    "template_id": f"tpl_{'0' * 26}",
    "token": "none",
    "top_up_id": f"top_{'0' * 26}",
    "unit_id": "none",
    "user_id": f"usr_{'0' * 26}",
    "window_id": f"win_{'0' * 26}",
}


class Gate(Platform):
    """Tenant A and everybody else ask, each with what they show; nobody is let in but by the real way."""

    def __init__(self, monkeypatch: Any) -> None:
        super().__init__(monkeypatch)
        # Those of the tests are of one test; this may serve many.
        limiter = Limiter(MemoryBuckets(), SystemClock(), scale_policies(POLICIES, 1_000))
        rewire(monkeypatch, rate_limiter=limiter)
        self.callers = Callers(monkeypatch, self.seeded, self.host_id)
        self.callers.enter_all()
        for routes in app.APIS:
            if any(each.permission is not None for each in routes.operations):
                monkeypatch.setattr(routes, "_authenticate", wiring.authenticate)

    @property
    def people(self) -> dict[str, Principal]:
        return self.callers.people

    def knock(
        self, operation: Any, name: str | None, parameters: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask; with an empty body unless one is given. ``name`` ``None``: nobody."""
        status, text, _ = self.send(operation, name, parameters, body)
        try:
            return status, json.loads(text) if text else {}
        except json.JSONDecodeError:
            # A page for people.
            return status, {}

    def send(
        self,
        operation: Any,
        name: str | None,
        parameters: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, dict[str, Any]]:
        named = {each: MISSING[each] for each in PARAMETER.findall(operation.path)} | dict(parameters or {})
        # Of what is not bound to one, nobody gets the answer that another got.
        sent = {"Idempotency-Key": f"{len(self.cloud.audit.entries)}-{str(name)[-80:]}-{operation.name}"}
        sent["Authorization"] = "" if name is None else f"Bearer {self.callers.text(name)}"
        if operation.body is not None and body is None:
            body = {}
        event = build_event(
            operation.method, operation.path, body=body, headers=sent | dict(headers or {}), parameters=named
        )
        answer = app.app(event, Context())
        # The endpoints of OAuth refuse in the shape of RFC 6749, and pages in pages.
        if operation.path.startswith("/v1/"):
            hold_to_document(event, answer)
        many = {each: values[-1] for each, values in answer.get("multiValueHeaders", {}).items()}
        return answer["statusCode"], answer["body"], many | answer["headers"]

    def ask(self, route: str, body: Any = None, *, query: Any = None, role: str = "operator", **named: str):
        return super().ask(route, body, query=query, role=self.callers.text(role), **named)

    def narrow(self, operation: Any, kind: str) -> str:
        """A key or token that has a permission, and not the one that is asked for."""
        scope = "offers:read" if operation.permission != "offers:read" else "keys:read"
        if kind == "token":
            return self.callers.sign(self.people["owner"], scope)
        name = f"key of {scope}"
        if name not in self.callers.keys:
            self.callers.keys[name] = self.callers.add_key(limits=KeyLimits(frozenset({scope})))
        return self.callers.keys[name]

    def find_example(self, operation: Any) -> dict[str, Any] | None:
        """A body that is right, as the document shows it."""
        if operation.body is None:
            return None
        return dict(next(iter(EXAMPLES[operation.body.__name__].values())))
