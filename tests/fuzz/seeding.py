"""What is there before anything is asked: made through the API itself, as an operator and a renter would."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chalicelib.accounts.model import PERMISSIONS
from infra.local.seed import Api

#: Those of the document's examples.
GPU_TYPE, REGION = "H100", "us-east-1"
_PRICES = {"on_demand": 2_490_000, "spot": 990_000, "reserved": 2_000_000}
_CREDIT_MICROS = 10**12
_CLIENT = {"name": "CI", "kind": "confidential", "redirect_uris": ["https://ci.example.com/back"]}
_GPU = {"pci_bus_id": "00000000:18:00.0", "model": "NVIDIA H100 80GB HBM3", "memory_mib": 81_559}


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An owner of an organisation, and a member of it.

    ``read_token`` takes the id of an organisation that the owner has: an access token is of one, and is read
    before each use.
    """

    user_id: str
    member_id: str
    read_token: Callable[[str], str]


#: Makes the two people of an organisation.
SignIn = Callable[[str], SignedIn]


@dataclass(slots=True)
class Installation:
    """Keys of each role, and ``known``: the name of a parameter -> what some cases put there.

    ``kept`` are keys that the run asks with, which it must not revoke.
    """

    operator: Api
    operator_key: str
    renter_key: str
    host_key: str
    known: dict[str, list[str]]
    kept: frozenset[str]
    today: date
    #: Of an organisation of its own.
    owner: SignedIn
    owner_account_id: str
    #: Of another of the owner's, that may be closed.
    closed_account_id: str
    #: Of an account that may be suspended, and of one that may be erased.
    barred_account_id: str
    erased_key: str
    #: All that the owner has, with those that the run makes, and the tokens that the owner asked with.
    organisations: list[str] = field(default_factory=list)
    owner_tokens: set[str] = field(default_factory=set)

    def find_key(self, operation: Mapping[str, Any]) -> str | None:
        """Return what an operation of the document is asked with."""
        permission = operation["x-permission"]
        if permission is None:
            return None if not operation["security"] else self.enrol()
        if permission == "hosts:connect":
            return self.host_key
        if operation["operationId"] == "create_privacy_request":
            return self.erased_key
        if self.is_of_owners(operation):
            token = self.owner.read_token(self.owner_account_id)
            self.owner_tokens.add(token)
            return token
        if permission in PERMISSIONS["renter"] and not self._is_of_operators(operation):
            return self.renter_key
        return self.operator_key

    @staticmethod
    def is_of_owners(operation: Mapping[str, Any]) -> bool:
        """What people do for themselves, and in their organisation."""
        permission = operation["x-permission"] or ""
        granted = permission in PERMISSIONS["owner"] - PERMISSIONS["renter"]
        of_people = permission.startswith("self:") or operation["tags"] == ["organisations"]
        return granted and (of_people or permission not in PERMISSIONS["operator"])

    @staticmethod
    def _is_of_operators(operation: Mapping[str, Any]) -> bool:
        return any(each["name"] == "account_id" for each in operation["parameters"])

    def enrol(self) -> str:
        """Return a new enrolment token: each is good once."""
        body = {"gpu_type": GPU_TYPE, "region": REGION}
        return str(self.operator.call("POST", "/v1/enrolments", body)["token"])


def seed(url: str, operator_key: str, sign_in: SignIn, today: date | None = None) -> Installation:
    """Raises StepFailed: a call was refused."""
    day = today or datetime.now(UTC).date()
    operator = Api(url, operator_key)
    offer(operator)
    account_id = str(operator.call("POST", "/v1/accounts", {"name": "Fuzzing"})["account_id"])
    keys = f"/v1/accounts/{account_id}/api-keys"
    renter_key = operator.call("POST", keys, {"label": "asks"})
    spare = operator.call("POST", keys, {"label": "spare"})
    renter = Api(url, renter_key["key"])
    credit = {"amount_micros": _CREDIT_MICROS, "reason": "Fuzzing"}
    operator.call("POST", f"/v1/accounts/{account_id}/credits", credit, Idempotency_Key=secrets.token_hex(8))
    operator.call("PUT", f"/v1/accounts/{account_id}/quotas", {"max_gpus": 1024})
    operator.call("PUT", f"/v1/accounts/{account_id}/reservation-quota", {"max_gpus": 1024})
    host = enrol_host(operator, url)
    others = [operator.call("POST", "/v1/accounts", {"name": name})["account_id"] for name in "abc"]
    erased = operator.call("POST", f"/v1/accounts/{others[2]}/api-keys", {"label": "asks"})
    people = sign_in(others[0])
    owner = Api(url, people.read_token(others[0]))
    closed_account_id = make(owner, "/v1/organisations", {"name": "Closed"}, "account_id")
    known = {
        "account_id": [account_id],
        "key_id": [spare["key_id"]],
        "gpu_type": [GPU_TYPE],
        "region": [REGION],
        "host_id": [host["host_id"]],
        "unit_id": ["dac-1"],
        "user_id": [people.member_id],
        **make_things(renter),
        **make_parts(owner, others[0]),
        "window_id": [plan_window(operator, host["host_id"], day)],
    }
    return Installation(
        operator,
        operator_key,
        renter_key["key"],
        host["api_key"],
        known,
        frozenset({renter_key["key_id"], erased["key_id"]}),
        day,
        people,
        others[0],
        closed_account_id,
        others[1],
        erased["key"],
        [others[0], closed_account_id],
    )


def offer(operator: Api) -> None:
    gpu_type = {"memory_mib": 81_559, "power_limit_watts": 700, "architecture": "Hopper"}
    for name in (GPU_TYPE, "A100"):
        operator.call("PUT", f"/v1/gpu-types/{name}", gpu_type)
        for billing_class, micros in _PRICES.items():
            price = {"price_micros_per_gpu_hour": micros, "billing_class": billing_class}
            operator.call("PUT", f"/v1/gpu-types/{name}/prices/{REGION}", price)
    operator.call("PUT", f"/v1/volume-prices/{REGION}", {"price_micros_per_gib_hour": 110})


def enrol_host(operator: Api, url: str) -> dict[str, Any]:
    token = operator.call("POST", "/v1/enrolments", {"gpu_type": GPU_TYPE, "region": REGION})["token"]
    body = {
        "install_id": "install-fuzzing",
        "agent_version": "0.1.0",
        "gpus": [{"gpu_uuid": "GPU-6c1c5b0e-7b8a-4f5e-9a3e-2d4f6b8a0c1e", **_GPU}],
    }
    return Api(url, token).call("POST", "/v1/hosts", body)


def plan_window(operator: Api, host_id: str, today: date) -> str:
    day = today + timedelta(days=60)
    body = {
        "host_id": host_id,
        "category": "network",
        "reason": "New firmware of the switch",
        "starts_at": f"{day}T02:00:00Z",
        "ends_at": f"{day}T04:00:00Z",
    }
    return make(operator, "/v1/maintenance-windows", body, "window_id")


def make_parts(owner: Api, account_id: str) -> dict[str, list[str]]:
    """Ids of what an organisation is made of."""

    path = f"/v1/organisations/{account_id}"
    program = {"name": "ci", "role": "viewer"}
    inviting = {"email": "ada@lab.example", "role": "viewer"}
    return {
        "project_id": [make(owner, f"{path}/projects", {"name": "Training"}, "project_id")],
        "service_account_id": [make(owner, f"{path}/service-accounts", program, "service_account_id")],
        "invitation_id": [make(owner, f"{path}/invitations", inviting, "invitation_id")],
    }


def make_things(renter: Api) -> dict[str, list[str]]:
    """Ids of what a renter has, by the parameter that names them."""
    workload = {"gpu_type": GPU_TYPE, "image": "busybox:1.36", "command": ["true"]}
    url = "https://console.example.com/billing"
    return {
        "template_id": [
            make(renter, "/v1/templates", {"name": "training", "gpu_count": 1, **workload}, "template_id")
        ],
        "budget_id": [make(renter, "/v1/budgets", {"name": "All", "limit_micros": 10**12}, "budget_id")],
        "rental_id": [make(renter, "/v1/rentals", {"region": REGION, **workload}, "rental_id")],
        "endpoint_id": [
            make(renter, "/v1/webhook-endpoints", {"url": "https://hooks.example.com/all"}, "endpoint_id")
        ],
        "request_id": [make(renter, "/v1/privacy/requests", {"kind": "export"}, "request_id")],
        "client_id": [make(renter, "/v1/oauth-clients", _CLIENT, "client_id")],
        "top_up_id": [
            make(renter, "/v1/top-ups", {"amount_micros": 50_000_000, "return_url": url}, "top_up_id")
        ],
    }


def make(api: Api, path: str, body: Mapping[str, Any], member: str) -> str:
    """Return the id of what was made, or of the first of a list."""
    made = api.call("POST", path, body, Idempotency_Key=secrets.token_hex(8))
    return str(made.get("items", [made])[0][member])
