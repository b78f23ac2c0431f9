"""Routes of money: the wallet, what bounds it, its ledger entries, credits and reversals."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.billing import crediting, ordering, sealing, service
from chalicelib.billing.ports import Wallet
from chalicelib.billing.schemas import (
    BudgetBody,
    BudgetChange,
    BudgetRequest,
    BudgetsBody,
    ChargeRequest,
    CreditRequest,
    EntriesBody,
    ProofBody,
    ReversalRequest,
    SpendLimitRequest,
    UsageBody,
    WalletBody,
    render_budget,
    render_entries,
    render_proof,
    render_usage,
    render_wallet,
)
from chalicelib.billing.usage import BUCKETS, GROUPS, sum_usage
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_choice, read_instant, read_limit

api = Api(__name__, wiring.authenticate)

_USAGE = frozenset({"from", "to", "bucket", "group_by"})
DEFAULT_USAGE_MS = 30 * 86_400_000


@api.route("GET", "/v1/wallet", permission="wallet:read")
def read_wallet(call: Call) -> Answer[WalletBody]:
    """Show the caller's wallet."""
    return Answer(render_wallet(service.read_wallet(wiring.billing_ports(), call.principal.account_id)))


@api.route("PUT", "/v1/wallet/spend-limit", permission="wallet:write", body=SpendLimitRequest)
def put_spend_limit(call: Call) -> Answer[WalletBody]:
    """Bound what all running stays may cost an hour; a start beyond it is refused."""
    body: SpendLimitRequest = call.read_body(SpendLimitRequest)
    wallet = service.set_spend_limit(wiring.billing_ports(), call.principal, body.limit_micros_per_hour)
    return Answer(render_wallet(wallet))


@api.route("GET", "/v1/ledger-entries", permission="wallet:read", query=PAGING)
def list_ledger_entries(call: Call) -> Answer[EntriesBody]:
    """List what was posted to the wallet, newest first, with the reason of each entry."""
    page = service.list_entries(
        wiring.billing_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    return Answer(render_entries(page))


@api.route("GET", "/v1/ledger-entries/proofs/{day}", permission="wallet:read")
def prove_ledger(call: Call, day: str) -> Answer[ProofBody]:
    """Prove at which entry the caller's ledger stood when a day (UTC) was sealed."""
    return Answer(render_proof(sealing.prove_head(wiring.seal_ports(), call.principal.account_id, day)))


@api.route("GET", "/v1/usage", permission="wallet:read", query=_USAGE)
def read_usage(call: Call) -> Answer[UsageBody]:
    """Sum what was used by hour, day or month, in all or by rental, label or GPU type; the last 30 days."""
    now_ms = wiring.clock().now_ms()
    bucket = read_choice(call.query, "bucket", BUCKETS) or "day"
    group_by = read_choice(call.query, "group_by", GROUPS) or "none"
    to_ms = read_instant(call.query, "to") or now_ms
    from_ms = read_instant(call.query, "from") or to_ms - DEFAULT_USAGE_MS
    ports = wiring.billing_ports()
    found = sum_usage(ports, call.principal.account_id, from_ms, to_ms, bucket, group_by)
    return Answer(render_usage(found, bucket, group_by, ports.rentals.currency))


@api.route("POST", "/v1/budgets", permission="budgets:write", body=BudgetRequest)
def create_budget(call: Call) -> Answer[BudgetBody]:
    """Set what the account, a label or a rental may spend in a month or in all."""
    body: BudgetRequest = call.read_body(BudgetRequest)
    command = service.CreateBudget(
        name=body.name,
        scope=body.scope,
        scope_value=body.scope_value,
        period=body.period,
        limit_micros=body.limit_micros,
        hard_stop=body.hard_stop,
        alert_percents=body.alert_percents,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint("POST /v1/budgets", call.raw_body),
        render=lambda budget: render_budget(budget).model_dump_json(),
    )
    created = service.create_budget(wiring.billing_ports(), call.principal, command)
    return Answer(created.body, HTTPStatus(created.status), tell_replayed(created))


@api.route("GET", "/v1/budgets", permission="budgets:read")
def list_budgets(call: Call) -> Answer[BudgetsBody]:
    """List the account's budgets: what is spent, set aside and left of each."""
    found = service.list_budgets(wiring.billing_ports(), call.principal.account_id)
    return Answer(BudgetsBody(items=[render_budget(each) for each in found]))


@api.route("GET", "/v1/budgets/{budget_id}", permission="budgets:read", tagged=True)
def get_budget(call: Call, budget_id: str) -> Answer[BudgetBody]:
    """Show one budget."""
    found = service.get_budget(wiring.billing_ports(), call.principal.account_id, budget_id)
    return Answer(render_budget(found))


@api.route(
    "PATCH", "/v1/budgets/{budget_id}", permission="budgets:write", body=BudgetChange, conditional=True
)
def change_budget(call: Call, budget_id: str) -> Answer[BudgetBody]:
    """Change a budget; what is above a lower limit is stopped with its next charge."""
    body: BudgetChange = call.read_body(BudgetChange)
    command = service.ChangeBudget(body.limit_micros, body.hard_stop, body.alert_percents)
    ports, check = wiring.billing_ports(), call.match(render_budget)
    changed = service.change_budget(ports, call.principal, budget_id, command, check)
    return Answer(render_budget(changed))


@api.route("DELETE", "/v1/budgets/{budget_id}", permission="budgets:write", conditional=True)
def remove_budget(call: Call, budget_id: str) -> Answer[None]:
    """Remove a budget; what ran under it goes on."""
    service.remove_budget(wiring.billing_ports(), call.principal, budget_id, call.match(render_budget))
    return Answer(None, HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/accounts/{account_id}/credits", permission="credits:write", body=CreditRequest)
def grant_credit(call: Call, account_id: str) -> Answer[WalletBody]:
    """Credit an account, once per Idempotency-Key; promotional credit may expire."""
    body: CreditRequest = call.read_body(CreditRequest)
    command = crediting.GrantCredit(
        account_id=account_id,
        amount_micros=body.amount_micros,
        reason=body.reason,
        kind=body.kind,
        expires_at_ms=body.expires_at,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint(f"POST /v1/accounts/{account_id}/credits", call.raw_body),
        render=lambda balance: render_wallet(Wallet(balance)).model_dump_json(),
    )
    granted = crediting.grant_credit(wiring.billing_ports(), call.principal, command, wiring.account_exists)
    return Answer(granted.body, HTTPStatus(granted.status), tell_replayed(granted))


@api.route("POST", "/v1/accounts/{account_id}/charges", permission="credits:write", body=ChargeRequest)
def charge_account(call: Call, account_id: str) -> Answer[WalletBody]:
    """Charge an account for something beside GPU time, once per Idempotency-Key."""
    body: ChargeRequest = call.read_body(ChargeRequest)
    command = ordering.ChargeAccount(
        account_id=account_id,
        amount_micros=body.amount_micros,
        reason=body.reason,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint(f"POST /v1/accounts/{account_id}/charges", call.raw_body),
        render=lambda balance: render_wallet(Wallet(balance)).model_dump_json(),
    )
    charged = ordering.charge_account(wiring.billing_ports(), call.principal, command, wiring.account_exists)
    return Answer(charged.body, HTTPStatus(charged.status), tell_replayed(charged))


@api.route("POST", "/v1/reversals", permission="credits:write", body=ReversalRequest)
def reverse_posting(call: Call) -> Answer[WalletBody]:
    """Post the opposite of a charge or a credit; both stay in the books. A repeat changes nothing."""
    body: ReversalRequest = call.read_body(ReversalRequest)
    command = crediting.ReversePosting(body.journal_key, body.reason)
    balance = crediting.reverse_posting(wiring.billing_ports(), call.principal, command)
    return Answer(render_wallet(Wallet(balance)))
