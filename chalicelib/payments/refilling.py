"""Use cases of auto top-up. The order is written down with its attempt before Stripe is asked for anything;
whoever comes next goes on with the same attempt under the same key, so that nobody pays twice.
"""

from dataclasses import dataclass, replace

from chalicelib.billing.posting import add_event, find_balance
from chalicelib.core.errors import DomainError, NotFound, PreconditionFailed
from chalicelib.core.ports import Transaction
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.payments.methods import add_audit, find_method
from chalicelib.payments.model import DOUBT_MS, KEY_LIFETIME_MS, TopUp
from chalicelib.payments.orders import AutoTopUp, begin_attempt, check_order, end_attempt, is_due
from chalicelib.payments.ports import PaymentPorts, StripeFailed
from chalicelib.payments.settling import settle_payment

OVER = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class PutAutoTopUp:
    threshold_micros: int
    amount_micros: int
    monthly_limit_micros: int
    method_id: str


def get_order(ports: PaymentPorts, account_id: str) -> AutoTopUp:
    """Raises NotFound: there is none."""
    order = ports.store.get_order(account_id)
    if order is None:
        raise NotFound("There is no auto top-up.")
    return order


def put_order(
    ports: PaymentPorts, principal: Principal, command: PutAutoTopUp, check: Check[AutoTopUp] = accept_any
) -> AutoTopUp:
    """Set up the account's order, or change it; what had paused it is forgiven.

    Raises:
        InvalidInput: ``invalid_amount``, ``unsupported_currency``.
        NotFound: the account has not saved such a method.
        PaymentsNotConfigured: this stage takes no payments.
        PreconditionFailed: as ``check`` raises it of what `get_order` gives; or there is none to check.
        Unavailable: Stripe did not answer, or the order changed meanwhile; try again.
    """
    account_id = principal.account_id
    stored = ports.store.get_order(account_id)
    _check(stored, check)
    wanted = AutoTopUp(
        account_id,
        ports.billing.rentals.currency,
        command.threshold_micros,
        command.amount_micros,
        command.monthly_limit_micros,
        command.method_id,
    )
    check_order(wanted)
    find_method(ports, account_id, command.method_id)
    if stored is not None:
        wanted = replace(
            stored,
            threshold_micros=wanted.threshold_micros,
            amount_micros=wanted.amount_micros,
            monthly_limit_micros=wanted.monthly_limit_micros,
            method_id=wanted.method_id,
            enabled=True,
            paused=None,
        )
    facts = {
        "threshold_micros": wanted.threshold_micros,
        "amount_micros": wanted.amount_micros,
        "monthly_limit_micros": wanted.monthly_limit_micros,
    }
    return _replace(ports, stored, wanted, principal, "auto_top_up.changed", **facts)


def remove_order(ports: PaymentPorts, principal: Principal, check: Check[AutoTopUp] = accept_any) -> None:
    """Switch the account's order off; an attempt that has begun comes to its end.

    Raises:
        NotFound: there is none.
        PreconditionFailed: as ``check`` raises it.
    """
    order = get_order(ports, principal.account_id)
    check(order)
    if order.enabled:
        _replace(ports, order, replace(order, enabled=False), principal, "auto_top_up.removed")


def _check(stored: AutoTopUp | None, check: Check[AutoTopUp]) -> None:
    if stored is not None:
        check(stored)
    elif check is not accept_any:
        raise PreconditionFailed("There is nothing yet to change.")


def remove_method(ports: PaymentPorts, principal: Principal, method_id: str) -> None:
    """Forget a saved method; an order that is paid from it pauses first.

    Raises:
        NotFound: the account has not saved it.
        Unavailable: try again.
    """
    method = find_method(ports, principal.account_id, method_id)
    order = ports.store.get_order(principal.account_id)
    tx = ports.billing.rentals.transactions()
    if order is not None and order.method_id == method_id and order.paused is None:
        ports.store.put_order(tx, order, replace(order, paused="method_removed"))
        if order.enabled:
            _add_paused(ports, tx, order, "method_removed")
    facts = {"kind": method.kind, "last4": method.last4}
    add_audit(ports, tx, principal, "payment_method.removed", method_id, **facts)
    tx.commit()
    ports.connect().remove_method(method_id)


def _replace(
    ports: PaymentPorts,
    old: AutoTopUp | None,
    new: AutoTopUp,
    principal: Principal,
    action: str,
    **facts: object,
) -> AutoTopUp:
    tx = ports.billing.rentals.transactions()
    ports.store.put_order(tx, old, new)
    add_audit(ports, tx, principal, action, new.account_id, **facts)
    tx.commit()
    return replace(new, version=new.version + 1)


@dataclass(frozen=True, slots=True)
class Refilled:
    """``failed``: (account, code) of what is for another time. ``left``: time ran out."""

    begun: int
    ended: int
    failed: tuple[tuple[str, str], ...]
    left: bool


def refill_wallets(ports: PaymentPorts, deadline_ms: int) -> Refilled:
    """Fill up every wallet whose order is due, and go on with what is open, until ``deadline_ms``.

    One that fails does not keep the others back.
    """
    clock = ports.billing.rentals.clock
    begun = ended = 0
    failed: list[tuple[str, str]] = []
    for account_id in ports.store.list_orders():
        if clock.now_ms() >= deadline_ms:
            return Refilled(begun, ended, tuple(failed), left=True)
        try:
            order = ports.store.get_order(account_id)
            if order is not None and order.open_top_up_id is None:
                order = _begin(ports, order)
                begun += order is not None
            if order is not None and order.open_top_up_id is not None:
                ended += _carry_on(ports, order)
        except DomainError as error:
            failed.append((account_id, error.code))
    return Refilled(begun, ended, tuple(failed), left=False)


def _begin(ports: PaymentPorts, order: AutoTopUp) -> AutoTopUp | None:
    """Return the order with a new attempt, where one is due; of an account that is barred none is.

    What has begun comes to its end all the same: Stripe may have taken the money.
    """
    rentals = ports.billing.rentals
    if rentals.standings.is_barred(order.account_id):
        return None
    now_ms = rentals.clock.now_ms()
    available_micros = find_balance(ports.billing, order.account_id).available_micros
    if not is_due(order, available_micros, now_ms):
        return None
    top_up = TopUp(
        rentals.ids.new_id("top"), order.account_id, "auto", order.amount_micros, order.currency, now_ms
    )
    after = begin_attempt(order, top_up)
    tx = rentals.transactions()
    ports.store.put_order(tx, order, after)
    ports.store.add_top_up(tx, top_up, f"auto:{top_up.top_up_id}", "auto")
    tx.commit()
    return replace(after, version=order.version + 1)


def _carry_on(ports: PaymentPorts, order: AutoTopUp) -> bool:
    """Ask Stripe for the money; say whether the attempt is over."""
    assert order.open_top_up_id is not None
    top_up = ports.store.get_top_up(order.open_top_up_id)
    assert top_up is not None, "the order and its attempt are written together"
    # What is processing, such as a debit of days, is settled by its webhooks.
    if top_up.state == "created":
        top_up = _charge(ports, order, top_up)
    if top_up.state not in OVER:
        return False
    after = end_attempt(order, top_up)
    tx = ports.billing.rentals.transactions()
    ports.store.put_order(tx, order, after)
    if after.paused is not None and after.paused != order.paused:
        _add_paused(ports, tx, after, after.paused)
    tx.commit()
    return True


def _charge(ports: PaymentPorts, order: AutoTopUp, top_up: TopUp) -> TopUp:
    """Return the top-up as Stripe has it. Raises Unavailable: come again with the same attempt."""
    payments = ports.connect()
    customer_id = ports.store.get_customer(order.account_id)
    assert customer_id is not None, "a method is saved by a customer"
    assert order.open_method_id is not None
    age_ms = ports.billing.rentals.clock.now_ms() - order.attempted_at_ms
    if age_ms >= KEY_LIFETIME_MS:
        found = payments.find_charge(top_up, customer_id)
        if found is not None:
            return settle_payment(ports, found)
    try:
        charged = payments.charge(top_up, customer_id, order.open_method_id)
    except StripeFailed:
        found = payments.find_charge(top_up, customer_id)
        if found is None:
            if age_ms >= top_up.attempt * DOUBT_MS:
                _take_new_key(ports, top_up)
            raise
        return settle_payment(ports, found)
    if charged.payment_id is not None:
        return settle_payment(ports, charged.payment_id)
    # Stripe did not even begin: there is no payment to look at.
    tx = ports.billing.rentals.transactions()
    after = replace(top_up, state="failed", failure_code=charged.failure_code)
    ports.store.replace_top_up(tx, top_up, after)
    told = {"top_up_id": top_up.top_up_id, "failure_code": after.failure_code}
    add_event(ports.billing, tx, top_up.account_id, "top_up.failed", told)
    tx.commit()
    return after


def _take_new_key(ports: PaymentPorts, top_up: TopUp) -> None:
    """The failure is repeated under the old one for a day, and it has paid nothing."""
    tx = ports.billing.rentals.transactions()
    ports.store.replace_top_up(tx, top_up, replace(top_up, attempt=top_up.attempt + 1))
    tx.commit()


def _add_paused(ports: PaymentPorts, tx: Transaction, order: AutoTopUp, reason: str) -> None:
    told = {"reason": reason, "amount_micros": order.amount_micros}
    add_event(ports.billing, tx, order.account_id, "auto_top_up.paused", told)
