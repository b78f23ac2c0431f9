"""Routes of accounts and keys."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.accounts import rotating, service, standing
from chalicelib.accounts.schemas import (
    AccountActionRequest,
    AccountBody,
    AccountRequest,
    IssuedKeyBody,
    KeyBody,
    KeyListBody,
    KeyRequest,
    RotationRequest,
    render_account,
    render_key,
)
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/accounts", permission="accounts:write", body=AccountRequest)
def create_account(call: Call) -> Answer[AccountBody]:
    """Create a renter's account."""
    body: AccountRequest = call.read_body(AccountRequest)
    account = service.create_account(
        wiring.account_ports(), call.principal, name=body.name, currency=wiring.settings().currency
    )
    return Answer(render_account(account), HTTPStatus.CREATED)


@api.route(
    "POST", "/v1/accounts/{account_id}/actions", permission="accounts:write", body=AccountActionRequest
)
def act_on_account(call: Call, account_id: str) -> Answer[AccountBody]:
    """Leave an account to read, pay and end what runs, or lift that again."""
    body: AccountActionRequest = call.read_body(AccountActionRequest)
    act = {"suspend": standing.suspend_account, "unsuspend": standing.unsuspend_account}[body.action]
    account = act(wiring.account_ports(), call.principal, account_id, body.reason)
    return Answer(render_account(account))


@api.route("POST", "/v1/accounts/{account_id}/api-keys", permission="keys:write", body=KeyRequest, fresh=True)
def create_key(call: Call, account_id: str) -> Answer[IssuedKeyBody]:
    """Create a key for an account; its text is shown once."""
    body: KeyRequest = call.read_body(KeyRequest)
    issued = service.create_key(
        wiring.account_ports(), call.principal, account_id, label=body.label, limits=body.read_limits()
    )
    rendered = render_key(issued.key).model_dump()
    return Answer(IssuedKeyBody(**rendered, key=issued.token), HTTPStatus.CREATED)


@api.route("GET", "/v1/api-keys", permission="keys:read", query=PAGING)
def list_keys(call: Call) -> Answer[KeyListBody]:
    """List the keys of the caller's account."""
    store = wiring.account_ports().store
    page = store.list_keys(
        call.principal.account_id, read_limit(call.query), decode_cursor(call.query.get("cursor"))
    )
    items = [render_key(key) for key in page.items]
    return Answer(KeyListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("DELETE", "/v1/api-keys/{key_id}", permission="keys:write")
def revoke_key(call: Call, key_id: str) -> Answer[None]:
    """Revoke a key; it stops working at once."""
    service.revoke_key(wiring.account_ports(), call.principal, key_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/api-keys/{key_id}/rotate", permission="keys:write", body=RotationRequest, fresh=True)
def rotate_key(call: Call, key_id: str) -> Answer[IssuedKeyBody]:
    """Issue a key's successor, shown to this request and its repeats; the key itself expires soon."""
    body: RotationRequest = call.read_body(RotationRequest)
    # Another key cannot repeat the request: the successor's secret depends on the one that asked.
    operation = f"POST /v1/api-keys/{key_id}/rotate {call.principal.actor_id}"
    command = rotating.RotateKey(
        key_id=key_id,
        overlap_ms=body.overlap_seconds * 1000,
        bearer=call.bearer,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint(operation, call.raw_body),
        render=lambda key: render_key(key).model_dump_json(),
        read_id=lambda text: KeyBody.model_validate_json(text).key_id,
    )
    rotated = rotating.rotate_key(wiring.rotation_ports(), call.principal, command)
    rendered = KeyBody.model_validate_json(rotated.body).model_dump()
    return Answer(IssuedKeyBody(**rendered, key=rotated.token), HTTPStatus.CREATED, tell_replayed(rotated))
