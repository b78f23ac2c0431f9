"""What a new installation needs before the first rental, made through the public API as an operator would."""

import secrets
import weakref
from dataclasses import dataclass
from typing import Any

import httpx

from infra.local.cloud import EmbeddedCloud
from infra.local.progress import StepFailed

GPU_TYPE = "H100-SXM-80GB"
REGION = "eu-north-1"
PRICE_MICROS_PER_GPU_HOUR = 2_490_000
CREDIT_MICROS = 100_000_000
_TIMEOUT_SECONDS = 30.0


class Api:
    """A caller of the API with one key. Any answer but the expected ones is a `StepFailed`."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT_SECONDS
        )
        weakref.finalize(self, self._client.close)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self._client.request(
            method,
            path,
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Return the body of a 2xx answer.

        Raises:
            StepFailed: the API refused, with its problem's code and detail.
        """
        answer = self.request(method, path, body, **headers)
        if not answer.is_success:
            raise StepFailed(f"{method} {path}: {answer.status_code} {answer.text[:300]}", "see the logs")
        parsed: dict[str, Any] = answer.json() if answer.content else {}
        return parsed


@dataclass(frozen=True, slots=True)
class Seed:
    """``renter_key`` belongs to an account with credit."""

    operator: Api
    renter: Api
    operator_key: str
    renter_key: str
    renter_account_id: str


def seed_installation(cloud: EmbeddedCloud) -> Seed:
    """Bootstrap, one GPU type with a price, one renter with credit.

    Raises:
        StepFailed: a call was refused.
    """
    operator_key = cloud.bootstrap()["operator_key"] or cloud.bootstrap(rotate=True)["operator_key"]
    assert operator_key is not None
    operator = Api(cloud.api_url, operator_key)
    gpu_type = {
        "memory_mib": 81_559,
        "power_limit_watts": 700,
        "architecture": "Hopper",
        "interconnect": "nvswitch",
    }
    operator.call("PUT", f"/v1/gpu-types/{GPU_TYPE}", gpu_type)
    price = {"price_micros_per_gpu_hour": PRICE_MICROS_PER_GPU_HOUR}
    operator.call("PUT", f"/v1/gpu-types/{GPU_TYPE}/prices/{REGION}", price)
    account = operator.call("POST", "/v1/accounts", {"name": "demo renter"})
    account_id = account["account_id"]
    key = operator.call("POST", f"/v1/accounts/{account_id}/api-keys", {"label": "demo"})["key"]
    credit = {"amount_micros": CREDIT_MICROS, "reason": "test credit"}
    operator.call("POST", f"/v1/accounts/{account_id}/credits", credit, Idempotency_Key=secrets.token_hex(8))
    return Seed(operator, Api(cloud.api_url, key), operator_key, key, account_id)


def create_enrolment_token(operator: Api) -> str:
    body = {"gpu_type": GPU_TYPE, "region": REGION}
    return str(operator.call("POST", "/v1/enrolments", body)["token"])
