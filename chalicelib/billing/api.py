"""Routes of money."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.billing import service
from chalicelib.billing.schemas import CreditRequest, render_wallet
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.runtime.http import Answer, Api, Call

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/wallet", permission="wallet:read")
def read_wallet(call: Call) -> Answer:
    """Show the caller's wallet."""
    return Answer(render_wallet(service.read_wallet(wiring.billing_ports(), call.principal.account_id)))


@api.route("POST", "/v1/accounts/{account_id}/credits", permission="credits:write", body=CreditRequest)
def grant_credit(call: Call, account_id: str) -> Answer:
    """Credit an account, once per Idempotency-Key."""
    body: CreditRequest = call.read_body(CreditRequest)
    command = service.GrantCredit(
        account_id=account_id,
        amount_micros=body.amount_micros,
        reason=body.reason,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint(f"POST /v1/accounts/{account_id}/credits", call.raw_body),
        render=lambda balance: render_wallet(balance).model_dump_json(),
    )
    granted = service.grant_credit(wiring.billing_ports(), call.principal, command, wiring.account_exists)
    headers = {"Idempotency-Replayed": "true"} if granted.replayed else {}
    return Answer(granted.body, HTTPStatus(granted.status), headers)
